"""The stack at AWS: proposed, changed, watched and taken away.

A deployment is a change set, which its caller may show before it is executed; the source bundle,
which goes up as soon as the bucket is there; and the worker image, built from the bundle unless
the repository has it. Whatever fails on the way, the next try goes on from what is there.
"""

from __future__ import annotations

import json
import time
import uuid
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from functools import partial
from itertools import takewhile
from typing import Any, Final, TypeVar

from comfy_aws import bundle, deploy_plan, layout
from comfy_aws.aws import (
    Buckets,
    Build,
    Identity,
    Images,
    Machines,
    ObjectStore,
    SageMaker,
    Session,
    Stacks,
)
from comfy_aws.bundle import Bundle
from comfy_aws.config import AwsAccess
from comfy_aws.deploy_plan import ChangeSet, DeployOptions, StackEvent, StackView
from comfy_aws.endpoint_plan import WorkerImage
from comfy_aws.endpoints import Endpoints
from comfy_aws.errors import (
    AwsError,
    AwsNotFound,
    AwsUnreachable,
    ConfigError,
    Conflict,
    DeployFailed,
    NotFound,
)

POLL_SECONDS: Final = 1.0
PAUSE_SECONDS: Final = 10.0
LOOKS_AGAIN: Final = 30
"""With the pauses, five minutes and more that AWS may be out of reach."""
_MACHINE: Final = "DesignerInstance"
"""The output of a stack that has a designer machine."""

Tell = Callable[[str], None]
"""Given a line of progress."""
Seen = TypeVar("Seen")


@dataclass(frozen=True)
class Proposal:
    """A change that was not made yet. `change_set` is None when there is nothing to change."""

    name: str
    bucket: str
    create: bool
    change_set: ChangeSet | None
    chosen: Mapping[str, str] = field(default_factory=dict)
    """Parameters of the template that it sets."""


@dataclass(frozen=True)
class Deployed:
    """What a deployment ends with, and what the settings take from it."""

    stack: StackView
    image: str

    def settings(self, region: str) -> dict[str, str]:
        return {
            "target": "aws",
            "region": region,
            "bucket": self.stack.outputs["BucketName"],
            "execution_role": self.stack.outputs["ExecutionRole"],
            "image": self.image,
        }


class Deployments:
    """The stacks of one account and region.

    Args:
        access: credentials and region; its bucket is not used.
        tell: given each line of progress.
        rehearsed: whether a local stack is at a URL, where AWS is expected.
    """

    def __init__(
        self,
        access: AwsAccess,
        *,
        tell: Tell,
        sleep: Callable[[float], None] = time.sleep,
        rehearsed: Callable[[str], bool] = lambda _: False,
    ) -> None:
        self._rehearsed = rehearsed
        self._access = access
        self._session = Session(access)
        self._stacks = Stacks(self._session)
        self._images = Images(self._session)
        self._machines = Machines(self._session)
        self._buckets = Buckets(self._session)
        self._sagemaker = SageMaker(self._session)
        self._tell = tell
        self._sleep = sleep

    @property
    def region(self) -> str:
        return self._session.region

    def stack(self, name: str) -> StackView:
        """Raises NotFound when there is none, Conflict when it is not ours."""
        found = self._stacks.find(deploy_plan.check_stack_name(name))
        if found is None:
            forgets = " The local stack forgets those of before its start, and keeps their buckets."
            raise NotFound(
                f"There is no stack named {name} in {self.region}.",
                hint=f"Make one: comfy-aws deploy{deploy_plan.named(name)}."
                + (forgets if self._rehearsed(self._session.url) else ""),
            )
        return deploy_plan.check_ours(found)

    # -- deploying ---------------------------------------------------------------------------

    def propose(self, name: str, options: DeployOptions, *, bucket: str = "") -> Proposal:
        """Ask CloudFormation what a deployment would change. Nothing is changed yet.

        Args:
            bucket: of a new stack; one that exists is taken up. By default a name of its own.

        Raises:
            Conflict: the stack is another product's, is changed by somebody else right now, or is
                stuck in a failed change.
            ConfigError, InvalidName: an option or the name is refused.
            DeployFailed: CloudFormation refuses the change.
        """
        stack = self._stacks.find(deploy_plan.check_stack_name(name))
        if stack is not None:
            deploy_plan.check_idle(deploy_plan.check_ours(stack))
        if stack is not None and deploy_plan.stuck(stack.status):
            raise Conflict(
                f"The stack {name} cannot be changed: {stack.status}. {stack.reason}".rstrip(),
                hint=deploy_plan.cure(name, stack.status, self.region),
            )
        if stack is not None and deploy_plan.husk(stack.status):
            self._tell(f"Removing what is left of a creation that failed ({stack.status}).")
            self._delete(stack)
            stack = None
        known = dict(stack.parameters) if stack else {}
        deploy_plan.check_bucket(name, bucket, known)
        deploy_plan.check_options(options, known)
        chosen = options.chosen() | ({} if stack else self._bucket(name, bucket))
        deploy_plan.check_job_days(options, known | chosen)
        if options.designer_type and not (known | chosen).get("DesignerImage"):
            chosen["DesignerImage"] = self._machine_image()
        request = deploy_plan.parameters(chosen, known)
        change_set = self._proposed(name, request, create=stack is None)
        if change_set is not None:
            try:
                deploy_plan.check_changes(change_set.changes)
            except ConfigError:
                self._stacks.discard(change_set.change_set_id)
                raise
        return Proposal(name, (known | chosen)["BucketName"], stack is None, change_set, chosen)

    def _machine_image(self) -> str:
        try:
            return self._images.machine(deploy_plan.DESIGNER_IMAGE)
        except AwsError as exc:
            raise ConfigError(
                f"AWS names no machine image for a designer: {exc.message}",
                hint="Give one with --designer-image: an Ubuntu with the NVIDIA driver.",
            ) from exc

    def _proposed(
        self, name: str, request: list[dict[str, Any]], *, create: bool
    ) -> ChangeSet | None:
        label = f"deploy-{uuid.uuid4().hex[:12]}"
        try:
            change_set_id = self._stacks.propose(
                name, label, bundle.template(), request, create=create, tags=deploy_plan.TAGS
            )
        except AwsError as exc:
            if deploy_plan.unchanged(exc.message):
                return None
            raise
        while (change_set := self._stacks.change_set(change_set_id)).pending:
            self._sleep(POLL_SECONDS)
        if change_set.status != "FAILED":
            return change_set
        self._stacks.discard(change_set_id)
        if change_set.empty:
            return None
        raise DeployFailed(
            f"CloudFormation refuses the change of {name}: {change_set.reason}",
            hint="Correct the option that it names.",
        )

    def _bucket(self, name: str, bucket: str) -> dict[str, str]:
        if not bucket:
            account = Identity(self._session).account()
            bucket = deploy_plan.bucket_name(name, account, self.region)
        there = self._buckets.exists(bucket)
        if there:
            deploy_plan.check_bucket_region(bucket, self._buckets.region(bucket), self.region)
            self._tell(f"Taking up the bucket {bucket}.")
        return {"BucketName": bucket, "CreateBucket": "false" if there else "true"}

    def discard(self, proposal: Proposal) -> None:
        """Forget a proposal, and the empty stack that stands for one of a creation."""
        if proposal.change_set is not None:
            self._stacks.discard(proposal.change_set.change_set_id)
        if proposal.create:
            self._stacks.delete(proposal.name)

    def deploy(self, proposal: Proposal) -> Deployed:
        """Make the change, send the bundle, and build the image if it is a new one.

        Raises:
            DeployFailed: CloudFormation or the build failed; the message says why.
        """
        packed = bundle.pack()
        sent = self._send(proposal.bucket, packed)
        if proposal.change_set is not None:
            stack = self._stacks.find(proposal.name)
            stack_id = stack.stack_id if stack else proposal.name
            since = self._last_event(stack_id)
            # A machine that comes now waits for the bundle and the wish, the stack for the machine.
            awaited = stack is None or _MACHINE not in stack.outputs
            goes = proposal.chosen.get("DesignerType") == ""
            volume = self._rest(stack) if stack is not None and goes else ""
            self._stacks.execute(proposal.change_set.change_set_id)
            for seen in self._watch(stack_id, since):
                sent = sent or self._send(proposal.bucket, packed)
                if awaited and sent and seen is not None:
                    self._wish(proposal.bucket, {**seen.parameters, **proposal.chosen}, packed.tag)
                    awaited = False
            self._tell_snapshot(volume)
        stack = self.stack(proposal.name)
        if not sent:
            self._send(proposal.bucket, packed, must=True)
        image = self._image(stack, packed.tag)
        if _MACHINE in stack.outputs:  # only now, as it names the image, too
            self._wish(proposal.bucket, stack.parameters, packed.tag)
        return Deployed(stack, image)

    def _send(self, bucket: str, packed: Bundle, *, must: bool = False) -> bool:
        """Whether the bundle is in the bucket now; it may not be there yet."""
        if not must and not self._buckets.exists(bucket):
            return False
        self._store(bucket).put(layout.SOURCE, packed.body, content_type="application/zip")
        self._tell(f"Sent the source bundle ({len(packed.body):,} bytes).")
        return True

    def _rest(self, stack: StackView) -> str:
        """Stop the machine, so that all is written and its volume can go; returns its volume."""
        if _MACHINE not in stack.outputs:
            return ""
        self._tell("Stopping the designer machine.")
        self._machines.stop(stack.outputs[_MACHINE])
        return stack.outputs.get("DesignerVolume", "")

    def _tell_snapshot(self, volume: str) -> None:
        if snapshot := self._machines.snapshot(volume) if volume else "":
            self._tell(f"The models volume {volume} is kept as {snapshot}.")

    def _wish(self, bucket: str, parameters: Mapping[str, str], tag: str) -> None:
        """What the designer machine shall be; it looks at each of its starts."""
        if parameters.get("DesignerType"):
            wish = deploy_plan.designer_wish(parameters, tag)
            body = json.dumps(wish, indent=2).encode()
            self._store(bucket).put(layout.DESIGNER, body, content_type="application/json")

    def _store(self, bucket: str) -> ObjectStore:
        return ObjectStore(Session(replace(self._access, bucket=bucket)))

    def _last_event(self, stack_id: str) -> str:
        """The id of a stack's newest event; empty when it has none."""
        return next((event.event_id for event in self._stacks.events(stack_id)), "")

    def _events(self, stack_id: str, since: str) -> list[StackEvent]:
        """Events after that one, in order; what was before is not read again at every look."""
        events = self._stacks.events(stack_id)
        return list(takewhile(lambda event: event.event_id != since, events))[::-1]

    def _watch(self, stack_id: str, since: str) -> Iterator[StackView | None]:
        """Tell the events after that one until the stack is done; yields what each look saw."""
        known: set[str] = set()
        reasons: list[str] = []
        begun = False  # just after a call the stack still shows how the last change ended
        while True:
            stack = self._seen(lambda: self._stacks.find(stack_id))
            status = stack.status if stack else "DELETE_COMPLETE"
            for event in self._seen(lambda: self._events(stack_id, since)) if stack else []:
                if event.event_id not in known:
                    known.add(event.event_id)
                    begun = True
                    self._tell(deploy_plan.event_line(event))
                    reasons += deploy_plan.reasons(event)
            yield stack
            if (begun or stack is None) and not deploy_plan.busy(status):
                break
            self._sleep(POLL_SECONDS)
        if not deploy_plan.succeeded(status):
            why = "; ".join(reasons) or (stack.reason if stack else "")
            raise DeployFailed(
                f"The stack ended as {status}. {why}",
                hint="Remove the cause and run the command again.",
            )

    def _seen(self, look: Callable[[], Seen]) -> Seen:
        """What a look tells. AWS goes on while it is out of reach for a while, and so do we."""
        for _ in range(LOOKS_AGAIN):
            try:
                return look()
            except AwsUnreachable as exc:
                self._tell(f"Looking again in {PAUSE_SECONDS:.0f} seconds. {exc.message}")
                self._sleep(PAUSE_SECONDS)
        return look()

    def _image(self, stack: StackView, tag: str) -> str:
        uri = stack.outputs["ImageRepository"]
        repository = uri.partition("/")[2]
        version = stack.parameters.get("ComfyUIVersion", "")
        tag = f"{version}-{tag}"
        if self._images.exists(repository, tag):
            self._tell(f"The worker image {tag} is there already.")
        else:
            self._build(stack.outputs["BuildProject"], tag)
        return f"{uri}:{tag}"

    def _build(self, project: str, tag: str) -> None:
        variables = {"TAG": tag}
        # Of an earlier try that was interrupted: a second push of the same tag would be refused.
        build = self._images.running(project, variables) or self._images.build(project, variables)
        self._tell(f"Building the worker image {tag}: {build.build_id}")
        phase = ""
        while build.running:
            self._sleep(POLL_SECONDS)
            build = self._seen(partial(self._images.look, build.build_id))
            if build.phase != phase:
                phase = build.phase
                self._tell(f"{build.status:<20} {phase}")
        self._check_build(build)

    @staticmethod
    def _check_build(build: Build) -> None:
        if build.status != "SUCCEEDED":
            raise DeployFailed(
                f"The build {build.build_id} of the worker image ended as {build.status}.",
                hint=f"Its log: {build.log or 'in CodeBuild'}. Then run the command again.",
            )

    # -- what runs, and its end ----------------------------------------------------------------

    def endpoints(self, stack: StackView) -> list[str]:
        """Names of the endpoints whose workers run as this stack's role."""
        role = stack.outputs.get("ExecutionRole", "")
        names = [endpoint.name for endpoint in self._endpoints().list()]
        return [name for name in names if role and self._role(name) == role]

    def _endpoints(self) -> Endpoints:
        return Endpoints(self._sagemaker, WorkerImage("", ""), "")

    def _role(self, endpoint: str) -> str:
        try:
            model = self._sagemaker.call("describe_model", {"ModelName": endpoint})
        except AwsNotFound:
            return ""
        return str(model.get("ExecutionRoleArn", ""))

    def objects(self, bucket: str) -> int:
        """How many objects the bucket holds; 0 when it is gone."""
        if not self._buckets.exists(bucket):
            return 0
        return sum(1 for _ in self._store(bucket).list(""))

    def destroy(self, stack: StackView, *, delete_bucket: bool) -> None:
        """Delete the stack's endpoints, the stack, and the bucket if it is wished.

        Raises:
            Conflict: the stack is being changed.
            DeployFailed: CloudFormation could not delete something.
        """
        deploy_plan.check_idle(stack)
        endpoints = self._endpoints()
        for name in self.endpoints(stack):
            self._delete_endpoint(endpoints, name)
        volume = self._rest(stack)
        self._delete(stack)
        self._tell_snapshot(volume)
        if delete_bucket:
            self._delete_bucket(stack.parameters["BucketName"])

    def _delete_endpoint(self, endpoints: Endpoints, name: str) -> None:
        """Delete it, if need be when it has come to rest."""
        self._tell(f"Deleting the endpoint {name}.")
        waits = False
        while True:
            try:
                return endpoints.delete(name)
            except NotFound:
                return None
            except Conflict as exc:
                if not waits:
                    self._tell(f"Waiting. {exc.message}")
                waits = True
            self._sleep(POLL_SECONDS)

    def _delete(self, stack: StackView) -> None:
        since = self._last_event(stack.stack_id)
        self._stacks.delete(stack.stack_id)
        for _ in self._watch(stack.stack_id, since):
            pass

    def _delete_bucket(self, bucket: str) -> None:
        if not self._buckets.exists(bucket):
            return
        self._tell(f"Emptying and deleting the bucket {bucket}.")
        store = self._store(bucket)
        store.delete(*[entry.key for entry in store.list("")])
        self._buckets.delete_versions(bucket)
        try:
            self._buckets.delete(bucket)
        except AwsError as exc:
            if exc.aws_code != "BucketNotEmpty":
                raise
            raise DeployFailed(
                f"The bucket {bucket} is not empty: something still writes into it.",
                hint="Stop the ComfyUI that uses it, then delete the bucket.",
            ) from exc
