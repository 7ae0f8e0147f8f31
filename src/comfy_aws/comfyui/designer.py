"""The designer: this ComfyUI's services, and the path of a queued graph to them."""

from __future__ import annotations

import logging
import threading
import uuid
from collections.abc import Callable, Mapping
from contextvars import ContextVar
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import comfy.cli_args
import execution
import folder_paths

from comfy_aws import config as configuration
from comfy_aws import layout, stack, validation, webhooks
from comfy_aws import prompt as graphs
from comfy_aws import services as composition
from comfy_aws.comfyui.canvas import Canvas
from comfy_aws.comfyui.catalog import ComfyUICatalog, node_info
from comfy_aws.comfyui.cloud_queue import CloudQueue, Item
from comfy_aws.comfyui.cloud_run import CloudRun
from comfy_aws.comfyui.comfy_log import ComfyLog
from comfy_aws.comfyui.definitions import Definitions, with_stored_choices
from comfy_aws.comfyui.modelplaces import ComfyUIPlaces
from comfy_aws.comfyui.outputs import Outputs
from comfy_aws.comfyui.program_run import ProgramRun
from comfy_aws.comfyui.wrapped_run import WrappedRun
from comfy_aws.config import INFERENCE, Config
from comfy_aws.errors import ComfyAwsError, Conflict, InvalidWorkflow, NotFound
from comfy_aws.keeper import Keeper
from comfy_aws.models import (
    Endpoint,
    Job,
    JobRequest,
    JobState,
    Json,
    SavedFile,
    TemplateVersion,
    to_dict,
)
from comfy_aws.orders import PROGRAM, JobEnd, Listener, Order
from comfy_aws.ownfolder import OwnFolder
from comfy_aws.publications import PublishState
from comfy_aws.readlog import READS, ReadLog
from comfy_aws.services import Local, Services

log = logging.getLogger(__name__)

REMOTE_OUTPUT = "AwsRemoteOutput"
"""The wrapper node; see nodes/remote.py."""

USER: ContextVar[str] = ContextVar("user", default="")
"""Who sends the prompt that is being taken; ComfyUI's own handler does not pass it on."""


@dataclass(frozen=True)
class Checked:
    """What was found of a prompt before ComfyUI has it.

    `refusal` is ComfyUI's answer to one that cannot run (``error`` and ``node_errors``), None for
    all others. `outputs` are the output nodes that run where ComfyUI cannot tell, `node_errors`
    what is wrong with the others.
    """

    refusal: Json | None = None
    outputs: tuple[str, ...] | None = None
    node_errors: Json = field(default_factory=dict)


OUTPUTS: ContextVar[tuple[str, ...] | None] = ContextVar("outputs", default=None)
"""`Checked.outputs` of the prompt that is being taken."""


class Designer:
    """One for each ComfyUI process. `server` is its PromptServer."""

    def __init__(self, server: Any) -> None:
        self.server = server
        self.role = configuration.role()
        self._lock = threading.RLock()
        self._own: OwnFolder | None = None
        self.catalog = ComfyUICatalog(ReadLog(self.state / READS))
        self.canvas = Canvas(server)
        self.outputs = Outputs()
        self.definitions = Definitions(self.services)
        self.log = ComfyLog()
        self._local: Local | None = None
        self._services: Services | None = None
        self._originals: dict[str, Json] = {}
        self._wrapped: dict[str, WrappedRun] = {}
        self.wraps_all = False
        """Every marked graph runs through wrapper nodes, because the queue cannot be extended."""
        self.queue = CloudQueue(server.prompt_queue, self._take, self._begin, self.cancel)
        self.keeper = Keeper(
            lambda: self.services().endpoints,
            lambda: self.config().guard_seconds,
            self._tell_idle,
        )

    # -- configuration -------------------------------------------------------------------------

    @property
    def home(self) -> Path:
        return configuration.default_home()

    @property
    def folder(self) -> Path:
        """ComfyUI's own folder."""
        return Path(execution.__file__).resolve().parent

    @property
    def state(self) -> Path:
        """Folder of what designers know, in ComfyUI's user folder; several may share it."""
        return Path(folder_paths.get_user_directory()) / "comfy-aws"

    @property
    def own(self) -> Path:
        """Folder of the jobs and webhooks of this process alone: `state`, or one below it."""
        with self._lock:
            if self._own is None:
                self._own = OwnFolder(self.state)
            return self._own.path

    def config(self) -> Config:
        """The configuration as it stands now. Raises ConfigError."""
        loaded = configuration.load(self.home)
        if loaded.target != "local":
            return loaded
        # Workers of the local stack run this very ComfyUI, on the same kind of device.
        here = str(self.folder)
        device = "--cpu" if comfy.cli_args.args.cpu else ""
        return replace(
            loaded,
            comfyui=loaded.comfyui or here,
            runner_args=loaded.runner_args or device,
        )

    def services(self) -> Services:
        """The services, built on first use.

        Raises:
            ConfigError, LocalStackError: nothing is configured, or the stack is down.
        """
        with self._lock:
            if self._services is None:
                self._services = composition.build(
                    self.config(), self.state, self.own, self.catalog,
                    disable_metadata=comfy.cli_args.args.disable_metadata,
                )  # fmt: skip
                self._resume(self._services)
            return self._services

    def take_up(self) -> None:
        """Go on telling programs of their jobs, which no page may ever ask for."""

        def build() -> None:
            if not webhooks.has_open(self.own / webhooks.RECORD):
                return
            try:
                self.services()
            except ComfyAwsError as exc:
                log.warning("Webhooks wait until AWS is connected: %s", exc)

        threading.Thread(target=build, name="aws-take-up", daemon=True).start()

    def local(self) -> Local:
        """What works without AWS, built on first use. Raises ConfigError."""
        with self._lock:
            if self._local is None:
                self._local = composition.local(self.config(), ComfyUIPlaces())
            return self._local

    @property
    def has_services(self) -> bool:
        """Whether the services have been built: before that there is no live cloud job."""
        return self._services is not None

    @property
    def built(self) -> Services | None:
        """The services as far as they have been built: asking waits for nothing."""
        return self._services

    def forget_services(self) -> None:
        """The configuration has changed: build the services anew when they are needed."""
        with self._lock:
            if self._services is not None:
                self._services.close()
            self._services = None

    def check_quiet(self, changes: Mapping[str, str]) -> None:
        """Raises Conflict when something would be lost with the services that it runs on."""
        services = self.built
        if services is None:
            return
        if any(each.state is PublishState.RUNNING for each in services.publications.list()):
            raise Conflict("A workflow is being published.", hint="Wait for its end, or cancel it.")
        live = services.jobs.live()
        sent = sum(job.state is JobState.PREPARING for job in live)
        if sent:
            raise Conflict(f"Jobs that are being sent: {sent}.", hint="Wait, or cancel them.")
        config = self.config()
        if live and any(changes.get(name, now) != now for name, now in config.place.items()):
            raise Conflict(
                f"Jobs that are under way: {len(live)}.",
                hint="Wait for their end, or cancel them: elsewhere they are not found again.",
            )

    def follow_stack(self, state: stack.StackState | None) -> None:
        """Build the services anew when the local stack came back under another address.

        A stack that is down for the moment changes nothing: live publishes and jobs wait for it.
        """
        with self._lock:
            built = self._services
            if built and state and built.access.endpoint_url != state.endpoint_url:
                self.forget_services()

    def start_stack(self) -> stack.StackState:
        """Start the local stack and make it the target. Raises LocalStackError, Conflict."""
        self.check_quiet({"target": "local"})
        state, _ = stack.up(self.config().stack_home)
        configuration.save(self.home, target="local")
        chosen = self.config()  # written down for endpoints that a terminal creates
        configuration.save(self.home, comfyui=chosen.comfyui, runner_args=chosen.runner_args)
        self.forget_services()
        return state

    def stop_stack(self) -> None:
        """Stop the local stack. Raises LocalStackError."""
        self.forget_services()  # first: an open poll would hold up the stack's end
        stack.down(self.config().stack_home)
        self.forget_services()

    # -- the mark ------------------------------------------------------------------------------

    def mark_of(self, extra_data: Json) -> Json | None:
        """The mark of a prompt that shall run on AWS: ``{"template", "endpoint"}``, or None.

        Raises:
            InvalidWorkflow, InvalidName: there is a mark and it is not one we know.
        """
        mark = extra_data.get(graphs.MARK)
        config = self.config()
        if mark is None:
            if not config.routes_all:
                return None
            mark = {"template": config.route_template}
        if not isinstance(mark, dict):
            raise InvalidWorkflow(
                f'extra_data.{graphs.MARK} is an object such as {{"template": "name"}}; '
                f"got {mark!r}."
            )  # fmt: skip
        template, endpoint = mark.get("template") or "", mark.get("endpoint") or ""
        if template:
            layout.check_template_name(template)
        if endpoint:
            layout.check_endpoint_name(endpoint)
        return {"template": template, "endpoint": endpoint}

    # -- before ComfyUI's validation -----------------------------------------------------------

    def check(self, body: Json) -> Checked:
        """See what of a marked prompt can run; blocking, for a thread."""
        try:
            mark = self.mark_of(body.get("extra_data") or {})
            if mark is None or "prompt" not in body:
                return Checked()
            prompt = graphs.check_prompt(body["prompt"])
            self._check_id(body)
            services = self.services()
            if mark["endpoint"]:
                services.router.check(mark["endpoint"])
            else:
                services.router.endpoint(mark["template"])
            version = services.router.version(mark["template"]) if mark["template"] else None
            prompt = self._renewed(prompt, version)
            wanted = _targets(body)
            if not self.is_remote(prompt, wanted, version):
                return Checked()
            errors = self._validate_remote(prompt, version, services)
            named = validation.output_nodes(prompt, self._definitions(prompt, version))
        except ComfyAwsError as exc:
            return Checked(refusal(exc))
        asked = [node_id for node_id in named if wanted is None or node_id in wanted]
        sound, node_errors = validation.runnable(prompt, errors, asked)
        if sound or not node_errors:
            return Checked(outputs=sound, node_errors=node_errors)
        first = next(iter(node_errors.values()))["errors"][0]
        error = {"type": "prompt_outputs_failed_validation", "message": first["message"],
                 "details": "", "extra_info": {}}  # fmt: skip
        return Checked({"error": error, "node_errors": node_errors})

    def _check_id(self, body: Json) -> None:
        if body.get("prompt_id") is not None:
            job_id = layout.check_job_id(body["prompt_id"])
            if self.services().jobs.is_live(job_id):
                raise Conflict(
                    f"A job {job_id} is under way already.", hint="Send another prompt_id."
                )

    def is_remote(
        self, prompt: Json, wanted: frozenset[str] | None, version: TemplateVersion | None
    ) -> bool:
        """Whether a graph has classes or, where it runs, choices that this ComfyUI does not have.

        Args:
            wanted: ids of the output nodes that are asked for; None for all.
            version: of the template that the graph is of, whose nodes may have other choices.
        """
        stored = version.object_info if version else {}
        if any(not self.catalog.knows(name) for name in graphs.classes(prompt)):
            return True
        outputs = tuple(
            node_id for node_id, node in prompt.items()
            if self.catalog.is_output(node["class_type"]) and (wanted is None or node_id in wanted)
        )  # fmt: skip
        for literal in graphs.literals(graphs.needed(prompt, outputs)):
            if isinstance(literal.value, str) and literal.value:
                options = self.catalog.options(literal)
                if options is None or literal.value in options:
                    continue
                if validation.is_listed(stored, literal):
                    return True
                if self.catalog.wanted_file(literal) and self.catalog.input_of(literal) is None:
                    return True
        return False

    def _renewed(self, prompt: Json, version: TemplateVersion | None) -> Json:
        """The graph with others for node classes that neither this ComfyUI nor the template has."""
        stored = version.object_info if version else {}
        classes = graphs.classes(prompt)
        is_known = all(name in stored or self.catalog.knows(name) for name in classes)
        return prompt if is_known else self.catalog.renewed(prompt)

    def _validate_remote(
        self, prompt: Json, version: TemplateVersion | None, services: Services
    ) -> Json:
        manifest = version.manifest if version else None
        names = {part.name for part in manifest.parts()} if manifest else set()

        def offered(_class_type: str, value: str) -> bool:
            return value in names or bool(services.library.find(value))

        return validation.validate(prompt, self._definitions(prompt, version), offered=offered)

    def _definitions(self, prompt: Json, version: TemplateVersion | None) -> Json:
        stored = version.object_info if version else {}
        here = {name: node_info(name) for name in graphs.classes(prompt)
                if self.catalog.knows(name)}  # fmt: skip
        merged = {**stored, **here}
        for name in stored.keys() & here.keys():
            merged[name] = with_stored_choices(here[name], stored[name])
        return merged

    def on_prompt(self, body: Json) -> Json:
        """ComfyUI's hook before validation: swap a graph that it cannot validate itself.

        Only output nodes are kept, as wrapper nodes with the same ids; the graph itself is put
        back when the item reaches the queue. Runs on the event loop, on what `check` read just now.
        """
        # ComfyUI may have refused the graph of an earlier prompt with this id.
        self._originals.pop(str(body.get("prompt_id")), None)
        try:
            mark = self.mark_of(body.get("extra_data") or {})
        except ComfyAwsError:
            return body
        prompt = body.get("prompt")
        if mark is None or not isinstance(prompt, dict):
            return body
        # Set here and nowhere else: who sends a prompt does not say who they are.
        body["extra_data"] = {**(body.get("extra_data") or {}), graphs.USER: USER.get()}
        wanted, version = _targets(body), None
        if mark["template"]:
            version = self.services().router.version(mark["template"])  # read by `check` just now
        if not (self.wraps_all or self.is_remote(prompt, wanted, version)):
            return body
        prompt = self._renewed(prompt, version)
        if not (self.wraps_all or self.is_remote(prompt, wanted, version)):
            return body  # what is new in it is ComfyUI's next step
        outputs = OUTPUTS.get()
        if outputs is None:
            outputs = tuple(validation.output_nodes(prompt, self._definitions(prompt, version)))
        if body.get("prompt_id") is None:
            body["prompt_id"] = str(uuid.uuid4())
        job_id = str(body["prompt_id"])
        if not self.wraps_all:
            self._originals[job_id] = prompt
        else:
            targets = tuple(wanted or outputs)
            self._wrapped[job_id] = WrappedRun(self._order(
                job_id, prompt, targets, {**(body.get("extra_data") or {}),
                                          "client_id": body.get("client_id") or ""}))  # fmt: skip
        body["prompt"] = {
            node_id: {"class_type": REMOTE_OUTPUT, "inputs": {"job": job_id}} for node_id in outputs
        }
        return body

    # -- the queue -----------------------------------------------------------------------------

    def _take(self, item: Item) -> Item | None:
        """The item as a cloud job, with the user's own graph; None for a local one."""
        original = self._originals.pop(item[1], None)
        if original is not None:
            return (*item[:2], original, *item[3:])
        try:
            mark = self.mark_of(item[3])
        except ComfyAwsError as exc:
            if self.role == INFERENCE:
                return item  # it ends with this error: nothing ever runs on a port itself
            log.warning("The mark of prompt %s is ignored: %s", item[1], exc)
            return None
        return item if mark is not None else None

    def _begin(self, number: int, item: Item) -> None:
        """Hand a cloud item to the job service; called on the event loop, so it only starts."""
        threading.Thread(
            target=self._start, args=(number, item), name=f"aws-start-{item[1]}", daemon=True
        ).start()

    def _start(self, number: int, item: Item) -> None:
        sensitive = item[5] if len(item) > 5 and isinstance(item[5], dict) else {}
        try:
            order = self._order(item[1], item[2], tuple(map(str, item[4])), item[3], sensitive)
            services = self.services()
            listener = self._listener(services, number, item)
            services.jobs.start(order, listener)
        except Exception as exc:  # noqa: BLE001 – the item shows as running: it must end
            error = exc if isinstance(exc, ComfyAwsError) else ComfyAwsError(f"{exc!r}")
            log.warning("Prompt %s cannot run on AWS: %s", item[1], error)
            refused = self._listener(None, number, item)
            refused.ended(JobEnd(JobState.FAILED, error=error.to_dict()))

    def _order(
        self,
        job_id: str,
        prompt: Json,
        outputs: tuple[str, ...],
        extra_data: Json,
        sensitive: Json | None = None,
    ) -> Order:
        mark = self.mark_of(extra_data) or {}
        return Order(
            job_id=job_id,
            prompt=prompt,
            outputs=outputs,
            extra_data=graphs.public_extra_data(extra_data, frozenset(sensitive or ())),
            template=mark.get("template", ""),
            endpoint=mark.get("endpoint", ""),
            client_id=extra_data.get("client_id") or "",
            user=str(extra_data.get(graphs.USER) or ""),
        )

    async def run_wrapped(self, job_id: str, node_id: str, interrupted: Callable[[], bool]) -> Json:
        """One output of a job that ComfyUI's own executor holds; the first call starts the job.

        Args:
            interrupted: whether the user has stopped the executor.

        Raises:
            NotFound: no such job was announced.
            Cancelled: the job was cancelled.
            WorkerError: the job failed.
        """
        run = self._wrapped.get(job_id)
        if run is None:
            raise NotFound(
                f"No job {job_id!r} was forwarded.",
                hint="This node is made by Prompt on AWS; it cannot be used in a workflow.",
            )
        return await run.output(node_id, self.services(), self.outputs, interrupted)

    def _listener(
        self,
        services: Services | None,
        number: int,
        item: Item,
        before: tuple[SavedFile, ...] = (),
    ) -> Listener:
        return CloudRun(
            number,
            item,
            server=self.server,
            queue=self.queue,
            canvas=self.canvas,
            outputs=self.outputs,
            services=services,
            before=before,
        )

    def _resume(self, services: Services) -> None:
        def listen(job: Job, request: JobRequest) -> Listener:
            if job.client_id == PROGRAM:
                return ProgramRun(self.server, services)
            extra_data = {**request.extra_data, "client_id": job.client_id}
            item: Item = (0, job.id, request.prompt, extra_data, list(request.outputs), {})
            return self._listener(services, self.queue.enter(item), item, job.facts.files)

        def resume() -> None:
            services.jobs.resume(listen)
            services.webhooks.look()

        threading.Thread(target=resume, name="aws-resume", daemon=True).start()

    def _tell_idle(self, endpoint: Endpoint, asleep: bool) -> None:  # noqa: FBT001 – as Tell has it
        self.server.send_sync("aws.idle", {"endpoint": to_dict(endpoint), "asleep": asleep})

    def is_cloud(self, prompt_id: str) -> bool:
        """Whether a live cloud job has this id."""
        return self._services is not None and self._services.jobs.is_live(prompt_id)

    def cancel(self, prompt_id: str) -> bool:
        """Cancel a cloud job; False when it is none."""
        if self._services is None or not self._services.jobs.is_live(prompt_id):
            return False
        self._services.jobs.cancel(prompt_id)
        return True


def _targets(body: Json) -> frozenset[str] | None:
    """The ids of the output nodes that a prompt asks for; None for all."""
    targets = body.get("partial_execution_targets")
    return None if targets is None else frozenset(map(str, targets))


def refusal(exc: ComfyAwsError) -> Json:
    """An error of ours as POST /prompt answers it; the page shows `message`."""
    error = {"type": f"aws_{exc.code}", "message": str(exc), "details": "", "extra_info": {}}
    return {"error": error, "node_errors": getattr(exc, "node_errors", {})}
