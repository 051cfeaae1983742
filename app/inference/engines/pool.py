"""Finds this machine's engines by their sockets, and loads versions into them.

A version is loaded by the first request for it. A failed load is remembered for a few seconds. During this time,
requests for the version fail immediately instead of loading it again.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import re
import time
from collections import OrderedDict
from collections.abc import Awaitable, Callable
from pathlib import Path

import zmq

from app.errors import OstinatoError, Unavailable
from app.inference.engines.client import EngineClient
from app.inference.engines.failures import failure
from app.inference.engines.liveness import FROZEN_LIMIT
from app.inference.engines.work import Work
from app.inference.shared_tasks import SharedTasks, StillRunning, duplicate
from app.inference.ticks import tick
from app.inference.versions import still_loading
from app.telemetry import engine_losses, model_load_seconds, model_series
from app.wire import engine as wire
from app.wire import socket_folder

SOCKET_NAME = re.compile(r"engine-\d+\.sock")
SCAN_SECONDS = 0.25
FAILURE_MEMORY = 5.0  # seconds for which a failed load is remembered
FAILURES = 256  # the maximum number of failed loads that are remembered
LOADS_AT_ONCE = 64

log = logging.getLogger(__name__)


class EnginePool:
    """The clients of all engines whose sockets are in `socket_dir`, by socket name."""

    def __init__(self, socket_dir: Path, on_lost: Callable[[list[Work]], None]) -> None:
        self.socket_dir = socket_dir
        self.clients: dict[str, EngineClient] = {}
        self._on_lost = on_lost
        self._context: zmq.Context[zmq.Socket[bytes]] = zmq.Context()
        self._loads: SharedTasks[str, None] = SharedTasks()
        self._failures: OrderedDict[str, tuple[float, OstinatoError]] = OrderedDict()  # digest -> (expiry, error)
        self._refused = False  # whether the socket folder was unsafe at the last scan
        self._scanner: asyncio.Task[None] | None = None

    async def start(self) -> None:
        """Connect to the engines whose sockets exist, and look for new ones from now on."""
        self._scan()
        self._scanner = asyncio.get_running_loop().create_task(self._keep_scanning())

    async def close(self) -> None:
        if self._scanner:
            self._scanner.cancel()
            await asyncio.gather(self._scanner, return_exceptions=True)
        await self._loads.close()
        await asyncio.gather(*(client.close() for client in self.clients.values()))
        self._context.destroy(linger=0)

    async def _keep_scanning(self) -> None:
        while True:
            await tick(SCAN_SECONDS)
            try:
                self._scan()
            except Exception:  # for example, no file descriptor is free; the next scan tries again
                log.exception("the folder of the engines' sockets could not be scanned")

    def _scan(self) -> None:
        with contextlib.suppress(FileNotFoundError):
            if not self._safe():
                return
            for path in self.socket_dir.iterdir():
                if path.name not in self.clients and SOCKET_NAME.fullmatch(path.name):
                    client = self.clients[path.name] = EngineClient(path, self._context, self._lost)
                    client.start()

    def _safe(self) -> bool:
        """Whether only this user can create sockets in the folder. If other users can, the problem is logged once."""
        try:
            socket_folder.check(self.socket_dir)
        except socket_folder.NotPrivate as error:
            if not self._refused:
                log.error("all engines are ignored: %s", error.message)
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
        """The least busy live engine that has loaded this version, if any."""
        holders = [client for client in self.clients.values() if client.alive and client.holds(digest)]
        return min(holders, key=lambda c: c.open_requests) if holders else None

    async def engine_for(self, digest: str, prepare: Callable[[], Awaitable[wire.Load]], until: float) -> EngineClient:
        """Return an engine that has loaded the version. If there is no such engine, load the version into one.

        `prepare` fetches the version's files and creates the Load message. Raises a failed load's error, or
        Unavailable: `loading` if the load is not finished by the monotonic time `until`, or `engine_lost` if no engine
        is alive.
        """
        await self._heard(until)
        client = self.holder(digest)
        if client is not None:
            return client
        self._raise_remembered(digest)
        if digest not in self._loads and len(self._loads) >= LOADS_AT_ONCE:
            raise Unavailable("too many versions are being loaded", code="loading", retry_after=5.0)
        try:
            await self._loads.run(digest, lambda: self._load(digest, prepare), max(0.0, until - time.monotonic()))
        except StillRunning:
            raise still_loading() from None
        await self._heard(until)
        client = self.holder(digest)
        if client is None:
            raise Unavailable("the engine died while loading the version", code="engine_lost", retry_after=1.0)
        return client

    def keep(self, digests: frozenset[str]) -> None:
        """Send the engines the list of versions that must not be unloaded to make room for others."""
        for client in self.living:
            client.keep(digests)

    def unload(self, digest: str) -> None:
        """Request that every engine unload a version once it has answered the version's open requests."""
        for client in self.living:
            if client.holds(digest):
                client.unload(digest)

    @property
    def loaded(self) -> dict[str, str]:
        """The names, by digest, of the versions that running engines report as loaded."""
        return {v.digest: v.name for client in self.living if client.heartbeat for v in client.heartbeat.versions}

    async def _heard(self, until: float) -> None:
        """While all running engines are silent, wait for a heartbeat, but not beyond the monotonic time `until`."""
        while not self.living and (silent := [c for c in self.clients.values() if c.silent]):
            left = until - time.monotonic()
            waits = [asyncio.ensure_future(client.liveness.decided.wait()) for client in silent]
            try:
                done, _ = await asyncio.wait(waits, timeout=max(0.0, left), return_when=asyncio.FIRST_COMPLETED)
            finally:
                for task in waits:
                    task.cancel()
            if not done:
                return

    def _emptiest(self) -> EngineClient:
        """The live engine with the smallest total size of loaded weights. Raises Unavailable if no engine is alive."""
        living = self.living
        if not living:
            raise Unavailable("no engine is running; try again in a moment", code="engine_lost", retry_after=1.0)
        return min(living, key=lambda c: sum(v.bytes for v in c.heartbeat.versions) if c.heartbeat else 0)

    # --- loads --------------------------------------------------------------------------------------------------

    async def _load(self, digest: str, prepare: Callable[[], Awaitable[wire.Load]]) -> None:
        try:
            await self._load_once(prepare)
        except OstinatoError as error:
            if error.code != "engine_lost":  # a new engine may be able to load the version
                self._remember(digest, error)
            raise

    async def _load_once(self, prepare: Callable[[], Awaitable[wire.Load]]) -> None:
        self._emptiest()  # raises if no engine is alive, so that no files are fetched needlessly
        message = await prepare()
        await self._heard(time.monotonic() + FROZEN_LIMIT)
        # Choose the engine again: fetching files can take minutes, and engines may have started or stopped.
        answer = await self._emptiest().load(message)
        if isinstance(answer, wire.LoadFailed):
            log.error("%s could not be loaded: %s: %s", message.name, answer.code, answer.message)
            # Do not name the version: another owner, whose version has the same files, may be waiting too.
            raise failure(answer.code, f"the version could not be loaded: {answer.message}")
        model_series.use(message.name)
        model_load_seconds.labels(message.name).observe(answer.seconds)

    def _remember(self, digest: str, error: OstinatoError) -> None:
        """Record a failed load, and delete expired records."""
        now = time.monotonic()
        self._failures[digest] = (now + FAILURE_MEMORY, duplicate(error))  # a copy without the traceback and its frames
        self._failures.move_to_end(digest)
        for expired in [old for old, (expiry, _) in self._failures.items() if expiry <= now]:
            del self._failures[expired]
        while len(self._failures) > FAILURES:
            self._failures.popitem(last=False)

    def _raise_remembered(self, digest: str) -> None:
        entry = self._failures.get(digest)
        if entry is None:
            return
        expiry, error = entry
        if time.monotonic() < expiry:
            raise duplicate(error)
        del self._failures[digest]
