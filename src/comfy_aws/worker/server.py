"""SageMaker's container contract: GET /ping, POST /invocations, SIGTERM.

The worker listens on all interfaces on SageMaker's port 8080, where the platform's proxy comes
from outside the container, and on loopback alone on any other port, which only the local stack
asks for.

/ping answers 200 when the runner is ready, and before the first time only after the template
to warm has been restored and its models loaded; a worker that takes no more jobs answers 503.
/invocations answers 200 with the JobResult for everything that the worker could report itself.
"""

from __future__ import annotations

import asyncio
import logging
import signal
import time
from collections.abc import Callable
from contextlib import suppress

from aiohttp import web

from comfy_aws import coldstart, layout
from comfy_aws.aws import Metrics, ObjectStore, Queues, Session
from comfy_aws.blobs import Blobs
from comfy_aws.config import WorkerConfig
from comfy_aws.errors import AwsError, Cancelled, ComfyAwsError, PromptRejected, WorkerError
from comfy_aws.models import (
    JobRequest,
    JobResult,
    Manifest,
    Outcome,
    Template,
    TemplateVersion,
    from_json,
    to_json,
)
from comfy_aws.packfaults import PackFaults
from comfy_aws.permissions import METRICS
from comfy_aws.worker.cache import BlobCache
from comfy_aws.worker.environment import Environments
from comfy_aws.worker.execution import Execution, Stop
from comfy_aws.worker.journal import JOURNAL
from comfy_aws.worker.outputs import Shelf
from comfy_aws.worker.phases import Told
from comfy_aws.worker.restore import Restorer
from comfy_aws.worker.runner import Runner
from comfy_aws.worker.stage import Stage
from comfy_aws.worker.warming import loaders

SAGEMAKER_PORT = 8080
DRAIN = 25.0
"""Seconds that a running job gets after SIGTERM; SIGKILL follows after 30."""

LAST_WORDS = 3.0
"""Seconds for the result of a job that was cut off."""

SAID_EVERY = 2.0
"""Seconds between two lines of the log about one phase: pages show from them how it goes on."""

FAILURES = frozenset({Outcome.ERROR, Outcome.FAILED})
"""Ends that somebody should look at; a graph that ComfyUI refuses tells its user enough."""

BODY_BYTES = 1024**3
"""SageMaker's own limit for an asynchronous request."""

log = logging.getLogger(__name__)


class Worker:
    """The worker's state and its two routes. Lives in one event loop."""

    def __init__(
        self,
        config: WorkerConfig,
        *,
        stage: Stage,
        store: ObjectStore,
        queues: Queues,
        shelf: Shelf,
        metrics: Metrics,
        drain: float = DRAIN,
    ) -> None:
        self._config = config
        self._metrics = metrics
        self._stage = stage
        self._store = store
        self._queues = queues
        self._shelf = shelf
        self._drain = drain
        self._turn = asyncio.Lock()
        self._current: Execution | None = None
        self._idle = asyncio.Event()
        self._idle.set()
        self._warm = False
        self._halt: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._chore: asyncio.Task[None] | None = None
        self._finished: list[str] = []

    def app(self) -> web.Application:
        app = web.Application(client_max_size=BODY_BYTES)
        app.router.add_get("/ping", self.ping)
        app.router.add_post("/invocations", self.invoke)
        return app

    async def ping(self, _: web.Request) -> web.Response:
        ready = self._warm and not self._halt.done()
        return web.Response(status=200 if ready else 503)

    async def invoke(self, request: web.Request) -> web.Response:
        try:
            job = from_json(JobRequest, await request.read(), where="invocation")
            layout.check_job_id(job.job_id)
        except ComfyAwsError as exc:
            return _json(exc, 400)
        async with self._turn:
            if self._halt.done():
                return _json(WorkerError("The worker is being shut down."), 503)
            result = await self._run(job, _gone(request))
        return web.Response(text=to_json(result), content_type="application/json")

    async def warm_up(self) -> None:
        """Start the runner, with the template to warm restored.

        Raises:
            RunnerCrashed: ComfyUI does not start.
        """
        async with self._turn:
            try:
                version = await asyncio.to_thread(self._warm_version)
                await self._make_true(version.manifest if version else Manifest())
                await self._load_models(version)
            except Cancelled:
                return
            except ComfyAwsError as exc:
                if not self._config.warm:
                    raise
                # Its jobs will say the same to their users; other templates may work.
                log.warning("The template %s cannot be warmed: %s", self._config.warm, exc)
            if not self._stage.runner.running:
                self._stage.restorer.lay_packs(Manifest(), alone=True)
                await self._make_true(Manifest())
        self._warm = True
        log.info(coldstart.READY)

    async def shut_down(self) -> None:
        """Take no more jobs, let the running one drain, and stop the runner."""
        if not self._halt.done():
            self._halt.set_result(None)
        with suppress(asyncio.TimeoutError):
            await asyncio.wait_for(self._idle.wait(), self._drain)
        if self._current is not None:
            self._current.stop(Stop.SHUTDOWN)
            with suppress(asyncio.TimeoutError):
                await asyncio.wait_for(self._idle.wait(), LAST_WORDS)
        if self._chore is not None:
            await asyncio.wait([self._chore])
        await self._stage.runner.kill()
        await self._stage.environments.close(LAST_WORDS)
        self._stage.restorer.close()

    async def _run(self, job: JobRequest, abandoned: Callable[[], bool]) -> JobResult:
        self._idle.clear()
        JOURNAL.job = job.job_id
        self._current = Execution(
            job, stage=self._stage, store=self._store, queues=self._queues, shelf=self._shelf,
            abandoned=abandoned,
        )  # fmt: skip
        failed = False
        try:
            result = await self._current.run()
            failed = result.outcome in FAILURES
            log.info("%s %s", result.outcome.value, result.timings)
            self._warm |= self._stage.runner.running
            return result
        finally:
            self._current = None
            JOURNAL.job = ""
            self._idle.set()
            self._finished.append(job.job_id)
            self._chore = asyncio.ensure_future(self._after_job(failed=failed))

    async def _after_job(self, *, failed: bool) -> None:
        """What need not keep the answer waiting."""
        if failed:
            await asyncio.to_thread(self._count_failure)
        if self._shelf.due:
            finished, self._finished = self._finished, []
            await asyncio.to_thread(self._shelf.sweep)
            with suppress(ComfyAwsError):
                await self._stage.runner.client.forget_history(*finished)
        if not self._stage.runner.running:
            async with self._turn:
                await self._start_again()

    def _count_failure(self) -> None:
        """The stack's alarm watches this: to SageMaker, a job whose end is told did not fail."""
        try:
            self._metrics.count(METRICS, "JobsFailed", Bucket=self._config.access.bucket)
        except AwsError as exc:  # a role of before has no right to
            log.info("The failure is not counted: %s", exc)

    async def _start_again(self) -> None:
        """The runner died under the last job; the next one should not have to wait for it."""
        if self._stage.runner.running or self._halt.done():
            return
        try:
            await self._make_true(Manifest())
        except ComfyAwsError as exc:
            self._warm = False  # /ping says so, and the platform replaces the container
            log.warning("ComfyUI cannot be started again: %s", exc)

    async def _make_true(self, manifest: Manifest) -> None:
        await self._stage.make_true(
            manifest,
            told=_logged(),
            stopped=self._halt,
        )

    async def _load_models(self, version: TemplateVersion | None) -> None:
        """Run the template's loaders; what fails here fails in a job, with its user to be told."""
        graph = loaders(version) if version else {}
        if not graph:
            return
        began = time.perf_counter()
        log.info("%s of %s", coldstart.LOADING, self._config.warm)
        try:
            await self._stage.runner.run_alone(graph, self._halt)
        except PromptRejected as exc:
            log.warning("The models of %s cannot be loaded: %s", self._config.warm, exc)
            return
        log.info("Loaded the models in %.1f s", time.perf_counter() - began)

    def _warm_version(self) -> TemplateVersion | None:
        name = self._config.warm
        if not name:
            return None
        pointer = from_json(Template, self._store.get(layout.template_key(name)))
        body = self._store.get(layout.version_key(name, pointer.version))
        return from_json(TemplateVersion, body, where=f"template {name}")


def build(config: WorkerConfig, *, drain: float = DRAIN) -> Worker:
    """Put a worker together.

    Raises:
        WorkerError: another worker uses the directory.
    """
    session = Session(config.access)
    store = ObjectStore(session)
    blobs = Blobs(store)
    restorer = Restorer(
        config.directory,
        lambda root, evicted: BlobCache(root, blobs, budget=config.cache_bytes, evicted=evicted),
    )
    runner = Runner(config.comfyui, restorer.base, config.runner_args)
    stage = Stage(restorer, runner, Environments(config.directory, store), PackFaults(store))
    return Worker(
        config, stage=stage, store=store, queues=Queues(session),
        shelf=Shelf(restorer.base), metrics=Metrics(session), drain=drain,
    )  # fmt: skip


def address(config: WorkerConfig) -> str:
    return "0.0.0.0" if config.port == SAGEMAKER_PORT else "127.0.0.1"  # noqa: S104 – see above


async def serve(config: WorkerConfig, *, drain: float = DRAIN) -> int:
    """Run the worker until SIGTERM; returns the exit status."""
    log.info(coldstart.STARTS)
    worker = build(config, drain=drain)
    loop, told = asyncio.get_running_loop(), asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, told.set)
    # Jobs in flight are waited for by `shut_down`; what remains has a moment to be written.
    server = web.AppRunner(worker.app(), access_log=None, shutdown_timeout=1.0)
    await server.setup()
    await web.TCPSite(server, address(config), config.port).start()
    warming = asyncio.ensure_future(worker.warm_up())
    stopped = asyncio.ensure_future(told.wait())
    status = 0
    await asyncio.wait([warming, stopped], return_when=asyncio.FIRST_COMPLETED)
    if warming.done() and warming.exception() is not None:
        log.error("The worker cannot start: %s", warming.exception())
        status = 1
    else:
        await stopped
    await worker.shut_down()
    await asyncio.wait([warming])
    await server.cleanup()
    return status


def _logged() -> Told:
    """Says in the log where a phase begins, how it goes on, and what it took in the end."""
    said: dict[str, float] = {}

    def told(
        phase: str, message: str, done: int, total: int, *, seconds: float | None = None
    ) -> None:
        now = time.monotonic()
        if seconds is not None:
            log.info("%s: %s (%.1f s)", phase, message, seconds)
        elif now - said.get(phase, -SAID_EVERY) >= SAID_EVERY:
            log.info("%s: %s (%d of %d)" if total else "%s: %s", phase, message,
                     *((done, total) if total else ()))  # fmt: skip
        else:
            return
        said[phase] = now

    return told


def _gone(request: web.Request) -> Callable[[], bool]:
    transport = request.transport
    return lambda: transport is None or transport.is_closing()


def _json(error: ComfyAwsError, status: int) -> web.Response:
    return web.json_response(error.to_dict(), status=status)
