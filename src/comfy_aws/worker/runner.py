"""The headless ComfyUI of a worker: started early, kept warm, started again when it dies.

The runner listens on loopback only, has a base directory of its own and gets no credentials.
One websocket stays open over its life; its messages go to whoever runs a job.
"""

from __future__ import annotations

import asyncio
import logging
import uuid
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from comfy_aws import loglines
from comfy_aws.comfy import ComfyClient, Message
from comfy_aws.errors import Cancelled, ComfyUIError, PackBroken, PromptRejected, RunnerCrashed
from comfy_aws.models import JobRequest, Json, NodePack
from comfy_aws.worker import journal, launch
from comfy_aws.worker.environment import Overlay
from comfy_aws.worker.process import Child, exit_reason

STOP_GRACE = 3.0
CONNECT_LIMIT = 10.0
SHOWN_LINES = 20
"""Lines of the runner's output in an error message."""

ALONE_LOOK = 0.2
"""Seconds between two looks whether a prompt that is nobody's job has ended."""

# Any output node without side effects would do. ComfyUI's worker thread takes a request to free
# its caches before or right after this prompt, hence before the next one.
BARRIER: Json = {"1": {"class_type": "PreviewAny", "inputs": {"source": "free"}}}

log = logging.getLogger(journal.RUNNER)


class Runner:
    """Lives in one event loop; one job at a time.

    Args:
        comfyui: ComfyUI's source folder.
        base: its base directory.
        arguments: more of its command line.
    """

    def __init__(self, comfyui: Path, base: Path, arguments: Sequence[str] = ()) -> None:
        self._comfyui = comfyui
        self._base = base
        self._arguments = list(arguments)
        self._client_id = f"worker-{uuid.uuid4().hex}"
        self._child: Child | None = None
        self._client: ComfyClient | None = None
        self._socket: asyncio.Task[None] | None = None
        self._connected = asyncio.Event()
        self._listener: Callable[[Message], None] | None = None
        self._checked: set[NodePack] = set()
        self.overlay: Overlay | None = None
        """What the next start adds to the Python packages."""
        self._disable_metadata = False
        self.folders: dict[str, list[str]] = {}

    @property
    def running(self) -> bool:
        return self._child is not None and self._child.running and self._client is not None

    @property
    def pid(self) -> int:
        """0 when it does not run."""
        return self._child.pid if self._child is not None and self._child.running else 0

    @property
    def client(self) -> ComfyClient:
        if self._client is None:
            raise RunnerCrashed("ComfyUI does not run.")
        return self._client

    async def start(self) -> None:
        """Start and wait until it takes prompts.

        Raises:
            RunnerCrashed: it ended, or did not answer in time.
        """
        await self.stop()
        port = launch.free_port()
        self._child = await Child.start(
            launch.command(
                self._comfyui,
                self._base,
                port,
                self._arguments,
                disable_metadata=self._disable_metadata,
            ),
            cwd=self._comfyui,
            environ=launch.environment(self._base, self.overlay),
            said=self._said,
        )
        client = ComfyClient(f"http://127.0.0.1:{port}", self._client_id)
        ready = asyncio.ensure_future(self._become_ready(client))
        try:
            await asyncio.wait(
                [ready, self._child.ended],
                return_when=asyncio.FIRST_COMPLETED,
                timeout=launch.START_LIMIT,
            )
            if not ready.done():
                raise await self._not_started()
            await ready
        except BaseException:
            ready.cancel()
            await client.close()
            await self._kill()
            raise
        self._client = client
        self._child.send(launch.READY)

    async def stop(self) -> None:
        """Stop it with all its children. Safe to repeat."""
        await self._disconnect()
        if self._child is not None:
            await self._child.stop(STOP_GRACE)
            self._child = None

    async def kill(self) -> None:
        """Stop it at once: it does not react, or there is no time."""
        await self._disconnect()
        await self._kill()

    def crash(self) -> RunnerCrashed:
        """What to say when it died under a job."""
        child = self._child
        if child is None or child.running:
            return RunnerCrashed("The connection to ComfyUI broke.", hint="Run the prompt again.")
        return RunnerCrashed(
            f"ComfyUI died while it ran the prompt: {exit_reason(child.ended.result())}."
            + _quoted(child.tail),
            hint="Run it again on an instance with more memory, or look for the node at fault.",
        )

    @property
    def ended(self) -> asyncio.Task[int]:
        """Done when the process has ended."""
        if self._child is None:
            raise RunnerCrashed("ComfyUI does not run.")
        return self._child.ended

    @property
    def socket_closed(self) -> asyncio.Task[None]:
        """Done when messages no longer come."""
        if self._socket is None:
            raise RunnerCrashed("ComfyUI is not connected.")
        return self._socket

    async def reconnect(self) -> None:
        """Open the websocket again. Raises RunnerCrashed when that fails."""
        await self._listen(self.client)

    @asynccontextmanager
    async def heard_by(self, listener: Callable[[Message], None]) -> AsyncIterator[None]:
        """Pass messages to `listener` meanwhile; without one they are dropped."""
        self._listener = listener
        try:
            yield
        finally:
            self._listener = None

    async def suit(self, request: JobRequest) -> None:
        """Let files have the metadata and the dates that a job's sender would see.

        What cached nodes have written goes with a ComfyUI that did otherwise about metadata. Where
        the endpoint itself leaves them out, no job takes that back.
        """
        if request.utc_offset is not None:
            await asyncio.to_thread(self._set_clock, launch.zone(request.utc_offset))
        if request.disable_metadata != self._disable_metadata:
            self._disable_metadata = request.disable_metadata
            if launch.DISABLE_METADATA not in self._arguments:
                await self.stop()

    def _set_clock(self, zone: str) -> None:
        path = launch.zone_file(self._base)
        if path.is_file() and path.read_text() == zone:
            return
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(zone)
        if self.running and self._child is not None:
            self._child.send(launch.CLOCK)

    async def forget(self) -> bool:
        """Drop cached node outputs and models before the next prompt starts.

        Returns:
            True when that took a new start.

        Raises:
            RunnerCrashed: it neither did so nor could be started again.
        """
        try:
            await self.client.free()
            await self.client.submit(BARRIER, prompt_id=str(uuid.uuid4()))
        except (ComfyUIError, PromptRejected) as exc:
            log.warning("ComfyUI is started again to drop its caches: %s", exc)
            await self.start()
            return True
        return False

    async def run_alone(self, prompt: Json, stopped: asyncio.Future[Any]) -> None:
        """Run a prompt that is nobody's job, to its end.

        Raises:
            PromptRejected: ComfyUI's validation refuses it.
            RunnerCrashed: it died meanwhile.
            Cancelled: `stopped` was done first.
        """
        prompt_id = str(uuid.uuid4())
        await self.client.submit(prompt, prompt_id=prompt_id)
        while await self.client.history(prompt_id) is None:
            await asyncio.wait({stopped, self.ended}, timeout=ALONE_LOOK,
                               return_when=asyncio.FIRST_COMPLETED)  # fmt: skip
            if stopped.done():
                raise Cancelled("The work was stopped.")
            if self.ended.done():
                raise self.crash()
        await self.client.forget_history(prompt_id)

    async def check_packs(self, packs: Sequence[NodePack]) -> None:
        """See that every class of these packs is there and is theirs.

        Raises:
            PackBroken: a pack did not import, or lacks a class.
            Shadowed: another pack has a class of the same name.
        """
        for pack in packs:
            if pack not in self._checked:
                for node_class in pack.classes:
                    await self._check_class(pack, node_class)
                self._checked.add(pack)

    async def _check_class(self, pack: NodePack, node_class: str) -> None:
        try:
            info = await self.client.object_info(node_class)
        except ComfyUIError:
            if not self.running:
                raise
            return  # it is there, but its INPUT_TYPES fails; validation will tell where
        if node_class not in info:
            raise self._broken(pack, node_class)
        origin = str(info[node_class].get("python_module", ""))
        own = f"custom_nodes.{pack.name.removesuffix('.py')}"
        if origin.startswith("custom_nodes.") and origin != own:
            raise Shadowed(
                f"The node class {node_class!r} of {pack.name} is taken by {origin[13:]}.",
                hint="Remove one of the two node packs.",
            )

    def _broken(self, pack: NodePack, node_class: str) -> PackBroken:
        said = import_failure(list(self._child.tail) if self._child else [], pack.name)
        if not said:
            return PackBroken(
                f"The node pack {pack.name} has no node class {node_class!r}.",
                hint="Install a version that has it, then publish again.",
            )
        hint = "Mend the node pack, then publish again."
        if "No module named" in said[-1] or any("No module named" in line for line in said):
            hint = "The worker lacks a Python package that the node pack needs."
        return PackBroken(
            f"The node pack {pack.name} could not be imported:\n" + "\n".join(said), hint=hint
        )

    async def _become_ready(self, client: ComfyClient) -> None:
        await client.wait_ready(launch.START_LIMIT)
        await self._listen(client)
        try:
            self.folders = await client.folder_paths()
        except ComfyUIError:  # an internal route, which a later ComfyUI may drop
            self.folders = {}

    async def _listen(self, client: ComfyClient) -> None:
        self._connected.clear()
        self._socket = asyncio.ensure_future(self._pump(client))
        heard = asyncio.ensure_future(self._connected.wait())
        await asyncio.wait(
            [heard, self._socket], return_when=asyncio.FIRST_COMPLETED, timeout=CONNECT_LIMIT
        )
        heard.cancel()
        if not self._connected.is_set():
            raise RunnerCrashed("ComfyUI does not open its websocket.")

    async def _pump(self, client: ComfyClient) -> None:
        try:
            async for message in client.listen():
                if not self._connected.is_set():
                    # Answers to the greeting; after this one previews carry their node.
                    if getattr(message, "type", "") == "feature_flags":
                        self._connected.set()
                elif self._listener is not None:
                    self._tell(self._listener, message)
        except ComfyUIError as exc:
            log.warning("%s", exc)

    def _tell(self, listener: Callable[[Message], None], message: Message) -> None:
        try:
            listener(message)
        except Exception:  # node packs send what they like; the next message must still be heard
            log.exception("A message of ComfyUI was not understood.")

    async def _disconnect(self) -> None:
        self._checked.clear()
        if self._socket is not None:
            self._socket.cancel()
            await asyncio.wait([self._socket])
            self._socket = None
        if self._client is not None:
            await self._client.close()
            self._client = None

    async def _kill(self) -> None:
        if self._child is not None:
            await self._child.kill()

    async def _not_started(self) -> RunnerCrashed:
        child = self._child
        if child is None or child.running:
            return RunnerCrashed(f"ComfyUI did not answer within {launch.START_LIMIT:.0f} s.")
        return RunnerCrashed(
            f"ComfyUI does not start: {exit_reason(await child.ended)}." + _quoted(child.tail),
            hint="The worker's log has all of its output.",
        )

    def _said(self, line: str) -> None:
        level, text = loglines.tagged(line)
        log.log(journal.LEVELS[level or loglines.level_of(text)], "%s", text)


class Shadowed(PackBroken):
    """Raised when a class comes from another pack than the one the manifest names."""


def import_failure(lines: Sequence[str], pack: str) -> list[str]:
    """What ComfyUI printed when it could not import a pack: the traceback and its verdict."""
    lines = [loglines.tagged(line)[1] for line in lines]
    for end, line in enumerate(lines):
        if line.startswith("Cannot import ") and f"/custom_nodes/{pack} " in line:
            start = end
            while start > 0 and end - start < SHOWN_LINES * 2:
                start -= 1
                if lines[start].startswith("Traceback "):
                    return list(lines[start : end + 1])
            return [line]
    return []


def _quoted(lines: Sequence[str]) -> str:
    last = list(lines)[-SHOWN_LINES:]
    return "\nIts last lines:\n" + "\n".join(last) if last else ""
