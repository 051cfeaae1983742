"""The fake engine behaves as the tests of the API expect."""

from __future__ import annotations

from pathlib import Path

import msgspec
import pytest
import zmq

from app.wire import engine as wire
from tests.fakes import FakeEngine, fake_scores


@pytest.fixture
def engine(tmp_path: Path):
    with FakeEngine(tmp_path / "e.sock") as fake:
        yield fake


@pytest.fixture
def client(engine: FakeEngine):
    context = zmq.Context()
    socket = context.socket(zmq.DEALER)
    socket.connect(f"ipc://{engine.path}")
    yield socket
    context.destroy(linger=0)


def send(client: zmq.Socket[bytes], message: wire.ToEngine) -> None:
    client.send(msgspec.msgpack.encode(message))


def receive(client: zmq.Socket[bytes]) -> wire.FromEngine:
    assert client.poll(30_000), "no message within 30 s"
    return msgspec.msgpack.decode(client.recv(), type=wire.FromEngine)


def load(client: zmq.Socket[bytes]) -> None:
    send(client, wire.Load("d1", "/nowhere", {}, "m:1"))
    assert isinstance(receive(client), wire.Loaded)


def test_classify_answers_in_order(client: zmq.Socket[bytes]) -> None:
    load(client)
    send(client, wire.Score("r", "d1", "local", [[1, 2], [3]]))
    answer = receive(client)
    assert isinstance(answer, wire.Scored)
    assert answer.scores == [fake_scores([1, 2], 2), fake_scores([3], 2)]


def test_generate_echoes_and_ends_once(client: zmq.Socket[bytes]) -> None:
    load(client)
    send(client, wire.Generate("g", "d1", "local", [5, 6], wire.SamplingParams(max_tokens=3)))
    assert [receive(client).ids for _ in range(3)] == [[5], [6], [5]]  # type: ignore[union-attr]
    assert receive(client).reason == "length"  # type: ignore[union-attr]


def test_hold_after_then_abort(engine: FakeEngine, client: zmq.Socket[bytes]) -> None:
    engine.hold_after = 1
    load(client)
    send(client, wire.Generate("g", "d1", "local", [5, 6], wire.SamplingParams(max_tokens=3)))
    assert isinstance(receive(client), wire.Tokens)
    send(client, wire.Abort("g"))
    assert receive(client).reason == "abort"  # type: ignore[union-attr]
    assert engine.running == 0


def test_garbage_is_survived_and_refusals_are_sent(engine: FakeEngine, client: zmq.Socket[bytes]) -> None:
    client.send(b"\x80\x04garbage")
    engine.refuse_loads = ("invalid_checkpoint", "no")
    send(client, wire.Load("d2", "/nowhere", {}, "m:2"))
    assert isinstance(receive(client), wire.LoadFailed)
    send(client, wire.Score("r", "d2", "local", [[1]]))
    assert receive(client).code == "model_not_loaded"  # type: ignore[union-attr]


def test_heartbeats_stop_when_it_dies(engine: FakeEngine) -> None:
    context = zmq.Context()
    socket = context.socket(zmq.SUB)
    socket.subscribe(b"")
    socket.connect(f"ipc://{engine.path}.heartbeat")
    assert socket.poll(30_000)
    assert msgspec.msgpack.decode(socket.recv(), type=wire.Heartbeat).instance == engine.instance
    engine.die()
    while socket.poll(200):
        socket.recv()
    assert not socket.poll(200)
    context.destroy(linger=0)
