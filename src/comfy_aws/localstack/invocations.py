"""The queue of one asynchronous endpoint: who runs where, and what becomes of it.

Nothing here polls. A request that arrives, a worker that becomes ready and an invocation that
ends each call `pump`, which pairs the oldest requests with free places. The place is free again
when the worker has answered; writing the answer to S3 goes on beside the next invocation.
"""

from __future__ import annotations

import asyncio
import logging
import tempfile
import time
from collections import deque
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import IO, Any, Final

import aiohttp

from comfy_aws.localstack.instances import Instance, InstanceState
from comfy_aws.localstack.jobs import Invocation, InvocationFiles
from comfy_aws.localstack.objects import ObjectError, ObjectStore

_log = logging.getLogger(__name__)

_PAYLOAD_BYTES: Final = 1 << 30
"""Asynchronous inference takes payloads up to 1 GB, in and out."""
_IN_MEMORY_BYTES: Final = 8 << 20
_CHUNK_BYTES: Final = 1 << 20
_DELIVERY_ATTEMPTS: Final = 3
_ERROR_TEXT_BYTES: Final = 64_000


@dataclass(frozen=True)
class Outcome:
    """What came of an invocation: the worker's answer, or why there is none."""

    content: bytes | IO[bytes]
    size: int
    content_type: str
    failure: str = ""


@dataclass(frozen=True)
class Services:
    """What the queue works with.

    Args:
        worker_session: makes a new connection for each request, so a worker that died between
            two invocations is never mistaken for one that failed.
        notify: tells the endpoint's SNS topics about an outcome; called in a thread.
    """

    store: ObjectStore
    worker_session: aiohttp.ClientSession
    notify: Callable[[Invocation, Outcome], None]


class InvocationQueue:
    """First in, first out, for all variants of an endpoint.

    Args:
        instances: the endpoint's instances now.
        concurrency: MaxConcurrentInvocationsPerInstance.
    """

    def __init__(
        self,
        files: InvocationFiles,
        services: Services,
        instances: Callable[[], list[Instance]],
        concurrency: int,
    ) -> None:
        self.concurrency = concurrency
        self._files = files
        self._services = services
        self._instances = instances
        self._waiting: deque[Invocation] = deque()
        self._timers: dict[str, asyncio.TimerHandle] = {}
        self._running: dict[str, asyncio.Task[None]] = {}
        self._attempts: dict[str, int] = {}
        self.processed = 0
        """Invocations that a worker has answered, well or not."""
        self._closed = False
        self._concluding: set[asyncio.Task[None]] = set()

    @property
    def backlog(self) -> int:
        """SageMaker's ApproximateBacklogSize: what waits and what runs."""
        return len(self._waiting) + len(self._running)

    @property
    def waiting(self) -> int:
        return len(self._waiting)

    def accept(self, invocation: Invocation) -> Invocation:
        """Write it down, queue it, start it when a place is free."""
        kept = self._files.accept(invocation)
        self._enqueue(kept)
        self.pump()
        return kept

    def restore(self) -> None:
        """Take up what an earlier life of the stack left."""
        for lost in self._files.left("running"):
            self._conclude_soon(lost, _failed("The instance was lost while it ran the request."))
        for invocation in self._files.left("queued"):
            self._enqueue(invocation)
        self.pump()

    def _enqueue(self, invocation: Invocation, *, first: bool = False) -> None:
        if first:
            self._waiting.appendleft(invocation)
        else:
            self._waiting.append(invocation)
        delay = max(0.0, invocation.expires - time.time())
        loop = asyncio.get_running_loop()
        self._timers[invocation.id] = loop.call_later(delay, self._expire, invocation)

    def _expire(self, invocation: Invocation) -> None:
        self._timers.pop(invocation.id, None)
        self._waiting.remove(invocation)
        reason = f"The request expired: it waited longer than {invocation.ttl_seconds} seconds."
        self._conclude_soon(invocation, _failed(reason))

    def pump(self) -> None:
        """Start waiting invocations while there are free places."""
        while self._waiting and not self._closed:
            free = [
                instance
                for instance in self._instances()
                if instance.state is InstanceState.READY and instance.busy < self.concurrency
            ]
            if not free:
                return
            instance = min(free, key=lambda candidate: candidate.busy)
            invocation = self._waiting.popleft()
            self._timers.pop(invocation.id).cancel()
            self._files.running(invocation)
            instance.take()
            task = asyncio.create_task(self._run(invocation, instance))
            self._running[invocation.id] = task

    async def _run(self, invocation: Invocation, instance: Instance) -> None:
        try:
            outcome = await self._attempt(invocation, instance)
        finally:
            self._running.pop(invocation.id, None)
            instance.release()
            self.pump()
        if outcome is None:
            self._files.queued_again(invocation)
            self._enqueue(invocation, first=True)
            self.pump()
            return
        self.processed += 1
        self._conclude_soon(invocation, outcome)

    async def _attempt(self, invocation: Invocation, instance: Instance) -> Outcome | None:
        """The outcome; None when the worker never got the request, which is then tried again."""
        limit = invocation.timeout_seconds
        try:
            return await asyncio.wait_for(self._invoke(invocation, instance), limit)
        except asyncio.TimeoutError:
            return _failed(f"The model did not answer within {limit} seconds: it timed out.")
        except ObjectError as exc:
            reason = f"Error reading the input {invocation.input_location}"
            return _failed(f"ClientError: {reason}: {exc.message}")
        except aiohttp.ClientConnectorError as exc:
            attempts = self._attempts.get(invocation.id, 0) + 1
            self._attempts[invocation.id] = attempts
            instance.condemn()
            if attempts < _DELIVERY_ATTEMPTS:
                return None
            return _failed(f"The worker cannot be reached: {exc}.")
        except (aiohttp.ClientError, OSError) as exc:
            # Before the next request goes there: its socket may outlive the worker for a moment.
            instance.condemn()
            return _failed(f"The worker died while it ran the request ({type(exc).__name__}).")

    async def _invoke(self, invocation: Invocation, instance: Instance) -> Outcome:
        url = f"http://127.0.0.1:{instance.port}/invocations"
        async with self._input(invocation) as (content, headers):
            post = self._services.worker_session.post(url, data=content, headers=headers)
            async with post as response:
                return await _outcome_of(response)

    @asynccontextmanager
    async def _input(self, invocation: Invocation) -> AsyncIterator[tuple[Any, dict[str, str]]]:
        headers = invocation.headers()
        if invocation.body is not None:
            yield invocation.body, headers
            return
        async with self._services.store.get(invocation.input_location) as response:
            if not invocation.content_type:
                headers["Content-Type"] = response.content_type
            length = response.content_length
            if length is not None and length > _PAYLOAD_BYTES:
                raise ObjectError(f"{length} bytes are more than the 1 GB that is allowed", 413)
            if length is not None and length <= _IN_MEMORY_BYTES:
                yield await response.read(), headers
                return
            if length is not None:
                headers["Content-Length"] = str(length)
            yield response.content, headers

    def _conclude_soon(self, invocation: Invocation, outcome: Outcome) -> None:
        task = asyncio.create_task(self._conclude(invocation, outcome))
        self._concluding.add(task)
        task.add_done_callback(self._concluding.discard)

    async def _conclude(self, invocation: Invocation, outcome: Outcome) -> None:
        """Write the outcome where the request said, then forget the request."""
        uri = invocation.failure_uri if outcome.failure else invocation.output_uri
        for pause in (0.2, 1.0, 5.0, None):
            try:
                if uri:
                    await self._services.store.put(
                        uri, outcome.content, outcome.content_type, outcome.size
                    )
                break
            except (ObjectError, aiohttp.ClientError, OSError) as exc:
                _log.error("writing %s: %s", uri, exc)
                if pause is None or not isinstance(outcome.content, bytes):
                    break
                await asyncio.sleep(pause)
        self._attempts.pop(invocation.id, None)
        self._files.done(invocation)
        if not isinstance(outcome.content, bytes):
            outcome.content.close()
        await asyncio.to_thread(self._services.notify, invocation, outcome)

    def refuse_all(self, reason: str) -> None:
        """Fail whatever waits; the endpoint goes away."""
        self._closed = True
        while self._waiting:
            invocation = self._waiting.popleft()
            self._timers.pop(invocation.id).cancel()
            self._conclude_soon(invocation, _failed(reason))

    def pause(self) -> None:
        """Start nothing more; what waits stays on disk for the next start of the stack."""
        self._closed = True
        for timer in self._timers.values():
            timer.cancel()

    async def settle(self) -> None:
        """Wait until what runs has ended and every outcome is written."""
        while self._running or self._concluding:
            await asyncio.wait([*self._running.values(), *self._concluding])

    def forget(self) -> None:
        """Remove the endpoint's folder."""
        self._files.remove()


def _failed(reason: str) -> Outcome:
    content = reason.encode()
    return Outcome(content, len(content), "text/plain; charset=utf-8", reason)


async def _outcome_of(response: aiohttp.ClientResponse) -> Outcome:
    content_type = response.headers.get("Content-Type", "application/octet-stream")
    good = 200 <= response.status < 300
    known = response.content_length
    if not good or (known is not None and known <= _IN_MEMORY_BYTES):
        content = await response.read()
        if good:
            return Outcome(content, len(content), content_type)
        text = content[:_ERROR_TEXT_BYTES].decode(errors="replace")
        error = f"Received server error ({response.status}) from model"
        return _failed(f'ModelError: {error} with message "{text}".')
    file = tempfile.TemporaryFile()  # noqa: SIM115 - `_conclude` closes it
    size = 0
    async for chunk in response.content.iter_chunked(_CHUNK_BYTES):
        file.write(chunk)
        size += len(chunk)
        if size > _PAYLOAD_BYTES:
            file.close()
            return _failed("ModelError: the model's answer is larger than 1 GB.")
    file.seek(0)
    return Outcome(file, size, content_type)
