"""One boto3 session and its clients; an import of boto3 takes 0.3 s, so it waits for a call."""

from __future__ import annotations

import threading
from functools import cache
from typing import Any, Final

from comfy_aws.aws.mapping import NO_REGION, mapped
from comfy_aws.config import AwsAccess
from comfy_aws.errors import AwsError

HOMES: Final = {"pricing": "us-east-1"}
"""Services that answer for all regions from one."""


class Session:
    """One boto3 session and its clients, made once each."""

    def __init__(self, access: AwsAccess) -> None:
        self.access = access
        self._clients: dict[str, Any] = {}
        self._lock = threading.Lock()
        self._session: Any = None

    @property
    def region(self) -> str:
        """The region in force, wherever boto3 found it. Raises AwsError when there is none."""
        name = self.client("sts").meta.region_name
        if name in (None, "aws-global"):  # STS answers without one, and SageMaker does not
            raise AwsError("No region is set.", hint=NO_REGION)
        return str(name)

    @property
    def url(self) -> str:
        """Where AWS is reached, wherever boto3 found it; STS's as an example of all services."""
        return str(self.client("sts").meta.endpoint_url)

    def client(self, service: str) -> Any:
        with self._lock:
            if service not in self._clients:
                self._clients[service] = self._make(service)
            return self._clients[service]

    def credentials(self) -> Any:
        """botocore's ReadOnlyCredentials of this moment; those of a role change by the hour."""
        self.client("s3")  # makes the session
        return self._session.get_credentials().get_frozen_credentials()

    def _make(self, service: str) -> Any:
        from botocore.config import Config

        access = self.access
        url = (access.s3_endpoint_url if service == "s3" else "") or access.endpoint_url
        with mapped(f"{service}:client"):
            if self._session is None:
                self._session = _session(access)
            options: dict[str, Any] = {
                "retries": {"mode": "standard", "max_attempts": 4},
                "connect_timeout": 5,
                "read_timeout": 60,
                "max_pool_connections": 32,
            }
            if service == "s3":
                options |= {
                    "signature_version": "s3v4",
                    # The digest in the key is the checksum; a second one costs a third of the rate.
                    "request_checksum_calculation": "when_required",
                    "response_checksum_validation": "when_required",
                    "s3": {
                        "payload_signing_enabled": False,
                        # A presigned URL names the region only in the virtual style, which TLS
                        # does not allow for a bucket with dots.
                        "addressing_style": "path" if url or "." in access.bucket else "virtual",
                    },
                }
            return self._session.client(
                service,
                region_name=HOMES.get(service),
                endpoint_url=url or None,
                config=Config(**options),
            )


def _session(access: AwsAccess) -> Any:
    import boto3
    from botocore.session import Session as Core

    core = Core()
    session = boto3.Session(
        profile_name=access.profile or None,
        region_name=access.region or None,
        aws_access_key_id=access.access_key_id or None,
        aws_secret_access_key=access.secret_access_key or None,
        botocore_session=core,
    )
    core.register_component("data_loader", _loader(core.get_config_variable("data_path")))
    return session


@cache
def _loader(search_path: str | None) -> Any:
    """The services' models, which take a quarter of a second to read, for all sessions."""
    from botocore.loaders import create_loader

    return create_loader(search_path)
