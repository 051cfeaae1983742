"""One engine process, as an API process sees it: is it alive, what has it loaded, who waits for what from it.

Knows the messages and the two sockets; knows no text, no registry and no other engine.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import msgspec
import zmq

from app.errors import Unavailable
from app.inference.engines import failures
from app.inference.engines.gate import Gate
from app.inference.engines.inbox import Answer, Inbox
from app.inference.engines.socket import EngineSocket
from app.launcher import programs
from app.wire import engine as wire

Request = wire.Score | wire.Generate | wire.Embed

HEARTBEAT_LIMIT = 1.0  # seconds of silence after which an engine is not ready
FROZEN_LIMIT = 10.0  # seconds of silence after which even a process that still exists counts as dead
TICK = 0.1
LATE_TICK = 0.5  # a loop that was this late knows nothing of how long the engine was silent
SETTLING = 1.0  # seconds in which a heartbeat may be older than what a message said of a version
LOAD_LIMIT = 600.0  # seconds after which an engine's answer to a load is waited for no longer
SEND_QUEUE = 100_000

LOST = "the engine stopped while this request was open; it is being restarted: try again"

log = logging.getLogger(__name__)
_decode = msgspec.msgpack.Decoder(wire.FromEngine).decode
_decode_heartbeat = msgspec.msgpack.Decoder(wire.Heartbeat).decode
_encode = msgspec.msgpack.Encoder().encode


@dataclass(slots=True, eq=False)
class Work:
    """What one caller sends to one engine; request i is answered into `inbox` under tag i."""

    requests: tuple[Request, ...]
    trusted: bool = False  # made by ourselves: never suspected of having ended an engine
    inbox: Inbox = field(default_factory=Inbox)
    open: set[str] = field(default_factory=set)  # ids that are not yet answered
    answers: int = 0  # messages that came for it, failures not counted: how far it is
    failed: bool = False  # some request of it ended with a failure
    milestone: int = -1  # the number of answers at which `reached` is called
    reached: Callable[[], None] | None = None


class EngineClient:
    """All methods belong to the event loop that called `start`. `on_lost` hears what was open at a death."""

    def __init__(
        self, path: Path, context: zmq.Context[zmq.Socket[bytes]], on_lost: Callable[[list[Work]], None]
    ) -> None:
        self.path = path
        self.gate = Gate()
        self.heartbeat: wire.Heartbeat | None = None
        self.decided = asyncio.Event()  # a silent engine was heard again, or is dead
        self._context = context
        self._on_lost = on_lost
        self._alive = False
        self._silent = False
        self._seen = 0.0
        self._held: dict[str, float] = {}  # digest -> when we learnt that it is loaded
        self._left: dict[str, float] = {}  # digest -> when we learnt that it no longer is
        self._kept: frozenset[str] = frozenset()  # what this engine was told to keep
        self._open: dict[str, tuple[Work, int]] = {}
        self._loads: dict[str, asyncio.Future[wire.Loaded | wire.LoadFailed]] = {}
        self._requests: EngineSocket | None = None
        self._beats: EngineSocket | None = None
        self._watcher: asyncio.Task[None] | None = None

    # --- life ---------------------------------------------------------------------------------------------------

    def start(self) -> None:
        socket = self._context.socket(zmq.SUB)
        socket.setsockopt(zmq.CONFLATE, 1)  # only the newest heartbeat says anything
        socket.setsockopt(zmq.SUBSCRIBE, b"")
        self._beats = EngineSocket(self._connect(socket, f"ipc://{self.path}.heartbeat"), self._beat)
        self._watcher = asyncio.get_running_loop().create_task(self._watch())

    async def close(self) -> None:
        if self._watcher:
            self._watcher.cancel()
            await asyncio.gather(self._watcher, return_exceptions=True)
        self._lose("the service is stopping; try again")
        if self._beats:
            self._beats.close()

    @property
    def alive(self) -> bool:
        """Ready for requests: its last heartbeat is younger than a second."""
        return self._alive and not self._silent

    @property
    def silent(self) -> bool:
        """Not heard of for a second, though its process is there: a busy machine does that to an engine."""
        return self._alive and self._silent

    @property
    def instance(self) -> str:
        return self.heartbeat.instance if self.heartbeat else ""

    @property
    def open_requests(self) -> int:
        return len(self._open)

    def holds(self, digest: str) -> bool:
        return digest in self._held

    # --- requests -----------------------------------------------------------------------------------------------

    async def load(self, message: wire.Load) -> wire.Loaded | wire.LoadFailed:
        """Raises Unavailable where the engine is not there, or says nothing of it for very long."""
        future = self._loads.get(message.digest)
        if future is None:
            self._send(message)  # first: what was never sent is waited for by nobody
            future = self._loads[message.digest] = asyncio.get_running_loop().create_future()
        try:
            async with asyncio.timeout(LOAD_LIMIT):
                return await asyncio.shield(future)
        except TimeoutError:
            self._loads.pop(message.digest, None)  # it may be asked for again: an engine loads nothing twice
            raise Unavailable(
                "the engine does not finish loading the version", code="loading", retry_after=5.0
            ) from None

    def keep(self, digests: frozenset[str]) -> None:
        if digests != self._kept:
            self._send(wire.Keep(sorted(digests)))
            self._kept = digests

    def unload(self, digest: str) -> None:
        self._forget(digest)
        self._send(wire.Unload(digest))

    def send(self, work: Work) -> None:
        """Raises Unavailable where the engine is not there. Every request sent gets one final answer."""
        if not self.alive:
            raise Unavailable("no engine is running; try again in a moment", code="engine_lost", retry_after=1.0)
        for tag, request in enumerate(work.requests):
            self._open[request.id] = (work, tag)
            work.open.add(request.id)
            self._send(request)

    def abort(self, work: Work) -> None:
        """Give up whatever of it is open; nothing more comes into its inbox. Never raises."""
        for identity in work.open:
            self._abort(identity)
        work.open.clear()

    def abort_one(self, work: Work, tag: int) -> None:
        identity = work.requests[tag].id
        work.open.discard(identity)
        self._abort(identity)

    def _abort(self, identity: str) -> None:
        if self._open.pop(identity, None) and self._alive:
            try:
                self._send(wire.Abort(identity))
            except Unavailable:  # it takes nothing any more: what it answers to this will be nobody's
                log.warning("an engine was not told of a request that was given up")

    def _send(self, message: wire.ToEngine) -> None:
        if self._requests is None:
            raise Unavailable("no engine is running; try again in a moment", code="engine_lost", retry_after=1.0)
        try:
            self._requests.send(_encode(message))
        except zmq.Again:
            raise Unavailable("the engine takes no more requests", code="engine_busy", retry_after=1.0) from None

    def _receive(self, payload: bytes) -> None:
        if not payload:
            return
        try:
            message = _decode(payload)
        except msgspec.MsgspecError:
            log.warning("an engine sent what is no message")
            return
        if isinstance(message, wire.Loaded | wire.LoadFailed):
            self._loaded(message)
            return
        found = self._open.get(message.id)
        if found is not None:
            self._answer(message, *found)

    def _answer(self, message: Answer, work: Work, tag: int) -> None:
        if not isinstance(message, wire.Tokens):
            del self._open[message.id]
            work.open.discard(message.id)
        if isinstance(message, wire.Failed):
            work.failed = True
            if message.code == failures.NOT_LOADED:
                self._forget(work.requests[tag].digest)
        else:
            work.answers += 1
            if work.answers == work.milestone and work.reached is not None:
                work.reached()
        work.inbox.put(tag, message)

    def _forget(self, digest: str) -> None:
        self._held.pop(digest, None)
        self._left[digest] = time.monotonic()

    def _loaded(self, message: wire.Loaded | wire.LoadFailed) -> None:
        if isinstance(message, wire.Loaded):
            self._held[message.digest] = time.monotonic()
            self._left.pop(message.digest, None)
        future = self._loads.pop(message.digest, None)
        if future is not None and not future.done():
            future.set_result(message)

    # --- life and death of the engine ---------------------------------------------------------------------------

    def _beat(self, payload: bytes) -> None:
        try:
            heartbeat = _decode_heartbeat(payload)
        except msgspec.MsgspecError:
            log.warning("an engine sent what is no heartbeat")
            return
        if self._alive and heartbeat.instance != self.instance:
            self._lose(LOST)
        now = time.monotonic()
        self._seen, self._silent, self.heartbeat = now, False, heartbeat
        self.decided.set()
        self._left = {d: t for d, t in self._left.items() if now - t < SETTLING}
        present = {v.digest for v in heartbeat.versions} - self._left.keys()
        self._held = {d: t for d, t in self._held.items() if d in present or now - t < SETTLING}
        for digest in present:
            self._held.setdefault(digest, now - SETTLING)
        if not self._alive:
            self._greet()

    def _greet(self) -> None:
        """Open a fresh socket: nothing that was queued for the dead one may reach the living."""
        socket = self._context.socket(zmq.DEALER)
        socket.setsockopt(zmq.SNDHWM, SEND_QUEUE)
        socket.setsockopt(zmq.RCVHWM, SEND_QUEUE)
        self._requests = EngineSocket(self._connect(socket, f"ipc://{self.path}"), self._receive)
        self._alive, self._kept = True, frozenset()
        log.info("engine %s is there", self.path.name)

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
            await asyncio.sleep(TICK)
            now = time.monotonic()
            late, before = now - before > LATE_TICK, now
            if late:
                self._seen = max(self._seen, now - HEARTBEAT_LIMIT / 2)
            if self._alive and now - self._seen > HEARTBEAT_LIMIT:
                self._suspect()

    def _suspect(self) -> None:
        """A busy machine can silence an engine for a moment: its work is lost only if its process is gone."""
        if self._beats:
            self._beats.drain()
        silence = time.monotonic() - self._seen
        self._silent = silence > HEARTBEAT_LIMIT
        if self._silent:
            self.decided.clear()
        if self._silent and (silence > FROZEN_LIMIT or not self._process_exists()):
            self._lose(LOST)

    def _process_exists(self) -> bool:
        """The sockets are local, so the process identifier of the heartbeat means something here."""
        return self.heartbeat is not None and programs.alive(self.heartbeat.pid)

    def _lose(self, message: str) -> None:
        """The engine is dead to us: everything open ends now."""
        if self._requests is not None:
            self._requests.close()
            self._requests = None
        was_alive, self._alive = self._alive, False
        self.decided.set()
        lost, self._open = self._open, {}
        self._held.clear()
        self._left.clear()
        if was_alive:
            log.warning("engine %s fell silent with %d requests open", self.path.name, len(lost))
            self._on_lost(list({id(work): work for work, _ in lost.values()}.values()))
        for identity, (work, tag) in lost.items():
            work.open.discard(identity)
            work.failed = True
            work.inbox.put(tag, wire.Failed(identity, "engine_lost", message))
        loads, self._loads = self._loads, {}
        for digest, future in loads.items():
            if not future.done():
                future.set_result(wire.LoadFailed(digest, "engine_lost", message))
