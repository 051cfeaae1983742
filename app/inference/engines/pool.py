"""Which engine holds which version. Knows the folder of the engines' sockets; knows no text and no names of models.

A version is loaded by the first request for it. A load that failed is remembered for a moment, so that its requests
fail at once and do not queue up behind hopeless tries.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import re
import time
from collections.abc import Awaitable, Callable
from pathlib import Path

import zmq

from app.errors import OstinatoError, Unavailable
from app.inference.engines.client import FROZEN_LIMIT, EngineClient, Work
from app.inference.engines.failures import failure
from app.inference.versions import still_loading
from app.telemetry import engine_losses, model_load_seconds
from app.wire import engine as wire
from app.wire import socket_folder as private

SOCKET_NAME = re.compile(r"engine-\d+\.sock")
SCAN_SECONDS = 0.25
FAILURE_MEMORY = 5.0
LOADS_AT_ONCE = 64

log = logging.getLogger(__name__)


class EnginePool:
    """`prepare(digest)` gives the Load message of a version: its files are fetched only when they are needed."""

    def __init__(self, socket_dir: Path, on_lost: Callable[[list[Work]], None]) -> None:
        self.socket_dir = socket_dir
        self.clients: dict[str, EngineClient] = {}
        self._on_lost = on_lost
        self._context: zmq.Context[zmq.Socket[bytes]] = zmq.Context()
        self._loads: dict[str, asyncio.Task[None]] = {}
        self._failures: dict[str, tuple[float, OstinatoError]] = {}
        self._refused = False  # the folder of the sockets
        self._scanner: asyncio.Task[None] | None = None

    async def start(self) -> None:
        self._scan()
        self._scanner = asyncio.get_running_loop().create_task(self._keep_scanning())

    async def close(self) -> None:
        tasks = [*self._loads.values(), *([self._scanner] if self._scanner else [])]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await asyncio.gather(*(client.close() for client in self.clients.values()))
        self._context.destroy(linger=0)

    async def _keep_scanning(self) -> None:
        while True:
            await asyncio.sleep(SCAN_SECONDS)
            try:
                self._scan()
            except Exception:  # as where no descriptor is left: engines that come later are found later
                log.exception("the folder of the engines' sockets was not read")

    def _scan(self) -> None:
        with contextlib.suppress(FileNotFoundError):
            if not self._private():
                return
            for path in self.socket_dir.iterdir():
                if path.name not in self.clients and SOCKET_NAME.fullmatch(path.name):
                    client = self.clients[path.name] = EngineClient(path, self._context, self._lost)
                    client.start()

    def _private(self) -> bool:
        """Whether the sockets there can be our engines' alone; what is wrong is told once."""
        try:
            private.check(self.socket_dir)
        except private.NotPrivate as error:
            if not self._refused:
                log.error("no engine is asked: %s", error.message)
            self._refused = True
            return False
        self._refused = False
        return True

    def _lost(self, open_work: list[Work]) -> None:
        engine_losses.inc()
        self._on_lost(open_work)

    @property
    def living(self) -> list[EngineClient]:
        return [client for client in self.clients.values() if client.alive]

    def holder(self, digest: str) -> EngineClient | None:
        """The least busy living engine that has this version loaded."""
        found = [client for client in self.clients.values() if client.alive and client.holds(digest)]
        return min(found, key=lambda c: c.open_requests) if found else None

    async def engine_for(self, digest: str, prepare: Callable[[], Awaitable[wire.Load]], until: float) -> EngineClient:
        """An engine with the version loaded. Raises what the load ended with, or Unavailable: `loading` at `until`,
        `engine_lost` where no engine is heard of."""
        await self._heard(until)
        client = self.holder(digest)
        if client is not None:
            return client
        self._recall(digest)
        task = self._loads.get(digest)
        if task is None:
            if len(self._loads) >= LOADS_AT_ONCE:
                raise Unavailable("too many versions are being loaded", code="loading", retry_after=5.0)
            task = self._loads[digest] = asyncio.get_running_loop().create_task(self._load(digest, prepare))
            task.add_done_callback(lambda done: self._ended(digest, done))
        await asyncio.wait({task}, timeout=max(0.0, until - time.monotonic()))
        if not task.done():
            raise still_loading()
        if not task.cancelled() and (error := task.exception()):
            raise error
        await self._heard(until)
        client = self.holder(digest)
        if client is None:
            raise Unavailable("the engine was lost while it loaded the version", code="engine_lost", retry_after=1.0)
        return client

    def keep(self, digests: frozenset[str]) -> None:
        """Tell the engines which versions must stay loaded, whatever else comes."""
        for client in self.living:
            client.keep(digests)

    def unload(self, digest: str) -> None:
        """This version is served no more: engines forget it when they have answered what is open."""
        for client in self.living:
            if client.holds(digest):
                client.unload(digest)

    @property
    def loaded(self) -> set[str]:
        return {v.digest for client in self.living if client.heartbeat for v in client.heartbeat.versions}

    async def _heard(self, until: float) -> None:
        """Where no engine is heard of, but one may be: wait until one is heard again, or all are known to be dead."""
        while not self.living and (silent := [c for c in self.clients.values() if c.silent]):
            left = until - time.monotonic()
            waits = [asyncio.ensure_future(client.decided.wait()) for client in silent]
            try:
                done, _ = await asyncio.wait(waits, timeout=max(0.0, left), return_when=asyncio.FIRST_COMPLETED)
            finally:
                for task in waits:
                    task.cancel()
            if not done:
                return

    def _recall(self, digest: str) -> None:
        remembered = self._failures.get(digest)
        if remembered is None:
            return
        until, error = remembered
        if time.monotonic() < until:
            raise type(error)(error.message, code=error.code, retry_after=error.retry_after, retryable=error.retryable)
        del self._failures[digest]

    def _ended(self, digest: str, task: asyncio.Task[None]) -> None:
        self._loads.pop(digest, None)
        error = None if task.cancelled() else task.exception()
        if isinstance(error, OstinatoError) and error.code != "engine_lost":
            self._failures[digest] = (time.monotonic() + FAILURE_MEMORY, error)

    def _emptiest(self) -> EngineClient:
        """The living engine that holds the fewest bytes of weights. Raises Unavailable where there is none."""
        living = self.living
        if not living:
            raise Unavailable("no engine is running; try again in a moment", code="engine_lost", retry_after=1.0)
        return min(living, key=lambda c: sum(v.bytes for v in c.heartbeat.versions) if c.heartbeat else 0)

    async def _load(self, digest: str, prepare: Callable[[], Awaitable[wire.Load]]) -> None:
        self._emptiest()  # without an engine nothing need be fetched
        message = await prepare()
        await self._heard(time.monotonic() + FROZEN_LIMIT)
        answer = await self._emptiest().load(message)  # looked for again: fetching takes long, and engines come and go
        if isinstance(answer, wire.LoadFailed):
            log.error("%s could not be loaded: %s: %s", message.name, answer.code, answer.message)
            # without its name: equal files of another owner may wait for the same load
            raise failure(answer.code, f"the version could not be loaded: {answer.message}")
        model_load_seconds.labels(message.name).observe(answer.seconds)
