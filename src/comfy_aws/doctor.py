"""Tries what the product needs, and says of each failure what to do about it.

A check is a real call wherever there is a harmless one: a policy simulator does not know of bucket
policies, service control policies or a wrong region. `probes` has the calls.
"""

from __future__ import annotations

import re
import shutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from enum import Enum
from pathlib import Path
from typing import Final

from comfy_aws import bundle, versions
from comfy_aws.endpoints import Endpoints
from comfy_aws.errors import AwsDenied, ComfyAwsError
from comfy_aws.models import Endpoint
from comfy_aws.probes import NotTried, Patient, Probes, Trouble
from comfy_aws.versions import Software

LEAST_DISK: Final = 2 * 1024**3
"""Bytes; node packs are packed here before they are sent, and results come here."""

_ACTION: Final = re.compile(r"not authorized to perform: ([\w-]+:\w+)")
"""How AWS names the missing permission, which need not be that of the call."""
_ACTION_OF: Final = {
    "s3:HeadBucket": "s3:ListBucket",
    "s3:ListObjectsV2": "s3:ListBucket",
    "s3:CreateMultipartUpload": "s3:PutObject",
    "s3:ListParts": "s3:ListMultipartUploadParts",
}
"""The permission that a call needs, where it is not the action of the same name."""


class CheckState(str, Enum):
    """How a check ended. SKIPPED: another one failed first, or there is nothing to try."""

    PASSED = "passed"
    FAILED = "failed"
    SKIPPED = "skipped"


@dataclass(frozen=True)
class Check:
    """One finding. `permission` is the IAM action that was tried, `hint` the cure."""

    name: str
    state: CheckState
    message: str
    hint: str = ""
    permission: str = ""


@dataclass(frozen=True)
class _Try:
    """Something to try: its answer is what there is to say when it passes."""

    name: str
    permission: str
    work: Callable[[], str]
    after: str = ""


class Doctor:
    """Checks a connection. Every check ends, whatever AWS answers.

    Args:
        probes: makes the calls; a new one for every check-up.
        endpoints: those that exist already.
        home: a folder of this machine; its disk is looked at.
        source: tag of this extension's source bundle.
    """

    def __init__(
        self,
        probes: Callable[[Patient], Probes],
        patient: Patient,
        endpoints: Endpoints,
        home: Path,
        *,
        source: Callable[[], str] = lambda: bundle.pack().tag,
    ) -> None:
        self._probes = probes
        self._patient = patient
        self._endpoints = endpoints
        self._home = home
        self._source = source

    def checks(
        self,
        software: Software | None = None,
        *,
        principal: str = "",
        instance_type: str = "",
    ) -> list[Check]:
        """Try everything.

        Args:
            software: of the ComfyUI whose prompts go to AWS, if it is known.
            principal: ARN of the user or role whose rights are simulated.
            instance_type: of the next endpoint.
        """
        kind = instance_type or self._patient.instance_type
        patient = replace(self._patient, instance_type=kind)
        broken: set[str] = set()
        found = []
        for each in self._tries(patient, software or Software(), principal):
            if each.after in broken:
                text = f"Not tried: {each.after} failed."
                check = Check(each.name, CheckState.SKIPPED, text, permission=each.permission)
                broken.add(each.name)
            else:
                check = _carried_out(each)
            if check.state is CheckState.FAILED:
                broken.add(each.name)
            found.append(check)
        return found

    def _tries(self, patient: Patient, software: Software, principal: str) -> Iterator[_Try]:
        probes = self._probes(patient)
        yield _Try("region", "", probes.region)
        yield _Try("clock", "", probes.clock, "region")
        yield _Try("credentials", "sts:GetCallerIdentity", probes.credentials, "clock")
        yield _Try("bucket", "s3:ListBucket", probes.bucket, "credentials")
        yield _Try("bucket_region", "s3:ListBucket", probes.bucket_region, "bucket")
        yield _Try("bucket_rules", "s3:GetBucketPolicy", probes.bucket_rules, "bucket")
        yield _Try("write", "s3:PutObject", probes.write, "bucket")
        yield _Try("read", "s3:GetObject", probes.read, "write")
        yield _Try("delete", "s3:DeleteObject", probes.delete, "write")
        yield _Try("upload", "s3:AbortMultipartUpload", probes.upload, "bucket")
        yield _Try("queues", "sqs:CreateQueue", probes.queues, "credentials")
        yield _Try("logs", "logs:FilterLogEvents", probes.logs, "credentials")
        yield _Try("metrics", "cloudwatch:GetMetricStatistics", probes.metrics, "credentials")
        yield _Try("prices", "pricing:GetProducts", probes.prices, "credentials")
        yield _Try("endpoints", "sagemaker:ListEndpoints", probes.endpoints, "credentials")
        scaling = "application-autoscaling:RegisterScalableTarget"
        yield _Try("scaling", scaling, probes.scaling, "credentials")
        yield _Try("alarms", "cloudwatch:PutMetricAlarm", probes.alarms, "credentials")
        yield _Try("image", "ecr:DescribeImages", probes.image, "credentials")
        yield _Try("role", "sagemaker:CreateModel", probes.role, "image")
        yield _Try("quota", "servicequotas:ListServiceQuotas", probes.quota, "credentials")
        simulate = "iam:SimulatePrincipalPolicy"
        yield _Try("rights", simulate, lambda: probes.rights(principal), "credentials")
        yield _Try("workers", "sagemaker:DescribeEndpoint", self._workers, "endpoints")
        yield _Try("versions", "", lambda: self._versions(software))
        yield _Try("disk", "", self._disk)

    def _workers(self) -> str:
        """Whether the endpoints that exist run what new ones would."""
        image = self._patient.worker.image
        found = self._endpoints.list()
        others = [each for each in found if image and each.image and each.image != image]
        if others:
            raise Trouble(
                f"{_named(others)}: another worker image than {image}.",
                hint="Delete each and create it again; jobs and templates stay.",
            )
        if not found:
            return "There is no endpoint yet."
        if len(found) == 1:
            return "The only endpoint has the image of the settings."
        return f"All {len(found)} endpoints have the image of the settings."

    def _versions(self, software: Software) -> str:
        image = self._patient.worker.image
        misfit = versions.misfit_here(software)
        if misfit is None and not self._patient.local:
            misfit = versions.misfit_of_worker(software, image, self._source())
        if misfit is not None:
            raise Trouble(misfit.message, hint=misfit.hint)
        return versions.told(software, image)

    def _disk(self) -> str:
        place = next(each for each in (self._home, *self._home.parents) if each.exists())
        free = shutil.disk_usage(place).free
        told = f"{free / 1024**3:.1f} GiB are free at {place}"
        if free < LEAST_DISK:
            raise Trouble(
                f"{told}; packing node packs and fetching results need more.",
                hint=f"Make room, or set COMFY_AWS_HOME to a folder on a larger disk than {place}.",
            )
        return f"{told}."


def failure(name: str, exc: ComfyAwsError, permission: str = "", hint: str = "") -> Check:
    """What failed, as a check."""
    return Check(name, CheckState.FAILED, exc.message, hint or exc.hint, permission)


def _carried_out(each: _Try) -> Check:
    try:
        message = each.work()
    except NotTried as exc:
        return Check(each.name, CheckState.SKIPPED, exc.message, permission=each.permission)
    except ComfyAwsError as exc:
        return failure(each.name, exc, *_cure(exc, each.permission))
    return Check(each.name, CheckState.PASSED, message, permission=each.permission)


def _cure(exc: ComfyAwsError, permission: str) -> tuple[str, str]:
    """The permission that a failure is about, and what to do about it."""
    tried = getattr(exc, "operation", "")
    # Without a profile or a region there is not even a client to call with.
    if tried and not tried.endswith(":client"):
        permission = _ACTION_OF.get(tried, tried)
    if isinstance(exc, AwsDenied) and exc.aws_code.startswith("AccessDenied"):
        named = _ACTION.search(exc.message)
        permission = named[1] if named else permission
        return permission, (
            f"Allow {permission}. `comfy-aws iam-policy designer` prints the smallest policy that "
            "is enough."
        )
    return permission, exc.hint or "See what AWS says, and try again."


def _named(endpoints: list[Endpoint]) -> str:
    return ", ".join(f"{each.name} runs {each.image}" for each in endpoints)
