"""What the doctor tries at AWS: harmless calls, on things of its own that are taken away again.

Each probe returns what there is to say when it works, and raises one of the library's errors when
it does not. What can be told of a right only by using it on somebody's endpoint is left to IAM's
simulator; see `Probes.rights`.
"""

from __future__ import annotations

import re
import time
import uuid
from collections.abc import Callable
from contextlib import ExitStack, suppress
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Final

from comfy_aws import drivers, layout, permissions
from comfy_aws.aws import (
    Checkup,
    Identity,
    Images,
    Logs,
    Message,
    ObjectStore,
    Pricing,
    Queues,
    SageMaker,
    Session,
)
from comfy_aws.endpoint_plan import (
    DIMENSION,
    WorkerImage,
    log_group,
    plan_create,
    plan_scaling,
    resource_id,
    wake_alarm,
    wake_name,
)
from comfy_aws.errors import AwsDenied, AwsError, AwsNotFound, AwsUnreachable, ComfyAwsError
from comfy_aws.models import EndpointSpec

PROBE: Final = f"{layout.TEMPLATES}.probe-"
"""Below a prefix that the designer's role may write to and delete from."""

QUEUE_SECONDS: Final = 60
"""Retention of the probe's queue: the shortest that SQS knows."""

LONGEST_MONTH: Final = 31
"""Days that jobs must be there for, where a month's are counted."""

SKEW: Final = 240.0
"""Seconds; AWS refuses requests whose time is five minutes off."""

_ASSUMED: Final = re.compile(r"arn:([\w-]+):sts::(\d+):assumed-role/([^/]+)/.+")
_LOCAL: Final = "The local stack has none of its own."


class NotTried(ComfyAwsError):
    """Raised when a probe has nothing to try; what stands on it is tried all the same."""

    code = "not_tried"


class Trouble(ComfyAwsError):
    """Raised when AWS answers, and what it answers is not as it should be."""

    code = "trouble"


@dataclass(frozen=True)
class Patient:
    """The connection that is looked at.

    `local`: it is the local stack, which has no quotas of an account, prices or rights.
    `instance_type`: of endpoints that are going to be created.
    `limits_months`: what jobs may cost in a month is limited.
    """

    worker: WorkerImage
    bucket: str
    instance_type: str = EndpointSpec.instance_type
    local: bool = False
    limits_months: bool = False


class Probes:
    """One connection.

    Args:
        clock: in seconds since the epoch.
        rehearsed: whether a local stack is at a URL, where AWS is expected.
    """

    def __init__(
        self,
        session: Session,
        patient: Patient,
        *,
        clock: Callable[[], float] = time.time,
        rehearsed: Callable[[str], bool] = lambda _: False,
    ) -> None:
        self._session = session
        self._patient = patient
        self._clock = clock
        self._rehearsed = rehearsed
        self._identity = Identity(session)
        self._checkup = Checkup(session)
        self._store = ObjectStore(session)
        self._sagemaker = SageMaker(session)
        self._images = Images(session)
        self._name = f"comfy-aws-check-{uuid.uuid4().hex[:12]}"
        self._key = f"{PROBE}{uuid.uuid4().hex}"

    @cached_property
    def _local(self) -> bool:
        return self._patient.local or self._rehearsed(self._session.url)

    # -- who, where and when -------------------------------------------------------------------

    def region(self) -> str:
        profile = self._session.access.profile
        by = f" by the profile {profile}" if profile else ""
        return f"{self._session.region}{by}."

    def clock(self) -> str:
        try:
            there = self._identity.aws_time()
        except (AwsUnreachable, AwsDenied) as exc:  # told by the next check
            raise NotTried("AWS does not tell its time.") from exc
        if there is None:
            raise NotTried("AWS does not tell its time.")
        ahead = self._clock() - there
        if abs(ahead) > SKEW:
            way = "ahead of" if ahead > 0 else "behind"
            raise Trouble(
                f"This machine's clock is {abs(ahead) / 60:.0f} minutes {way} AWS's; AWS refuses "
                "requests that are five minutes off.",
                hint="Set the clock, and let it be kept: turn on NTP (timedatectl set-ntp true).",
            )
        return f"{abs(ahead):.0f} s apart from AWS's."

    def credentials(self) -> str:
        caller = self._identity.caller()
        return f"Account {caller.account}, {caller.arn}."

    # -- the bucket ----------------------------------------------------------------------------

    def bucket(self) -> str:
        try:
            next(iter(self._store.list(PROBE)), None)
        except AwsNotFound as exc:
            raise AwsNotFound(
                exc.message, operation=exc.operation, aws_code=exc.aws_code,
                hint=f"Create the bucket {self._patient.bucket}, or name another one in the "
                "settings.",
            ) from exc  # fmt: skip
        return f"{self._patient.bucket} can be listed."

    def bucket_region(self) -> str:
        there, here = self._checkup.bucket_region(self._patient.bucket), self._session.region
        if there and there != here:
            raise Trouble(
                f"The bucket {self._patient.bucket} lies in {there}, the region is {here}; "
                "SageMaker takes files of its own region alone.",
                hint=f"Set the region to {there} in the settings, or take a bucket in {here}.",
            )
        return f"{there or here}, as the region is."

    def bucket_rules(self) -> str:
        if self._local:
            raise NotTried("The local stack's bucket lies on this machine.")
        rules = self._checkup.bucket_rules(self._patient.bucket)
        kept = (layout.BLOBS, layout.MODELS, layout.TEMPLATES)
        wrong = [
            text
            for holds, text in (
                (rules.private, "does not block public access"),
                (rules.encrypted, "does not encrypt what it is given"),
                (rules.tls_only, "takes requests without TLS"),
                (rules.expires(layout.JOBS), f"keeps {layout.JOBS} for ever"),
                (rules.clears_uploads, "keeps uploads that were never finished"),
                (not any(map(rules.expires, kept)), "deletes templates or models by their age"),
                (
                    not self._patient.limits_months or rules.keeps(layout.JOBS, LONGEST_MONTH),
                    f"deletes {layout.JOBS} before the month is over whose costs are limited",
                ),
            )
            if not holds
        ]
        if wrong:
            raise Trouble(
                f"The bucket {self._patient.bucket} {' and '.join(wrong)}.",
                hint="Set it as deploy/stack.yaml has it (Bucket and BucketPolicy), or let "
                "`comfy-aws deploy` make one.",
            )
        return "Closed to the public, encrypted, TLS only; jobs and unfinished uploads go."

    def write(self) -> str:
        self._store.put(self._key, b"probe")
        return "An object was written."

    def read(self) -> str:
        self._store.get(self._key)
        return "It was read."

    def upload(self) -> str:
        self._checkup.begin_and_abort(self._patient.bucket, f"{self._key}-parts")
        return "An upload in parts was begun and given up."

    def delete(self) -> str:
        self._store.delete(self._key)
        return "The object was deleted."

    # -- queues, logs, prices ------------------------------------------------------------------

    def queues(self) -> str:
        queues = Queues(self._session)
        url = queues.ensure(self._name, retention=QUEUE_SECONDS)
        try:
            queues.receive(url, wait=0)
            queues.delete_messages(url, [Message("", "none")])
        finally:
            queues.delete(url)
        return "A queue was made, read and deleted."

    def logs(self) -> str:
        Logs(self._session).read(log_group(self._name))
        return "Logs of endpoints can be read."

    def metrics(self) -> str:
        now = self._clock()
        self._sagemaker.metric(self._name, "ApproximateBacklogSize", since=now - 300, now=now)
        return "The queues of endpoints can be seen."

    def prices(self) -> str:
        if self._local:
            raise NotTried(_LOCAL)
        found = Pricing(self._session).hosting(self._session.region)
        return f"{len(found)} instance types have a price."

    # -- endpoints -----------------------------------------------------------------------------

    def endpoints(self) -> str:
        found = sum(1 for _ in self._sagemaker.endpoints())
        for operation, request in (
            ("describe_endpoint", {"EndpointName": self._name}),
            ("describe_endpoint_config", {"EndpointConfigName": self._name}),
            ("list_tags", {"ResourceArn": self._arn("endpoint")}),
        ):
            with suppress(AwsNotFound):
                self._sagemaker.call(operation, request)
        return f"{found} in this account and region."

    def scaling(self) -> str:
        target = {
            "ServiceNamespace": "sagemaker",
            "ResourceId": resource_id(self._name),
            "ScalableDimension": DIMENSION,
        }
        self._sagemaker.scale(
            "describe_scalable_targets",
            {"ServiceNamespace": "sagemaker", "ResourceIds": [resource_id(self._name)]},
        )
        register, track, _ = plan_scaling(EndpointSpec(name=self._name))
        for operation, request in (
            (register.operation, register.request),
            (track.operation, track.request),
            ("deregister_scalable_target", target),
        ):
            try:
                self._sagemaker.scale(operation, request)
            except AwsError as exc:
                # Asked for an endpoint that does not exist: any no but that of IAM will do.
                if isinstance(exc, (AwsDenied, AwsUnreachable)):
                    raise
        return "Endpoints can be registered for scaling."

    def alarms(self) -> str:
        name = wake_name(self._name)
        request = wake_alarm(self._name, "")
        del request["AlarmActions"]
        self._sagemaker.alarm("put_metric_alarm", request)
        self._sagemaker.alarm("describe_alarms", {"AlarmNames": [name]})
        self._sagemaker.alarm("delete_alarms", {"AlarmNames": [name]})
        return "An alarm was made and deleted."

    def quota(self) -> str:
        kind = self._patient.instance_type
        quota = self._checkup.endpoint_quota(kind)
        if quota is None:
            raise NotTried(f"Service Quotas lists none for {kind}.")
        if quota.value < 1:
            raise Trouble(
                f"The account may have no {kind} behind endpoints: the quota is 0.",
                hint="Ask for more: aws service-quotas request-service-quota-increase "
                f"--service-code sagemaker --quota-code {quota.code} --desired-value 1; or take "
                "another instance type.",
            )
        driver = drivers.driver_of(kind, drivers.ami_for(kind))
        with_driver = f", with NVIDIA driver {driver}" if driver else ""
        return f"{quota.value:.0f} x {kind} may stand behind endpoints{with_driver}."

    # -- what endpoints are made from ----------------------------------------------------------

    def image(self) -> str:
        image = self._patient.worker.image
        if not image:
            raise Trouble(
                "No worker image is set; endpoints cannot be created.",
                hint="Set the image that `comfy-aws deploy` built; `comfy-aws status` tells it.",
            )
        address = re.fullmatch(r"(\d+)\.dkr\.ecr\.[^/]+/([^:@]+):([^@]+)", image)
        if address is None or self._patient.local:
            return f"{image}."
        if not self._images.exists(address[2], address[3], registry=address[1]):
            raise Trouble(
                f"There is no image {image}.",
                hint="Run `comfy-aws update`, which builds it, or set another image.",
            )
        return f"{image} is there."

    def role(self) -> str:
        """SageMaker takes role and image; the model and configuration go away again."""
        worker = self._patient.worker
        if not worker.role:
            raise Trouble(
                "No execution role is set; endpoints cannot be created.",
                hint="Set the execution role that `comfy-aws deploy` made; `comfy-aws status` "
                "tells it.",
            )
        if not worker.image:
            raise NotTried("Not tried: there is no image.")
        spec = EndpointSpec(name=self._name, instance_type=self._patient.instance_type)
        model, config, endpoint = plan_create(spec, worker, self._patient.bucket)
        with ExitStack() as undo:
            for step in (model, config):
                self._create(step.operation, step.request)
                if step.undo is not None:
                    undo.callback(self._sagemaker.call, *step.undo)
            # Of a configuration that does not exist: SageMaker says so after IAM has said yes.
            with suppress(AwsNotFound):
                nowhere = {**endpoint.request, "EndpointConfigName": f"{self._name}-none"}
                self._sagemaker.call(endpoint.operation, nowhere)
        return f"SageMaker takes {worker.role}."

    def _create(self, operation: str, request: dict[str, Any]) -> None:
        try:
            self._sagemaker.call(operation, request)
        except AwsError as exc:
            if "assume role" in exc.message.lower():
                raise Trouble(
                    exc.message,
                    hint="Set the execution role that `comfy-aws deploy` made (`comfy-aws status` "
                    "tells it); it has to exist and to trust sagemaker.amazonaws.com.",
                ) from exc
            raise

    # -- rights that cannot be tried -----------------------------------------------------------

    def rights(self, principal: str = "") -> str:
        """Ask IAM's simulator for everything that the designer's policy allows.

        Args:
            principal: ARN of a user or role; by default that of the credentials.
        """
        worker = self._patient.worker
        if self._local:
            raise NotTried(_LOCAL)
        if not (worker.role and worker.image):
            raise NotTried("Not tried: role or image is not set.")
        principal = principal or _principal(self._identity.caller().arn)
        names = permissions.names_of(
            region=self._session.region, account=self._identity.account(),
            bucket=self._patient.bucket, execution_role=worker.role,
            repository=worker.image.partition("/")[2].partition(":")[0],
        )  # fmt: skip
        denied: list[str] = []
        for grant in permissions.DESIGNER:
            denied += self._simulated(grant, principal, names)
        if denied:
            raise AwsDenied(
                f"{principal} may not do {', '.join(sorted(denied))}.", aws_code="AccessDenied"
            )
        return f"IAM's simulator allows {principal} everything that is needed."

    def _simulated(
        self, grant: permissions.Grant, principal: str, names: dict[str, str]
    ) -> list[str]:
        resources = [
            permissions.resolved(each, names).replace("*", self._name) for each in grant.resources
        ]
        context = {
            key: value
            for operator, keys in grant.conditions.items()
            if operator != "Null"  # says only that a key is there, whose value another one tells
            for key, value in keys.items()
        }
        asked = ["*"] if grant.resources == ("*",) else resources
        try:
            found = self._checkup.denied(principal, grant.actions, asked, context)
        except AwsDenied as exc:
            raise NotTried(
                "These credentials may not ask IAM's simulator (iam:SimulatePrincipalPolicy). An "
                "administrator can: comfy-aws doctor --principal ARN."
            ) from exc
        # Of the kinds of resource that a statement names, an action may know one alone.
        few = 0 if grant.sid.endswith("Objects") else len(asked) - 1
        return [action for action, where in found.items() if len(where) > few]

    def _arn(self, kind: str) -> str:
        region, account = self._session.region, self._identity.account()
        partition = permissions.partition_of(region)
        return f"arn:{partition}:sagemaker:{region}:{account}:{kind}/{self._name}"


def _principal(caller: str) -> str:
    """The user or role behind a caller's ARN, as the simulator wants it."""
    assumed = _ASSUMED.fullmatch(caller)
    if assumed:
        return f"arn:{assumed[1]}:iam::{assumed[2]}:role/{assumed[3]}"
    if caller.endswith(":root"):
        raise NotTried("The account's root user may do everything.")
    return caller
