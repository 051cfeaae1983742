"""A fake engine that exchanges real messages, so that the rest of the service can be tested without torch."""

from __future__ import annotations

import contextlib
import os
import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Self

import msgspec
import zmq

from app.wire import engine as wire
from app.wire.modes import ModeChoice

HEARTBEAT = ".heartbeat"


def fake_scores(sequence: Sequence[float], classes: int) -> list[float]:
    """Logits that depend only on the sequence, so that tests detect swapped replies."""
    total = sum((i + 1) * value for i, value in enumerate(sequence))
    return [float((total * (c + 1)) % 17) / 4.0 - 2.0 for c in range(classes)]


@dataclass
class _Stream:
    peer: bytes
    request: wire.Generate
    sent: int = 0


NO_PROCESS = 2**22 + 1  # above every process id of Linux, so that a silent fake counts as dead at once


class FakeEngine:
    """An engine without torch. Use it as a context manager, or call `start` and `stop`.

    It binds the two sockets of an engine (requests at `path`, heartbeats at `path.heartbeat`) in a thread. It answers
    Score with `fake_scores`, Embed with a unit vector, and Generate by repeating the prompt.

    Controls, which may be changed from any thread while it runs:
    `hold()` / `release()`   receive requests but do not answer them while held (except loads and aborts)
    `hold_after = n`         stop each generation after n tokens until `release()`
    `refuse_loads = (code, message)`   answer Load with LoadFailed
    `room = n`               evict the oldest of n versions for another, without a message about it
    `refuse_requests = (code, message)`   answer Score, Embed and Generate with Failed
    `burst = n`              send n tokens of a generation at a time
    `eos = id`               end a generation with reason `stop` at this token of its prompt
    `busy_seconds`           reported in heartbeats
    `work`                   reported in heartbeats for every version
    `cached_tokens = [3]`    report that so many tokens of each choice's prompt were in the prefix cache
    `mute()` / `unmute()`    send no heartbeats, as if the process hung
    `die()`                  close the sockets at once and answer no open request, as after kill -9
    `received` lists every message, and `loaded` the loaded versions (digest -> name).
    """

    def __init__(self, path: str | Path, *, classes: int = 2, width: int = 4, heartbeat_seconds: float = 0.05) -> None:
        self.path = Path(path)
        self.classes, self.width, self.heartbeat_seconds = classes, width, heartbeat_seconds
        self.refuse_loads: tuple[str, str] | None = None
        self.refuse_requests: tuple[str, str] | None = None
        self.hold_after: int | None = None
        self.room: int | None = None
        self.burst = 1
        self.eos: int | None = None
        self.busy_seconds = 0.0
        self.cached_tokens: list[int] = []
        self.work = wire.VersionWork()
        self.counters: dict[str, float] = {}
        self.instance = os.urandom(8).hex()
        self.pid = NO_PROCESS
        self.received: list[wire.ToEngine] = []
        self.loaded: dict[str, str] = {}
        self._held: list[tuple[bytes, wire.Score | wire.Embed]] = []
        self._streams: dict[tuple[bytes, str], _Stream] = {}
        self._answering = threading.Event()
        self._answering.set()
        self._ending = threading.Event()
        self._muted = False
        self._ready = threading.Event()
        self._thread = threading.Thread(target=self._run, name="fake-engine", daemon=True)

    # --- start and stop -----------------------------------------------------------------------------------------

    def start(self) -> Self:
        self._thread.start()
        assert self._ready.wait(30), "the fake engine did not bind its sockets"
        return self

    def stop(self) -> None:
        self._ending.set()
        self._thread.join(30)

    die = stop

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(self, *_: object) -> None:
        self.stop()

    def hold(self) -> None:
        self._answering.clear()

    def release(self) -> None:
        self.hold_after = None
        self._answering.set()

    def mute(self) -> None:
        self._muted = True

    def unmute(self) -> None:
        self._muted = False

    @property
    def running(self) -> int:
        """The number of open generations."""
        return len(self._streams)

    def wait_for(self, kind: type, count: int = 1, seconds: float = 30.0) -> list[wire.ToEngine]:
        """Wait until `count` messages of one kind have been received. Returns all messages of this kind."""
        deadline = time.monotonic() + seconds
        while len(messages := [m for m in self.received if isinstance(m, kind)]) < count:
            assert time.monotonic() < deadline, f"{len(messages)} of {count} {kind.__name__} messages arrived"
            self._ending.wait(0.002)
        return messages

    # --- the loop -----------------------------------------------------------------------------------------------

    def _run(self) -> None:
        context = zmq.Context()
        self._router, beats = context.socket(zmq.ROUTER), context.socket(zmq.PUB)
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
            for socket, path in ((self._router, str(self.path)), (beats, f"{self.path}{HEARTBEAT}")):
                socket.setsockopt(zmq.LINGER, 0)
                socket.setsockopt(zmq.SNDHWM, 0)  # unlimited, since a full queue would silently drop an answer
                with contextlib.suppress(FileNotFoundError):
                    os.unlink(path)
                socket.bind(f"ipc://{path}")
            self._ready.set()
            self._serve(beats)
        finally:
            context.destroy(linger=0)

    def _serve(self, beats: zmq.Socket[bytes]) -> None:
        next_beat = 0.0
        while not self._ending.is_set():
            while self._router.poll(2 if self._streams or self._held else 10):
                self._receive(self._router.recv_multipart())
            if self._answering.is_set():
                self._answer_held()
                self._step()
            if not self._muted and time.monotonic() >= next_beat:
                next_beat = time.monotonic() + self.heartbeat_seconds
                beats.send(msgspec.msgpack.encode(self._heartbeat()))

    def _receive(self, frames: list[bytes]) -> None:
        peer, payload = frames[0], frames[-1]
        try:
            message = msgspec.msgpack.decode(payload, type=wire.ToEngine)
        except (msgspec.DecodeError, ValueError):
            return
        self.received.append(message)
        if isinstance(message, wire.Load):
            self._load(peer, message)
        elif isinstance(message, wire.Unload):
            self.loaded.pop(message.digest, None)
        elif isinstance(message, wire.Abort):
            if self._streams.pop((peer, message.id), None):
                self._send(peer, wire.Finished(message.id, "abort", wire.Timing()))
            for held in [h for h in self._held if (h[0], h[1].id) == (peer, message.id)]:
                self._held.remove(held)
                self._send(peer, wire.Finished(message.id, "abort", wire.Timing()))
        elif isinstance(message, wire.Score | wire.Embed | wire.Generate):
            self._accept(peer, message)

    def _load(self, peer: bytes, message: wire.Load) -> None:
        if self.refuse_loads:
            self._send(peer, wire.LoadFailed(message.digest, *self.refuse_loads))
        else:
            if self.room is not None and len(self.loaded) >= self.room and message.digest not in self.loaded:
                del self.loaded[next(iter(self.loaded))]
            self.loaded[message.digest] = message.name
            self._send(peer, wire.Loaded(message.digest, 0.001))

    def _accept(self, peer: bytes, message: wire.Score | wire.Embed | wire.Generate) -> None:
        if self.refuse_requests:
            self._send(peer, wire.Failed(message.id, *self.refuse_requests))
        elif message.digest not in self.loaded:
            self._send(peer, wire.Failed(message.id, "model_not_loaded", "this version is not loaded in this engine"))
        elif isinstance(message, wire.Generate):
            self._streams[peer, message.id] = _Stream(peer, message)
        else:
            self._held.append((peer, message))

    def _answer_held(self) -> None:
        held, self._held = self._held, []
        for peer, message in held:
            if isinstance(message, wire.Embed):
                vectors = [[1.0] + [0.0] * (self.width - 1) for _ in message.features or message.sequences]
                self._send(peer, wire.Scored(message.id, vectors, wire.Timing(0.1, 0.2)))
                continue
            numbers: list[Sequence[float]] = list(message.sequences)
            numbers += [memoryview(f.data).cast("d" if f.dtype == "f8" else "f").tolist() for f in message.features]
            scores = [fake_scores(sequence, self.classes) for sequence in numbers]
            self._send(peer, wire.Scored(message.id, scores, wire.Timing(0.1, 0.2)))

    def _step(self) -> None:
        for key, stream in list(self._streams.items()):
            if self.hold_after is not None and stream.sent >= self.hold_after:
                continue
            if any(self._send_next(stream) for _ in range(self.burst)):
                del self._streams[key]

    def _send_next(self, stream: _Stream) -> bool:
        """Send the next token or the final message; returns whether it was the final one."""
        request, params = stream.request, stream.request.params
        timing = wire.Timing(0.1, 0.2, 0.15)
        if stream.sent >= params.max_tokens:
            if params.max_tokens == 0 and params.prompt_logprobs is not None:
                self._send(stream.peer, wire.Tokens(request.id, [], [], _fake_prompt(request)))
            self._send(stream.peer, wire.Finished(request.id, "length", timing, None, self._cached(request)))
            return True
        token = request.prompt[stream.sent % len(request.prompt)]
        ends = token in params.stop_token_ids or (token == self.eos and not params.ignore_eos)
        if ends and stream.sent >= params.min_tokens:
            self._send(stream.peer, wire.Finished(request.id, "stop", timing, stop_id=token))
            return True
        logprobs = [] if params.logprobs is None else [_fake_logprob(token, params.logprobs, request.choice)]
        prompt = _fake_prompt(request) if stream.sent == 0 else []
        began = wire.Timing(0.1, 0.15, 0.15) if stream.sent == 0 else None
        cached = self._cached(request) if stream.sent == 0 else 0
        self._send(stream.peer, wire.Tokens(request.id, [token], logprobs, prompt, began, cached))
        stream.sent += 1
        return False

    def _cached(self, request: wire.Generate) -> int:
        return self.cached_tokens[request.choice] if self.cached_tokens else 0

    def _send(self, peer: bytes, message: wire.FromEngine) -> None:
        with contextlib.suppress(zmq.Again):
            self._router.send_multipart([peer, msgspec.msgpack.encode(message)], zmq.NOBLOCK)

    def _heartbeat(self) -> wire.Heartbeat:
        running = {d: sum(s.request.digest == d for s in list(self._streams.values())) for d in self.loaded}
        waiting = {d: sum(m.digest == d for _, m in self._held) for d in self.loaded}
        versions = [
            wire.VersionStatus(
                digest,
                name,
                "float32",
                1000,
                running[digest],
                waiting[digest],
                8,
                100,
                running[digest],
                10 * running[digest],
                kernel="torch",
                choice=ModeChoice("float32/torch", "no other mode is faster", {"float32/torch": 1.0}),
                work=self.work,
            )
            for digest, name in self.loaded.items()
        ]
        return wire.Heartbeat(
            self.instance, self.pid, "cpu", 1, self.busy_seconds, versions, {"steps": 1.0, **self.counters}
        )


def _fake_prompt(request: wire.Generate) -> list[wire.TokenLogprob]:
    if request.params.prompt_logprobs is None:
        return []
    first, *rest = request.prompt
    return [wire.TokenLogprob(first, None), *[_fake_logprob(t, request.params.prompt_logprobs) for t in rest]]


def _fake_logprob(token: int, alternatives: int, choice: int = 0) -> wire.TokenLogprob:
    """The token itself is always the most likely one. The alternatives are the token ids that follow it.

    Later choices of a request have higher log-probabilities.
    """
    best = -0.1 / (1 + choice)
    top = [token + i for i in range(alternatives)]
    return wire.TokenLogprob(token, best, top, [best - i for i in range(alternatives)], 1)
