"""Buckets that come by CloudFormation: made in the object store, where moto only remembers them.

They get their lifecycle rules. Encryption and the block on public access stay out: the objects lie
in their owner's home folder, and only the stack's own keys reach them. A policy for TLS alone would
lock everybody out of a server on loopback.
"""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from typing import Any
from xml.etree import ElementTree as ET

from moto.cloudformation.exceptions import ValidationError
from moto.core.common_models import CloudFormationModel
from moto.s3 import models as _moto_s3  # noqa: F401 - of two classes for a type the later one counts

from comfy_aws.localstack.objects import ObjectError, ObjectStore


class Bucket(CloudFormationModel):  # type: ignore[misc]
    """moto finds it by its type. Its methods are called in worker threads."""

    store: ObjectStore
    loop: asyncio.AbstractEventLoop

    def __init__(self, name: str) -> None:
        self.physical_resource_id = name

    @staticmethod
    def cloudformation_name_type() -> str:
        return "BucketName"

    @staticmethod
    def cloudformation_type() -> str:
        return "AWS::S3::Bucket"

    @classmethod
    def has_cfn_attr(cls, attr: str) -> bool:
        return attr == "Arn"

    def get_cfn_attribute(self, _attribute: str) -> str:
        return f"arn:aws:s3:::{self.physical_resource_id}"

    @classmethod
    def create_from_cloudformation_json(
        cls, resource_name: str, cloudformation_json: dict[str, Any], *_args: Any, **_kwargs: Any
    ) -> Bucket:
        cls._ask(cls.store.create_bucket(resource_name))
        cls._set_rules(resource_name, cloudformation_json)
        return cls(resource_name)

    @classmethod
    def update_from_cloudformation_json(
        cls, original_resource: Bucket, cloudformation_json: dict[str, Any], **_kwargs: Any
    ) -> Bucket:
        cls._set_rules(original_resource.physical_resource_id, cloudformation_json)
        return original_resource

    @classmethod
    def delete_from_cloudformation_json(
        cls, resource_name: str, cloudformation_json: dict[str, Any], *_args: Any
    ) -> None:
        """moto asks for it, whatever the policy says, when a stack goes on without the bucket."""
        if cloudformation_json.get("DeletionPolicy") != "Retain":
            cls._ask(cls.store.delete_bucket(resource_name))

    @classmethod
    def _set_rules(cls, name: str, wish: dict[str, Any]) -> None:
        cycle = wish.get("Properties", {}).get("LifecycleConfiguration", {})
        if rules := cycle.get("Rules"):
            cls._ask(cls.store.put_lifecycle(name, lifecycle(rules)))

    @classmethod
    def _ask(cls, action: Coroutine[Any, Any, None]) -> None:
        try:
            asyncio.run_coroutine_threadsafe(action, cls.loop).result()
        except ObjectError as exc:
            raise ValidationError(message=exc.message) from exc


def lifecycle(rules: list[dict[str, Any]]) -> bytes:
    """CloudFormation's lifecycle rules, by prefix, as the document that S3 takes."""
    root = ET.Element("LifecycleConfiguration")
    for rule in rules:
        node = ET.SubElement(root, "Rule")
        _add(node, "ID", rule.get("Id", ""))
        _add(ET.SubElement(node, "Filter"), "Prefix", rule.get("Prefix", ""))
        _add(node, "Status", rule["Status"])
        if days := rule.get("ExpirationInDays"):
            _add(ET.SubElement(node, "Expiration"), "Days", days)
        if abort := rule.get("AbortIncompleteMultipartUpload"):
            kind = ET.SubElement(node, "AbortIncompleteMultipartUpload")
            _add(kind, "DaysAfterInitiation", abort["DaysAfterInitiation"])
    document: bytes = ET.tostring(root, encoding="utf-8")
    return document


def _add(node: ET.Element, name: str, value: object) -> None:
    ET.SubElement(node, name).text = str(value)


def keep_in(store: ObjectStore, loop: asyncio.AbstractEventLoop) -> None:
    """From now on CloudFormation's buckets are made in `store`, whose calls run on `loop`."""
    Bucket.store, Bucket.loop = store, loop
