"""An API process's connection to one engine: sends requests and loads, and receives answers and heartbeats."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable
from pathlib import Path

import msgspec
import zmq

from app.errors import Unavailable
from app.inference.engines import failures
from app.inference.engines.gate import Gate
from app.inference.engines.holdings import Holdings
from app.inference.engines.inbox import EngineAnswer
from app.inference.engines.liveness import Liveness
from app.inference.engines.socket import EngineSocket
from app.inference.engines.work import Work
from app.inference.ticks import tick
from app.wire import engine as wire
from app.wording import quantity

TICK = 0.25  # seconds between two checks of the heartbeats
LATE_TICK = 0.5  # if more seconds pass between two checks, this event loop was blocked and may have caused the silence
LOAD_LIMIT = 600.0  # seconds to wait for an engine's answer to a load
SEND_QUEUE = 100_000
LARGE = 2**20  # bytes; the scores of a message of at least this size are decoded in a thread

STOPPING = "the service is stopping; try again"
LOST = "the engine stopped while this request was open and is being restarted; try again"

log = logging.getLogger(__name__)
_decode = msgspec.msgpack.Decoder(wire.FromEngine).decode
_decode_large = msgspec.msgpack.Decoder(wire.LargeFromEngine).decode
_decode_heartbeat = msgspec.msgpack.Decoder(wire.Heartbeat).decode
_encode = msgspec.msgpack.Encoder().encode


class EngineClient:
    """The connection to one engine. Call all methods on the event loop that called `start`.

    If the engine dies, `on_lost` is called with the open work.
    """

    def __init__(
        self, path: Path, context: zmq.Context[zmq.Socket[bytes]], on_lost: Callable[[list[Work]], None]
    ) -> None:
        self.path = path
        self.gate = Gate()
        self.liveness = Liveness()
        self._context = context
        self._on_lost = on_lost
        self._holdings = Holdings()
        self._kept: frozenset[str] = frozenset()  # the digests in the last Keep message
        self._open: dict[str, tuple[Work, int]] = {}  # request id -> its work and tag
        self._loads: dict[str, asyncio.Future[wire.Loaded | wire.LoadFailed]] = {}
        self._requests: EngineSocket | None = None  # None while the engine is dead
        self._heartbeats: EngineSocket | None = None
        self._watcher: asyncio.Task[None] | None = None

    def start(self) -> None:
        """Connect to the heartbeat socket. Requests can be sent after the first heartbeat."""
        socket = self._context.socket(zmq.SUB)
        socket.setsockopt(zmq.CONFLATE, 1)  # keep only the newest heartbeat
        socket.setsockopt(zmq.SUBSCRIBE, b"")
        self._heartbeats = EngineSocket(self._connect(socket, f"ipc://{self.path}.heartbeat"), self._hear)
        self._watcher = asyncio.get_running_loop().create_task(self._watch())

    async def close(self) -> None:
        """Close the sockets. Open requests and loads fail with `STOPPING`."""
        if self._watcher:
            self._watcher.cancel()
            await asyncio.gather(self._watcher, return_exceptions=True)
        self._lose(STOPPING)
        if self._heartbeats:
            self._heartbeats.close()

    @property
    def alive(self) -> bool:
        """Whether the engine is connected and its heartbeats are not overdue."""
        return self._requests is not None and not self.liveness.silent

    @property
    def silent(self) -> bool:
        """Whether heartbeats are overdue although the process exists, as can happen on a busy machine."""
        return self._requests is not None and self.liveness.silent

    @property
    def heartbeat(self) -> wire.Heartbeat | None:
        return self.liveness.heartbeat

    @property
    def instance(self) -> str:
        return self.liveness.instance

    @property
    def open_requests(self) -> int:
        return len(self._open)

    def holds(self, digest: str) -> bool:
        """Whether the engine has loaded this version."""
        return digest in self._holdings

    # --- messages to the engine ---------------------------------------------------------------------------------

    async def load(self, message: wire.Load) -> wire.Loaded | wire.LoadFailed:
        """Load a version. Concurrent calls for the same version share one load.

        Raises Unavailable if the engine is not running or does not answer within `LOAD_LIMIT`.
        """
        future = self._loads.get(message.digest)
        if future is None:
            self._send(message)  # send first: if this fails, no future is left waiting for an answer
            future = self._loads[message.digest] = asyncio.get_running_loop().create_future()
        try:
            async with asyncio.timeout(LOAD_LIMIT):
                return await asyncio.shield(future)
        except TimeoutError:
            self._loads.pop(message.digest, None)  # a later call sends a new message; no engine loads a version twice
            raise Unavailable(
                "the engine has not finished loading the version; try again", code="loading", retry_after=5.0
            ) from None

    def keep(self, digests: frozenset[str]) -> None:
        """Send the engine the list of versions that must not be unloaded to make room for others."""
        if digests != self._kept:
            self._send(wire.Keep(sorted(digests)))
            self._kept = digests

    def unload(self, digest: str) -> None:
        """Send no new requests for a version, and ask the engine to unload it once it has no open requests."""
        self._holdings.discard(digest)
        self._send(wire.Unload(digest))

    def send(self, work: Work) -> None:
        """Send all requests in `work`; each gets exactly one final answer.

        Raises Unavailable if the engine has died.
        """
        if not self.alive:
            raise Unavailable("no engine is running; try again in a moment", code="engine_lost", retry_after=1.0)
        for tag, request in enumerate(work.requests):
            self._open[request.id] = (work, tag)
            work.open.add(request.id)
            self._send(request)

    def abort(self, work: Work) -> None:
        """Abort the open requests in `work`. Afterwards, the inbox of `work` receives no more answers.

        Never raises an exception.
        """
        for identity in work.open:
            self._abort(identity)
        work.open.clear()

    def abort_one(self, work: Work, tag: int) -> None:
        """Abort the request in `work` that has this tag. The other requests continue."""
        identity = work.requests[tag].id
        work.open.discard(identity)
        self._abort(identity)

    def _abort(self, identity: str) -> None:
        if self._open.pop(identity, None) and self._requests is not None:
            try:
                self._send(wire.Abort(identity))
            except Unavailable:  # harmless: answers to a request that is not open are dropped
                log.warning("the abort of a request could not be sent: the engine's queue is full")

    def _send(self, message: wire.ToEngine) -> None:
        if self._requests is None:
            raise Unavailable("no engine is running; try again in a moment", code="engine_lost", retry_after=1.0)
        try:
            self._requests.send(_encode(message))
        except zmq.Again:
            raise Unavailable("the engine's queue is full", code="engine_busy", retry_after=1.0) from None

    # --- messages from the engine -------------------------------------------------------------------------------

    def _receive(self, payload: bytes) -> None:
        if not payload:
            return
        try:
            message = _decode(payload) if len(payload) < LARGE else _decode_large(payload)
        except msgspec.MsgspecError:
            log.warning("a message from an engine could not be decoded")
            return
        if isinstance(message, wire.Loaded | wire.LoadFailed):
            self._end_load(message)
        elif (entry := self._open.get(message.id)) is not None:
            self._answer(message, *entry)

    def _answer(self, message: EngineAnswer, work: Work, tag: int) -> None:
        if not isinstance(message, wire.Tokens):
            del self._open[message.id]
            work.open.discard(message.id)
        # Deliver first, before anything else can fail: a final answer is sent only once, and the caller waits for it.
        work.inbox.put(tag, message)
        if isinstance(message, wire.Failed):
            work.failed = True
            if message.code == failures.NOT_LOADED:
                self._holdings.discard(work.requests[tag].digest)
            return
        work.answers += 1
        if work.answers == work.milestone and work.reached is not None:
            work.reached()

    def _end_load(self, message: wire.Loaded | wire.LoadFailed) -> None:
        if isinstance(message, wire.Loaded):
            self._holdings.add(message.digest)
        future = self._loads.pop(message.digest, None)
        if future is not None and not future.done():
            future.set_result(message)

    # --- start and loss of the engine ---------------------------------------------------------------------------

    def _hear(self, payload: bytes) -> None:
        try:
            heartbeat = _decode_heartbeat(payload)
        except msgspec.MsgspecError:
            log.warning("a heartbeat from an engine could not be decoded")
            return
        if self._requests is not None and heartbeat.instance != self.instance:
            self._lose(LOST)  # a new process: the engine was restarted between two heartbeats
        self.liveness.hear(heartbeat)
        self._holdings.update(version.digest for version in heartbeat.versions)
        if self._requests is None:
            self._connect_requests()

    def _connect_requests(self) -> None:
        """Open a new socket, so that messages queued for a dead engine do not reach its successor."""
        socket = self._context.socket(zmq.DEALER)
        socket.setsockopt(zmq.SNDHWM, SEND_QUEUE)
        socket.setsockopt(zmq.RCVHWM, SEND_QUEUE)
        self._requests = EngineSocket(self._connect(socket, f"ipc://{self.path}"), self._receive)
        self._kept = frozenset()
        log.info("engine %s is connected", self.path.name)

    @staticmethod
    def _connect(socket: zmq.Socket[bytes], address: str) -> zmq.Socket[bytes]:
        socket.setsockopt(zmq.LINGER, 0)
        socket.setsockopt(zmq.RECONNECT_IVL, 20)
        socket.setsockopt(zmq.RECONNECT_IVL_MAX, 200)
        socket.connect(address)
        return socket

    async def _watch(self) -> None:
        before = time.monotonic()
        while True:
            await tick(TICK)
            now = time.monotonic()
            late, before = now - before > LATE_TICK, now
            if late:
                self.liveness.excuse()
            try:
                self._check_heartbeats()
            except Exception:  # without this task, the engine's death would go unnoticed
                log.exception("the heartbeats of engine %s could not be checked", self.path.name)

    def _check_heartbeats(self) -> None:
        if self._requests is None or not self.liveness.overdue:
            return
        if self._heartbeats:
            self._heartbeats.drain()  # this loop may not have had time to read a heartbeat that has arrived
        if self.liveness.dead():
            self._lose(LOST)

    def _lose(self, message: str) -> None:
        """Handle the engine's death: close its socket, and fail all open requests and loads."""
        was_alive = self._requests is not None
        if self._requests is not None:
            self._requests.close()
            self._requests = None
        self.liveness.decided.set()
        self._holdings.clear()
        lost, self._open = self._open, {}
        for identity, (work, tag) in lost.items():
            work.open.discard(identity)
            work.failed = True
            work.inbox.put(tag, wire.Failed(identity, "engine_lost", message))
        loads, self._loads = self._loads, {}
        for digest, future in loads.items():
            if not future.done():
                future.set_result(wire.LoadFailed(digest, "engine_lost", message))
        if was_alive:
            # do not warn about an engine without open requests while this program stops
            level = logging.INFO if message == STOPPING and not lost else logging.WARNING
            log.log(level, "engine %s is lost; it had %s", self.path.name, quantity(len(lost), "open request"))
            # Call this last: if it fails, no request is left open. Waiting tasks run only after this method returns.
            self._on_lost(list({id(work): work for work, _ in lost.values()}.values()))
