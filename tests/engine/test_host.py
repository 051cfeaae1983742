"""Several versions in one host: turns, unexpected errors, memory and lanes."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from threading import Event
from typing import Any

import msgspec
import pytest
import torch

from app.engine.host import LEAST_STEPS, EngineHost
from app.engine.lanes import Lanes
from app.engine.limits import StepLimits
from app.engine.loader_thread import Loader, attempt
from app.engine.sharing import Sharing
from app.engine.version import assemble
from app.wire import engine as wire
from tests.engine import builders as b

LIMITS = StepLimits(64, 4, 16)


class Immediate(Loader):
    """A loader that loads a version at once, in the thread of the caller."""

    def __init__(self) -> None:
        self.outcomes, self._load = [], Sharing(b.CPU, torch.float32).load

    def submit(self, message: wire.Load) -> None:
        self.outcomes.append(attempt(self._load, message))

    def collect(self) -> list[Any]:
        outcomes, self.outcomes = self.outcomes, []
        return outcomes


class Replies(b.Replies):
    def __call__(self, peer: bytes, message: wire.FromEngine) -> None:
        self.all[message.digest if isinstance(message, wire.Loaded | wire.LoadFailed) else message.id].append(message)


@pytest.fixture(params=["one thread", "lanes"])
def host(request: pytest.FixtureRequest) -> Iterator[EngineHost]:
    threads = torch.get_num_threads()
    yield EngineHost(LIMITS, Immediate(), Replies(), Lanes(2) if request.param == "lanes" else None)
    torch.set_num_threads(threads)


def load(host: EngineHost, directory: Path, **options: Any) -> str:
    _, message = b.write_checkpoint(directory, b.config(**options))
    host.receive(b.PEER, message)
    host.collect_loads()
    assert isinstance(host.reply.all[message.digest][-1], wire.Loaded)  # type: ignore[attr-defined]
    return message.digest


def test_a_busy_version_does_not_delay_the_others(host: EngineHost, tmp_path: Path) -> None:
    busy = load(host, tmp_path / "busy", task="classification")
    other = load(host, tmp_path / "other", task="classification", architecture="gru")
    texts = load(host, tmp_path / "texts")
    for i in range(50):
        host.receive(b.PEER, wire.Score(f"b{i}", busy, "p", [[1] * 40]))
    host.receive(b.PEER, wire.Score("o", other, "p", [[1]]))
    host.receive(b.PEER, b.generate("g", [1, 2], max_tokens=3))  # to a version that is not loaded
    host.receive(b.PEER, wire.Generate("g2", texts, "p", [1, 2], wire.SamplingParams(3, temperature=0)))
    replies: Any = host.reply
    assert replies.final("g").code == "model_not_loaded"
    for _ in range(4):
        host.step()
    assert isinstance(replies.final("o"), wire.Scored)
    assert replies.final("g2").reason in ("length", "stop")
    assert sum(f"b{i}" in replies.all for i in range(50)) < 10
    assert host.busy


def test_an_unexpected_error_fails_the_requests_and_not_the_process(
    host: EngineHost, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    digest = load(host, tmp_path / "m")
    host.receive(b.PEER, wire.Generate("x", digest, "p", [1], wire.SamplingParams(5)))
    decoder = host.versions[digest].decoder
    assert decoder

    def fail() -> None:
        raise MemoryError

    monkeypatch.setattr(decoder.scheduler, "admit", fail)
    host.step()
    replies: Any = host.reply
    assert replies.final("x").code == "out_of_memory"
    assert not host.busy
    monkeypatch.undo()
    host.receive(b.PEER, wire.Generate("y", digest, "p", [1], wire.SamplingParams(5)))
    host.step()
    assert replies.tokens("y") or replies.final("y").reason == "stop"


def test_unloading_waits_for_open_requests_and_drops_the_weights(host: EngineHost, tmp_path: Path) -> None:
    import weakref

    digest = load(host, tmp_path / "m")
    weights = weakref.ref(host.versions[digest].loaded.network)
    status = host.statuses()[0]
    assert (status.slots, status.running, status.dtype) == (4, 0, "float32") and status.bytes > 0
    host.receive(b.PEER, wire.Generate("x", digest, "p", [1], wire.SamplingParams(5, temperature=0, ignore_eos=True)))
    host.receive(b.PEER, wire.Unload(digest))
    while host.busy:
        assert weights() is not None
        host.step()
    replies: Any = host.reply
    assert replies.final("x").reason == "length"
    assert weights() is None and host.statuses() == []
    load(host, tmp_path / "again")
    assert host.statuses()


def test_unloading_drops_the_states_in_the_prefix_cache(tmp_path: Path) -> None:
    host = EngineHost(replace(LIMITS, prefixes=2**20), Immediate(), Replies())
    digest, other = load(host, tmp_path / "m"), load(host, tmp_path / "other", architecture="transformer")
    prompt = list(range(20))
    for id, version in (("a", digest), ("b", other)):
        params = wire.SamplingParams(5, temperature=0, ignore_eos=True)
        host.receive(b.PEER, wire.Generate(id, version, "p", prompt, params))
        while host.busy:
            host.step()
    assert all(status.prefix_bytes > 0 for status in host.statuses())
    host.receive(b.PEER, wire.Unload(digest))
    [status] = host.statuses()
    assert status.digest == other and host.prefixes is not None
    assert host.prefixes.bytes == {other: status.prefix_bytes}


def test_a_version_given_up_while_it_loads_is_unloaded(host: EngineHost, tmp_path: Path) -> None:
    _, message = b.write_checkpoint(tmp_path / "m", b.config())
    host.receive(b.PEER, message)
    host.receive(b.PEER, wire.Unload(message.digest))
    host.collect_loads()
    replies: Any = host.reply
    assert isinstance(replies.all[message.digest][-1], wire.Loaded)
    assert host.statuses() == [] and not host.busy


def test_idle_versions_are_evicted_for_others(tmp_path: Path) -> None:
    messages = [b.write_checkpoint(tmp_path / name, b.config(width=w))[1] for name, w in (("a", 32), ("b", 33))]
    sizes = [Path(m.directory, "model.safetensors").stat().st_size for m in messages]
    first, second = [msgspec.structs.replace(m, bytes=s) for m, s in zip(messages, sizes, strict=True)]
    host = EngineHost(StepLimits(64, 4, 16, memory=max(sizes) + 1000), Immediate(), Replies())
    replies: Any = host.reply

    def ask(message: wire.Load) -> Any:
        host.receive(b.PEER, message)
        host.collect_loads()
        return replies.all[message.digest][-1]

    assert isinstance(ask(first), wire.Loaded) and isinstance(ask(second), wire.Loaded)
    assert [status.digest for status in host.statuses()] == [second.digest]
    host.receive(b.PEER, wire.Generate("x", second.digest, "p", [1], wire.SamplingParams(3)))
    refusal = ask(first)
    assert isinstance(refusal, wire.LoadFailed) and refusal.code == "out_of_memory"
    while host.busy:
        host.step()
    host.receive(b.PEER, wire.Keep([second.digest]))
    assert ask(first).code == "out_of_memory"
    host.receive(b.PEER, wire.Keep([]))
    assert isinstance(ask(first), wire.Loaded)
    assert [status.digest for status in host.statuses()] == [first.digest]


class Gated:
    """A classifier that waits for `go` before it answers. `calls`: (rows, threads) of each call."""

    def __init__(self, inner: Any) -> None:
        self.inner, self.embed, self.go, self.calls = inner, inner.embed, Event(), list[tuple[int, int]]()

    def __call__(self, ids_BT: torch.Tensor, lengths_B: torch.Tensor) -> torch.Tensor:
        self.calls.append((len(ids_BT), torch.get_num_threads()))
        assert self.go.wait(30)
        return self.inner(ids_BT, lengths_B)


def gated(tmp_path: Path, woken: Event) -> tuple[EngineHost, Gated, str]:
    host = EngineHost(StepLimits(4096, 4, 16), Immediate(), Replies(), Lanes(2, woken.set))
    digest = load(host, tmp_path / "m", task="classification")
    loaded = host.versions[digest].loaded
    network = Gated(loaded.network)
    host.versions[digest] = assemble(replace(loaded, network=network), host.limits, host.reply, host.counters)
    return host, network, digest


def test_batches_run_in_lanes_while_messages_arrive(tmp_path: Path) -> None:
    woken = Event()
    host, network, digest = gated(tmp_path, woken)
    replies: Any = host.reply
    for i in range(2):
        host.receive(b.PEER, wire.Score(f"r{i}", digest, "p", [[1] * 48, [2] * 48]))
    host.step()
    assert not host.ready and host.busy and host.busy_since is not None  # half of the batch in each lane
    host.receive(b.PEER, wire.Score("late", digest, "p", [[3] * 9]))
    host.receive(b.PEER, wire.Abort("r1"))
    assert not host.ready
    network.go.set()
    while host.busy:
        assert host.ready or woken.wait(30)
        woken.clear()
        host.step()
    assert network.calls[:2] == [(2, 1), (2, 1)] and [rows for rows, _ in network.calls[2:]] == [1]
    built = network.inner
    for id, rows in (("r0", [[1] * 48, [2] * 48]), ("late", [[3] * 9])):
        expected = [built(torch.tensor([row]), torch.tensor([len(row)]))[0].tolist() for row in rows]
        for scores, right in zip(replies.final(id).scores, expected, strict=True):
            assert scores == pytest.approx(right, abs=1e-4)
    assert replies.final("r1").reason == "abort"
    torch.set_num_threads(1)


@pytest.mark.parametrize("rows", [[[1] * LEAST_STEPS], [[1], [2, 3]]], ids=["one row", "few steps"])
def test_a_batch_too_small_to_share_gets_every_core(tmp_path: Path, rows: list[list[int]]) -> None:
    host, network, digest = gated(tmp_path, Event())
    network.go.set()
    host.receive(b.PEER, wire.Score("x", digest, "p", [row[:48] for row in rows]))
    host.step()
    assert network.calls == [(len(rows), 2)] and not host.busy
    torch.set_num_threads(1)
