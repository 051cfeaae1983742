"""SEC-19: a sequence that takes seconds does not delay other sequences or running generations."""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from app.engine import host as module
from app.engine.host import EngineHost
from app.engine.lanes import Lanes
from app.engine.limits import StepLimits
from app.engine.version import assemble
from app.wire import engine as wire
from models import interruption
from tests.engine import builders as b
from tests.engine.test_host import Gated, Immediate, Replies, load
from tests.serving import wait_until

LONG = [1] * 48


@pytest.fixture
def host(monkeypatch: pytest.MonkeyPatch) -> Iterator[EngineHost]:
    """A host with two cores, which treats every sequence of more than 32 tokens as long."""
    monkeypatch.setattr(module, "predict", lambda config, length, speed: length / 32 * module.LONG_SECONDS)
    threads = torch.get_num_threads()
    yield EngineHost(StepLimits(4096, 4, 16), Immediate(), Replies(), Lanes(2))
    torch.set_num_threads(threads)


def held(host: EngineHost, directory: Path) -> tuple[Gated, str]:
    """Load a version whose network waits before it computes. Returns the network and the version's digest."""
    digest = load(host, directory, task="classification")
    loaded = host.versions[digest].loaded
    network = Gated(loaded.network)
    host.versions[digest] = assemble(replace(loaded, network=network), host.limits, host.reply, host.counters)
    return network, digest


def test_long_sequences_run_beside_the_others(host: EngineHost, tmp_path: Path) -> None:
    network, slow = held(host, tmp_path / "slow")
    quick = load(host, tmp_path / "quick", task="classification", architecture="gru")
    texts = load(host, tmp_path / "texts")
    replies: Any = host.reply
    for number in range(4):  # more than there are cores
        host.receive(b.PEER, wire.Score(f"long-{number}", slow, "p", [LONG]))
    b.run_ready(host)
    wait_until(lambda: network.calls)
    for number in range(8):
        host.receive(b.PEER, wire.Score(f"short-{number}", quick, "p", [[1, 2]]))
        host.receive(b.PEER, wire.Generate(f"text-{number}", texts, "p", [1], wire.SamplingParams(3, temperature=0)))
        wait_until(lambda: _stepped(host, f"text-{number}"))  # noqa: B023
        wait_until(lambda: _stepped(host, f"short-{number}"))  # noqa: B023
        assert isinstance(replies.final(f"short-{number}"), wire.Scored)
        assert isinstance(replies.final(f"text-{number}"), wire.Finished)
    assert network.calls == [(1, 1)]  # one long sequence at a time, on one core
    assert host.busy_since is not None
    network.go.set()
    for number in range(4):
        wait_until(lambda: _stepped(host, f"long-{number}"))  # noqa: B023
        assert isinstance(replies.final(f"long-{number}"), wire.Scored)
    assert host.busy_since is None


def test_waiting_for_the_processor_is_not_work(host: EngineHost, tmp_path: Path) -> None:
    """If other programs keep the machine busy, a long sequence does not make the engine exit."""
    network, slow = held(host, tmp_path / "slow")
    host.receive(b.PEER, wire.Score("long", slow, "p", [LONG]))
    b.run_ready(host)
    wait_until(lambda: network.calls)
    began = time.monotonic()
    wait_until(lambda: time.monotonic() > began + 1.0)  # the thread is asleep
    assert host.busy_since is not None
    assert 0.1 <= time.monotonic() - host.busy_since < 0.9
    network.go.set()
    wait_until(lambda: _stepped(host, "long"))


def test_a_long_sequence_whose_client_has_left_is_not_computed(host: EngineHost, tmp_path: Path) -> None:
    network, slow = held(host, tmp_path / "slow")
    for number in range(3):
        host.receive(b.PEER, wire.Score(f"long-{number}", slow, "p", [LONG]))
    b.run_ready(host)
    for number in range(1, 3):
        host.receive(b.PEER, wire.Abort(f"long-{number}"))
    network.go.set()
    wait_until(lambda: _stepped(host, "long-0") and host.busy_since is None)
    assert len(network.calls) == 1


def test_a_long_sequence_is_stopped_when_its_client_leaves(host: EngineHost, tmp_path: Path) -> None:
    network, slow = held(host, tmp_path / "slow")
    ends: list[str] = []

    def compute(*_: object) -> Any:
        network.calls.append((1, 1))
        try:
            while True:  # like a network between two layers
                interruption.check()
                network.go.wait(0.001)
        finally:
            ends.append("stopped")

    loaded = host.versions[slow].loaded
    host.versions[slow] = assemble(replace(loaded, network=Endless(compute)), host.limits, host.reply, host.counters)
    host.receive(b.PEER, wire.Score("long", slow, "p", [LONG]))
    b.run_ready(host)
    wait_until(lambda: network.calls)
    host.receive(b.PEER, wire.Abort("long"))
    wait_until(lambda: ends and host.busy_since is None)
    b.run_ready(host)
    replies: Any = host.reply
    assert [type(message) for message in replies.all["long"]] == [wire.Finished]


class Endless:
    """A network whose scores are computed by the function `compute`."""

    def __init__(self, compute: Any) -> None:
        self.embed = self._compute = compute

    def __call__(self, *inputs: Any) -> Any:
        return self._compute(*inputs)


def _stepped(host: EngineHost, id: str) -> bool:
    """Run the work that is ready. Returns whether the request has been answered."""
    b.run_ready(host)
    replies: Any = host.reply
    return bool(replies.all[id]) and isinstance(replies.all[id][-1], wire.Scored | wire.Finished | wire.Failed)
