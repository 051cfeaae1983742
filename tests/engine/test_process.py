"""The engine as a separate program, with real sockets."""

from __future__ import annotations

import os
import pickle
import signal
import stat
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import msgspec
import pytest
import torch
import zmq

from app.checkpoint.directory import WEIGHTS
from app.engine.limits import StepLimits
from app.engine.process import EngineProcess, tuner_of
from app.settings import load
from app.wire import engine as wire
from tests.engine import builders as b
from tests.engine.test_sharing import family
from tests.serving import wait_until

PATIENCE = 60.0


@dataclass
class Client:
    """A connection to an engine. `take` returns the next message."""

    path: Path
    context: zmq.Context[zmq.Socket[bytes]] = field(default_factory=zmq.Context)

    def __post_init__(self) -> None:
        self.socket = self.context.socket(zmq.DEALER)
        self.socket.connect(f"ipc://{self.path}")

    def send(self, message: wire.ToEngine) -> None:
        self.socket.send(msgspec.msgpack.encode(message))

    def take(self) -> Any:
        assert self.socket.poll(PATIENCE * 1000), f"no message within {PATIENCE:.0f} s"
        return msgspec.msgpack.decode(self.socket.recv(), type=wire.FromEngine)

    def ask(self, message: wire.ToEngine) -> Any:
        self.send(message)
        return self.take()

    def close(self) -> None:
        self.context.destroy(linger=0)


@dataclass
class Running:
    """An engine process."""

    path: Path
    process: subprocess.Popen[bytes]

    def heartbeat(self, condition: Callable[[wire.Heartbeat], bool] = lambda _: True) -> wire.Heartbeat:
        """The next heartbeat that satisfies a condition."""
        with zmq.Context() as context, context.socket(zmq.SUB) as socket:
            socket.setsockopt(zmq.SUBSCRIBE, b"")
            socket.connect(f"ipc://{self.path}.heartbeat")
            deadline = time.monotonic() + PATIENCE
            while time.monotonic() < deadline:
                if socket.poll(1000):
                    beat = msgspec.msgpack.decode(socket.recv(), type=wire.Heartbeat)
                    if condition(beat):
                        return beat
        raise AssertionError("no heartbeat fulfilled the condition")


@pytest.fixture(scope="module")
def engine() -> Iterator[Running]:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "run" / "engine-0.sock"
        command = [sys.executable, "-m", "app.engine", "--socket", str(path), "--threads", "1", "--max-slots", "3"]
        process = subprocess.Popen(command)
        running = Running(path, process)
        try:
            running.heartbeat()
            yield running
        finally:
            process.send_signal(signal.SIGTERM)
            assert process.wait(20) == 0
            assert not path.exists()


@pytest.fixture
def client(engine: Running) -> Iterator[Client]:
    connected = Client(engine.path)
    yield connected
    connected.close()


@pytest.fixture(scope="module")
def versions(tmp_path_factory: pytest.TempPathFactory) -> dict[str, tuple[Any, wire.Load]]:
    root = tmp_path_factory.mktemp("checkpoints")
    shapes = {"text": b.config("lstm"), "other": b.config("transformer"), "labels": b.config("gru", "classification")}
    return {name: b.write_checkpoint(root / name, shape) for name, shape in shapes.items()}


@pytest.fixture
def loaded(client: Client, versions: dict[str, tuple[Any, wire.Load]]) -> dict[str, tuple[Any, wire.Load]]:
    for _, message in versions.values():
        assert isinstance(client.ask(message), wire.Loaded)
    return versions


def collect(client: Client, count: int) -> b.Replies:
    """Receive replies until all `count` requests have their final messages."""
    replies, ended = b.Replies(), 0
    while ended < count:
        message = client.take()
        replies(b"", message)
        ended += not isinstance(message, wire.Tokens)
    return replies


def test_only_the_owner_may_use_the_sockets(engine: Running) -> None:
    for path in (engine.path, Path(f"{engine.path}.heartbeat")):
        assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert stat.S_IMODE(engine.path.parent.stat().st_mode) == 0o700


def test_several_versions_at_once_classify_generate_and_embed(
    client: Client, loaded: dict[str, tuple[Any, wire.Load]], engine: Running
) -> None:
    prompts = {f"{name}{i}": [1 + i, 5, 9] for name in ("text", "other") for i in range(5)}
    for id, prompt in prompts.items():
        client.send(
            wire.Generate(
                id, loaded[id[:-1]][1].digest, "local", prompt, wire.SamplingParams(10, temperature=0, ignore_eos=True)
            )
        )
    rows = [[1, 2, 3], [4], [7, 7]]
    client.send(wire.Score("c", loaded["labels"][1].digest, "local", rows))
    client.send(wire.Embed("e", loaded["text"][1].digest, "local", rows))
    replies = collect(client, 12)
    for id, prompt in prompts.items():
        expected, lead = b.plain_greedy(loaded[id[:-1]][0], prompt, 10)
        assert replies.final(id).reason == "length"
        assert replies.tokens(id) == expected or lead < 1e-3
    with torch.inference_mode():
        expected = [loaded["labels"][0](torch.tensor([row]), torch.tensor([len(row)]))[0].tolist() for row in rows]
    for scores, right in zip(replies.final("c").scores, expected, strict=True):
        assert scores == pytest.approx(right, abs=1e-4)
    assert len(replies.final("e").scores) == 3
    beat = engine.heartbeat(lambda h: len(h.versions) == 3 and not any(v.running for v in h.versions))
    assert {v.name for v in beat.versions} == {"text:1", "other:1", "labels:1"}
    assert (beat.pid, beat.device, beat.threads) == (engine.process.pid, "cpu", 1)
    assert beat.counters["generation_tokens"] >= 100 and beat.counters["batches"] >= 2
    assert all(v.bytes > 0 and v.dtype == "float32" for v in beat.versions)


def test_an_abort_frees_the_slot_at_once(
    client: Client, loaded: dict[str, tuple[Any, wire.Load]], engine: Running
) -> None:
    digest = loaded["text"][1].digest
    for i in range(5):  # two more than the slots
        client.send(wire.Generate(f"a{i}", digest, "local", [1], wire.SamplingParams(10**9, ignore_eos=True)))
    engine.heartbeat(lambda h: [(v.running, v.waiting) for v in h.versions if v.digest == digest] == [(3, 2)])
    for i in range(5):
        client.send(wire.Abort(f"a{i}"))
    replies = collect(client, 5)
    assert [replies.final(f"a{i}").reason for i in range(5)] == ["abort"] * 5
    engine.heartbeat(lambda h: all(v.running == v.waiting == 0 for v in h.versions))


@pytest.mark.parametrize(
    "garbage",
    [
        b"",
        b"\x00" * 50,
        b"\xc1",
        os.urandom(1000),
        pickle.dumps({"a": 1}),
        b"\x91" * 100_000,
        b"{}",
        b"\xdd\xff\xff\xff\xff",
    ],
    ids=["empty", "zeros", "reserved", "random", "pickle", "deep", "json", "huge"],
)
def test_invalid_messages_are_survived(
    client: Client, loaded: dict[str, tuple[Any, wire.Load]], garbage: bytes, engine: Running
) -> None:
    client.socket.send(garbage)
    client.socket.send_multipart([garbage, b"", garbage])
    assert isinstance(client.ask(wire.Score("c", loaded["labels"][1].digest, "local", [[1]])), wire.Scored)
    assert engine.process.poll() is None


def test_raw_bytes_on_the_socket_are_survived(
    client: Client, engine: Running, loaded: dict[str, tuple[Any, wire.Load]]
) -> None:
    import socket

    with socket.socket(socket.AF_UNIX) as raw:
        raw.connect(str(engine.path))
        raw.sendall(pickle.dumps([1, 2, 3]) * 100)
    assert isinstance(client.ask(wire.Score("c", loaded["labels"][1].digest, "local", [[1]])), wire.Scored)


def test_each_invalid_request_gets_one_answer(client: Client, loaded: dict[str, tuple[Any, wire.Load]]) -> None:
    text, labels = loaded["text"][1].digest, loaded["labels"][1].digest
    assert client.ask(wire.Score("a", "0" * 64, "local", [[1]])).code == "model_not_loaded"
    assert client.ask(wire.Score("b", text, "local", [[1]])).code == "wrong_task"
    assert client.ask(wire.Generate("c", labels, "local", [1], wire.SamplingParams())).code == "wrong_task"
    assert client.ask(wire.Generate("d", text, "local", [], wire.SamplingParams())).code == "invalid_request"


def test_a_version_that_cannot_be_loaded_fails_alone(
    client: Client, loaded: dict[str, tuple[Any, wire.Load]], tmp_path: Path
) -> None:
    _, broken = b.write_checkpoint(tmp_path / "broken", b.config("rnn"))
    (tmp_path / "broken" / "model.safetensors").write_bytes(b"not weights")
    answer = client.ask(broken)
    assert isinstance(answer, wire.LoadFailed)
    assert (answer.digest, answer.code) == (broken.digest, "invalid_checkpoint")
    assert isinstance(client.ask(wire.Score("c", loaded["labels"][1].digest, "local", [[1]])), wire.Scored)


def test_concurrent_loads_are_all_answered_and_unload_frees(client: Client, engine: Running, tmp_path: Path) -> None:
    _, message = b.write_checkpoint(tmp_path / "twice", b.config("gru", width=64))
    second = Client(engine.path)
    for connection in (client, second, client):
        connection.send(message)
    assert all(isinstance(answer, wire.Loaded) for answer in (client.take(), client.take(), second.take()))
    second.close()
    assert client.ask(message).seconds == 0
    client.send(wire.Generate("g", message.digest, "local", [1], wire.SamplingParams(40, ignore_eos=True)))
    client.send(wire.Unload(message.digest))
    assert collect(client, 1).final("g").reason == "length"  # open requests are answered first
    engine.heartbeat(lambda h: message.digest not in {v.digest for v in h.versions})
    assert client.ask(wire.Embed("e", message.digest, "local", [[1]])).code == "model_not_loaded"


def test_the_slots_of_a_client_that_is_gone_are_freed(
    engine: Running, loaded: dict[str, tuple[Any, wire.Load]], client: Client
) -> None:
    other = Client(engine.path)
    for i in range(3):
        other.send(
            wire.Generate(f"v{i}", loaded["text"][1].digest, "local", [1], wire.SamplingParams(45, ignore_eos=True))
        )
    assert other.take().id.startswith("v")
    other.close()
    answer = wire.SamplingParams(2, temperature=0, ignore_eos=True)
    client.send(wire.Generate("mine", loaded["text"][1].digest, "local", [1], answer))
    assert collect(client, 1).final("mine").reason == "length"
    engine.heartbeat(lambda h: all(v.running == v.waiting == 0 for v in h.versions))


def test_a_socket_folder_that_is_a_link_is_refused(tmp_path: Path) -> None:
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "run").symlink_to(tmp_path / "elsewhere")
    command = [sys.executable, "-m", "app.engine", "--socket", str(tmp_path / "run" / "s"), "--threads", "1"]
    process = subprocess.run(command, capture_output=True, text=True, timeout=PATIENCE)
    assert process.returncode == 1 and "belongs to another user" in process.stderr
    assert "Traceback" not in process.stderr and not list((tmp_path / "elsewhere").iterdir())


def test_invalid_arguments_are_reported_in_one_line(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "app.engine", "--socket", str(tmp_path / "s"), "--threads", "-1"]
    process = subprocess.run(command, capture_output=True, text=True, timeout=PATIENCE)
    assert process.returncode == 2 and process.stderr.startswith("ostinato engine: OSTINATO_THREADS")
    assert process.stderr.count("\n") == 1


@pytest.mark.skipif(torch.cuda.is_available(), reason="needs a machine without CUDA")
def test_a_missing_gpu_is_reported_in_one_line(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "app.engine", "--socket", str(tmp_path / "s")]
    environment = os.environ | {"OSTINATO_DEVICE": "cuda"}
    process = subprocess.run(command, capture_output=True, text=True, timeout=PATIENCE, env=environment)
    assert process.returncode == 2 and process.stderr.startswith("ostinato engine: OSTINATO_DEVICE=cuda")
    assert "cpu or auto" in process.stderr and process.stderr.count("\n") == 1


def test_a_slow_reader_still_gets_a_final_message_for_every_request(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("app.engine.process.SEND_QUEUE", 2)
    engine = EngineProcess(tmp_path / "e.sock", StepLimits(64, 4, 16), b.CPU, torch.float32, 1)
    engine._router = engine._bind(zmq.ROUTER, engine.path)
    context: zmq.Context[zmq.Socket[bytes]] = zmq.Context()
    slow = context.socket(zmq.DEALER)
    slow.setsockopt(zmq.RCVHWM, 2)
    slow.connect(f"ipc://{engine.path}")
    slow.send(b"")
    peer, _ = engine._router.recv_multipart()
    names = [str(i) for i in range(40)]
    for name in names:
        engine._send(peer, wire.Scored(name, [[0.5] * 50_000], wire.Timing()))
    engine._send(peer, wire.Loaded("digest", 0.5))
    engine._send(peer, wire.Finished(names[-1], "abort", wire.Timing()))  # the reply to an aborted request
    assert engine._owed and not engine._gone
    received: list[Any] = []
    deadline = time.monotonic() + 10
    while len(received) < len(names) + 1:
        assert time.monotonic() < deadline, f"only {len(received)} answers arrived"
        engine._settle()
        if slow.poll(5):
            received.append(msgspec.msgpack.decode(slow.recv(), type=wire.FromEngine))
    answers = {message.id: message for message in received if not isinstance(message, wire.Loaded)}
    assert set(answers) == set(names) and wire.Loaded("digest", 0.5) in received
    assert isinstance(answers["0"], wire.Scored) and answers[names[-1]].code == "unavailable"
    assert not engine._owed and not slow.poll(0)
    slow.close(linger=0)
    engine._settle()
    context.destroy(linger=0)
    engine._context.destroy(linger=0)


def test_types_and_kernels_are_chosen_unless_the_settings_fix_them(tmp_path: Path) -> None:
    def chosen(**settings: object) -> bool:
        return tuner_of(load({}, **settings, data_dir=str(tmp_path)), b.CPU, 1) is not None

    assert chosen(dtype="auto")
    assert not chosen(dtype="auto", batch_invariant=True)
    assert not chosen(dtype="float32") and not chosen(dtype="bfloat16")


def test_adapters_share_their_base_while_others_are_unloaded(client: Client, engine: Running, tmp_path: Path) -> None:
    base, *adapters = family(tmp_path, 2, 1, width=64, vocab_size=300)
    for message in (base, *adapters):
        assert isinstance(client.ask(message), wire.Loaded)
    sizes = {v.digest: v.bytes for v in engine.heartbeat(lambda h: _loaded(h) >= {a.digest for a in adapters}).versions}
    assert (
        sum(sizes[message.digest] for message in (base, *adapters)) < 1.5 * (tmp_path / "base" / WEIGHTS).stat().st_size
    )
    before = client.ask(wire.Score("a", adapters[1].digest, "local", [[1, 2, 3]]))
    for message in (base, adapters[0]):
        client.send(wire.Unload(message.digest))
    engine.heartbeat(lambda h: not _loaded(h) & {base.digest, adapters[0].digest})
    after = client.ask(wire.Score("b", adapters[1].digest, "local", [[1, 2, 3]]))
    assert after.scores == before.scores


def _loaded(beat: wire.Heartbeat) -> set[str]:
    return {version.digest for version in beat.versions}


@pytest.mark.parametrize("invariant", [False, True])
def test_adapters_are_merged_in_invariant_mode(tmp_path: Path, invariant: bool) -> None:
    limits = StepLimits(64, 4, 16, invariant)
    engine = EngineProcess(tmp_path / "e.sock", limits, b.CPU, torch.float32, 1)
    engine.host.loading.reply = lambda *_: None
    for message in family(tmp_path, 2):
        engine.host.receive(b"", message)
    wait_until(lambda: engine.host.collect_loads() or len(engine.host.versions) == 3)
    shared = {version.loaded.shared for version in engine.host.versions.values()}
    assert (None in shared) == invariant and len(shared) == 1
    engine._context.destroy(linger=0)
