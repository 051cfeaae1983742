"""The engine process. The process has two sockets, a loop that passes messages to the host, and a heartbeat thread.

Each iteration of the loop receives messages and runs a step. While there is no work, the loop sleeps until a message
arrives, a thread has finished its work or a signal is received.
"""

from __future__ import annotations

import contextlib
import logging
import os
import secrets
import signal
import threading
import time
from pathlib import Path
from types import FrameType

import msgspec
import torch
import zmq

from app.engine.fingerprint import fingerprint
from app.engine.host import EngineHost
from app.engine.lanes import Lanes
from app.engine.limits import StepLimits
from app.engine.loader_thread import Loader
from app.engine.measurements import Measurements
from app.engine.reply import describe
from app.engine.sharing import Sharing
from app.engine.tuning import Tuner
from app.settings import PREFIX, SettingError, Settings, cores, installed_memory
from app.wire import engine as wire
from app.wire import socket_folder
from models.cost import CORE_SPEED, GPU_SPEED

logger = logging.getLogger(__name__)

HEARTBEAT_SECONDS = 0.25
SEND_QUEUE = 100_000  # the maximum number of messages queued for one peer; for further messages, see `_owe`
SETTLE_MS = 20  # the time between two attempts to send to peers whose queue is full
SLOW = "the engine aborted this request because its replies were not read fast enough; try again"
BURST = 1024  # the maximum number of messages received between two steps
LARGEST_MESSAGE = 2**28
LINGER_MS = 500
OVERTIME = 30.0  # seconds by which a step may exceed the maximum predicted time of a sequence
STUCK = 70  # exit status after a step that did not end in time

_decode = msgspec.msgpack.Decoder(wire.ToEngine).decode
_encode = msgspec.msgpack.Encoder().encode


def run(socket_path: Path, settings: Settings) -> None:
    """Serve until SIGTERM or SIGINT. Raises SettingError if the device is not available."""
    threads = settings.threads or cores()
    torch.set_num_threads(threads)
    torch.set_num_interop_threads(1)
    device = torch.device(_device(settings.device))
    limits = StepLimits(
        settings.max_batch_tokens, settings.max_slots, settings.prefill_tokens, settings.batch_invariant,
        settings.model_memory * 2**20 or memory_of(device) // 2, settings.prefix_memory * 2**20,
        GPU_SPEED if device.type == "cuda" else threads * CORE_SPEED,
    )  # fmt: skip
    patience = settings.max_sequence_seconds + OVERTIME
    dtype = torch.float32 if settings.dtype == "auto" else getattr(torch, settings.dtype)
    tuner = tuner_of(settings, device, threads)
    program = EngineProcess(socket_path, limits, device, dtype, threads, patience, tuner)
    try:
        program.serve()
    finally:
        if tuner is not None:
            tuner.close()


def tuner_of(settings: Settings, device: torch.device, threads: int) -> Tuner | None:
    """The tuner that chooses data types and kernels, or None if the settings fix them.

    In invariant mode, data types and kernels are also fixed, because repeated measurements could give different
    results.
    """
    if settings.dtype != "auto" or settings.batch_invariant:
        return None
    folder = settings.data / "measurements" / fingerprint(device, threads)
    return Tuner(device, threads, Measurements(folder))


def _device(name: str) -> str:
    if name == "cpu":
        return name
    available = torch.cuda.is_available()
    if name == "cuda" and not available:
        built = torch.backends.cuda.is_built()  # type: ignore[no-untyped-call]
        why = "finds no CUDA device" if built else "is built for CPUs only"
        raise SettingError(f"{PREFIX}DEVICE=cuda, but PyTorch on this machine {why}; set it to cpu or auto")
    return "cuda" if available else "cpu"


def memory_of(device: torch.device) -> int:
    """Return the total memory in bytes: that of the GPU, if it is used, or else that of the machine or container."""
    if device.type == "cuda":
        return int(torch.cuda.get_device_properties(device).total_memory)
    return installed_memory()


def _subject(message: wire.FromEngine) -> str:
    """Return the request id or version digest to which a message belongs."""
    return message.digest if isinstance(message, wire.Loaded | wire.LoadFailed) else message.id


class EngineProcess:
    """Owns the two sockets of one engine and the loop that passes messages between the request socket and the host."""

    def __init__(
        self,
        path: Path,
        limits: StepLimits,
        device: torch.device,
        dtype: torch.dtype,
        threads: int,
        patience: float = float("inf"),
        tuner: Tuner | None = None,
    ) -> None:
        """The process exits if a step takes more than `patience` seconds. `dtype` is used if there is no `tuner`."""
        self.path, self.device, self.threads, self.patience = path, device, threads, patience
        self._awake, self._waker = os.pipe()
        os.set_blocking(self._awake, False)
        os.set_blocking(self._waker, False)
        self._context = zmq.Context()
        self._gone: set[bytes] = set()
        self._owed: dict[bytes, dict[str, wire.FromEngine]] = {}  # final messages to send, by peer and subject
        self._given_up: list[tuple[bytes, str]] = []  # (peer, id) of requests whose peer had a full queue
        self._ending = threading.Event()
        # In invariant mode there are no lanes: the last bits of a result depend on the number of threads.
        lanes = None if device.type != "cpu" or threads < 2 or limits.invariant else Lanes(threads, self._wake)
        load = Sharing(device, dtype, tuner, enabled=not limits.invariant).load
        self.host = EngineHost(limits, Loader(load, self._wake), self._send, lanes)

    def serve(self) -> None:
        """Bind the sockets, and run the loop until a signal stops the process."""
        socket_folder.make(self.path.parent)
        self._router = self._bind(zmq.ROUTER, self.path)
        beats = self._bind(zmq.PUB, Path(f"{self.path}.heartbeat"))
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, self._on_signal)
        heart = threading.Thread(target=self._beat, args=(beats,), name="heartbeat", daemon=True)
        heart.start()
        logger.info("engine at %s: %s, %d threads", self.path.name, self.device, self.threads)
        try:
            self._loop()
        finally:
            self._ending.set()
            heart.join()
            self._context.destroy(linger=LINGER_MS)
            for path in (self.path, Path(f"{self.path}.heartbeat")):
                path.unlink(missing_ok=True)

    def _bind(self, kind: int, path: Path) -> zmq.Socket[bytes]:
        """Create a socket that only this process's user can connect to."""
        socket = self._context.socket(kind)
        socket.setsockopt(zmq.MAXMSGSIZE, LARGEST_MESSAGE)
        socket.setsockopt(zmq.SNDHWM, SEND_QUEUE if kind == zmq.ROUTER else 8)
        socket.setsockopt(zmq.RCVHWM, SEND_QUEUE)
        if kind == zmq.ROUTER:
            socket.setsockopt(zmq.ROUTER_MANDATORY, 1)  # raise an error if a peer is gone
        path.unlink(missing_ok=True)
        before = os.umask(0o177)
        try:
            socket.bind(f"ipc://{path}")
        finally:
            os.umask(before)
        return socket

    # --- the loop -----------------------------------------------------------------------------------------------

    def _loop(self) -> None:
        poller = zmq.Poller()
        poller.register(self._router, zmq.POLLIN)
        poller.register(self._awake, zmq.POLLIN)
        host = self.host
        while not self._ending.is_set():
            if not host.ready:
                poller.poll(SETTLE_MS if self._owed else None)
            self._take_in()
            host.collect_loads()
            if host.ready:
                host.step()
            if self._owed:
                self._settle()
            if self._gone:
                self._forget_gone()
        host.fail_all("unavailable", "the engine is stopping; try again in a moment")

    def _take_in(self) -> None:
        with contextlib.suppress(BlockingIOError):
            os.read(self._awake, 4096)
        receive = self._router.recv_multipart
        try:
            for _ in range(BURST):
                self._receive(receive(zmq.NOBLOCK))
        except zmq.Again:
            return

    def _receive(self, frames: list[bytes]) -> None:
        peer, payload = frames[0], frames[-1]
        try:
            message = _decode(payload)
        except (msgspec.MsgspecError, ValueError, RecursionError):
            self.host.counters.add("malformed_messages")
            logger.warning("received %d bytes that are not a valid message", len(payload))
            return
        try:
            self.host.receive(peer, message)
        except Exception as error:
            logger.exception("a message could not be handled")
            if isinstance(message, wire.Score | wire.Embed | wire.Generate):
                self._send(peer, wire.Failed(message.id, *describe(error)))

    def _send(self, peer: bytes, message: wire.FromEngine) -> None:
        if _subject(message) in self._owed.get(peer, ()):
            return  # this request was abandoned: only its final message remains to be sent
        try:
            self._router.send_multipart((peer, _encode(message)), zmq.NOBLOCK)
        except zmq.Again:  # the peer is connected, but its queue is full
            self._owe(peer, message)
        except zmq.ZMQError:  # the peer is gone
            self._gone.add(peer)

    def _owe(self, peer: bytes, message: wire.FromEngine) -> None:
        """Store a message for a peer whose queue is full, to be sent when the queue has space.

        A reply to a Load message is stored unchanged. Any other message belongs to a request, which `_settle`
        aborts; Failed is stored as the request's final message.
        """
        final = message
        if not isinstance(message, wire.Loaded | wire.LoadFailed):
            final = wire.Failed(message.id, "unavailable", SLOW)
            self._given_up.append((peer, message.id))
        self._owed.setdefault(peer, {})[_subject(message)] = final

    def _settle(self) -> None:
        """Abort the requests in `_given_up`, and send the messages in `_owed` to peers whose queues have space."""
        given_up, self._given_up = self._given_up, []
        for peer, identity in given_up:
            self.host.receive(peer, wire.Abort(identity))
        for peer, owed in list(self._owed.items()):
            try:
                while owed:
                    self._router.send_multipart((peer, _encode(next(iter(owed.values())))), zmq.NOBLOCK)
                    del owed[next(iter(owed))]
            except zmq.Again:
                continue
            except zmq.ZMQError:
                self._gone.add(peer)
            del self._owed[peer]

    def _forget_gone(self) -> None:
        gone, self._gone = self._gone, set()
        logger.info("%d peers disconnected", len(gone))
        self.host.forget(gone.__contains__)

    def _wake(self) -> None:
        """Wake the loop. Safe to call from any thread or signal handler. If the pipe is full, the loop wakes anyway."""
        with contextlib.suppress(BlockingIOError):
            os.write(self._waker, b"\0")

    def _on_signal(self, number: int, frame: FrameType | None) -> None:
        self._ending.set()
        self._wake()

    # --- heartbeats ---------------------------------------------------------------------------------------------

    def _beat(self, socket: zmq.Socket[bytes]) -> None:
        """Send heartbeats. Runs in a separate thread, so that heartbeats continue during a long step."""
        instance = secrets.token_hex(8)
        while not self._ending.is_set():
            try:
                socket.send(_encode(self._heartbeat(instance)), zmq.NOBLOCK)
            except Exception:
                logger.exception("a heartbeat could not be sent")
            self._ending.wait(HEARTBEAT_SECONDS)

    def _heartbeat(self, instance: str) -> wire.Heartbeat:
        since = self.host.busy_since
        busy = 0.0 if since is None else time.monotonic() - since
        if busy > self.patience:
            # A step cannot be interrupted. The launcher starts a new engine. The API processes then run each of the
            # open requests separately (quarantine), which identifies the one that is too expensive.
            logger.critical("a step has not ended within %.0f seconds; the engine exits", self.patience)
            os._exit(STUCK)
        counters = dict(self.host.counters)
        return wire.Heartbeat(
            instance, os.getpid(), str(self.device), self.threads, busy, self.host.statuses(), counters
        )  # fmt: skip
