"""The designer: this ComfyUI's services, and the path of a queued graph to them."""

from __future__ import annotations

import logging
import threading
import uuid
from collections.abc import Callable, Mapping
from contextvars import ContextVar
from dataclasses import replace
from pathlib import Path
from typing import Any

import comfy.cli_args
import execution
import folder_paths

from comfy_aws import config as configuration
from comfy_aws import prompt as graphs
from comfy_aws import services as composition
from comfy_aws import stack, validation, webhooks
from comfy_aws.comfyui.admission import Admission, targets
from comfy_aws.comfyui.canvas import Canvas
from comfy_aws.comfyui.catalog import ComfyUICatalog
from comfy_aws.comfyui.cloud_queue import CloudQueue, Item
from comfy_aws.comfyui.cloud_run import CloudRun
from comfy_aws.comfyui.comfy_log import ComfyLog
from comfy_aws.comfyui.definitions import Definitions
from comfy_aws.comfyui.modelplaces import ComfyUIPlaces
from comfy_aws.comfyui.outputs import Outputs
from comfy_aws.comfyui.program_run import ProgramRun
from comfy_aws.comfyui.wrapped_run import WrappedRun
from comfy_aws.config import INFERENCE, Config
from comfy_aws.errors import ComfyAwsError, Conflict, NotFound
from comfy_aws.keeper import Keeper
from comfy_aws.models import (
    Endpoint,
    Job,
    JobRequest,
    JobState,
    Json,
    SavedFile,
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

OUTPUTS: ContextVar[tuple[str, ...] | None] = ContextVar("outputs", default=None)
"""`outputs` of what was checked of the prompt that is being taken."""


class Designer:
    """One for each ComfyUI process. `server` is its PromptServer."""

    def __init__(self, server: Any) -> None:
        self.server = server
        self.role = configuration.role()
        self._lock = threading.RLock()
        self._own: OwnFolder | None = None
        self.catalog = ComfyUICatalog(ReadLog(self.state / READS))
        self.admission = Admission(self.catalog, self.config, self.services)
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

    # -- the queue -----------------------------------------------------------------------------

    def on_prompt(self, body: Json) -> Json:
        """ComfyUI's hook before validation: swap a graph that it cannot validate itself.

        Only output nodes are kept, as wrapper nodes with the same ids; the graph itself is put
        back when the item reaches the queue. Runs on the event loop, on what `check` read just now.
        """
        # ComfyUI may have refused the graph of an earlier prompt with this id.
        self._originals.pop(str(body.get("prompt_id")), None)
        if self.wraps_all:  # nobody tells which prompt its queue takes
            self.catalog.reads.before_run(self.server.prompt_queue)
        try:
            mark = self.admission.mark_of(body.get("extra_data") or {})
        except ComfyAwsError:
            return body
        prompt = body.get("prompt")
        if mark is None or not isinstance(prompt, dict):
            return body
        # Set here and nowhere else: who sends a prompt does not say who they are.
        body["extra_data"] = {**(body.get("extra_data") or {}), graphs.USER: USER.get()}
        wanted, version = targets(body), None
        if mark["template"]:
            version = self.services().router.version(mark["template"])  # read by `check` just now
        if not (self.wraps_all or self.admission.is_remote(prompt, wanted, version)):
            return body
        prompt = self.admission.renewed(prompt, version)
        if not (self.wraps_all or self.admission.is_remote(prompt, wanted, version)):
            return body  # what is new in it is ComfyUI's next step
        outputs = OUTPUTS.get()
        if outputs is None:
            known = self.admission.definitions(prompt, version)
            outputs = tuple(validation.output_nodes(prompt, known))
        if body.get("prompt_id") is None:
            body["prompt_id"] = str(uuid.uuid4())
        job_id = str(body["prompt_id"])
        if not self.wraps_all:
            self._originals[job_id] = prompt
        else:
            asked = tuple(wanted or outputs)
            self._wrapped[job_id] = WrappedRun(self._order(
                job_id, prompt, asked, {**(body.get("extra_data") or {}),
                                          "client_id": body.get("client_id") or ""}))  # fmt: skip
        body["prompt"] = {
            node_id: {"class_type": REMOTE_OUTPUT, "inputs": {"job": job_id}} for node_id in outputs
        }
        return body

    def _take(self, item: Item) -> Item | None:
        """The item as a cloud job, with the user's own graph; None for a local one."""
        original = self._originals.pop(item[1], None)
        if original is not None:
            return (*item[:2], original, *item[3:])
        try:
            mark = self.admission.mark_of(item[3])
        except ComfyAwsError as exc:
            if self.role == INFERENCE:
                return item  # it ends with this error: nothing ever runs on a port itself
            log.warning("The mark of prompt %s is ignored: %s", item[1], exc)
            mark = None
        if mark is None:
            self.catalog.reads.before_run(self.server.prompt_queue)
            return None
        return item

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
        mark = self.admission.mark_of(extra_data) or {}
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
