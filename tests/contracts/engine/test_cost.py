"""The cost of the engine's bookkeeping depends on the current work, and not on the number of loaded versions.

Costs are counted in function calls, so these tests do not depend on the speed of the machine.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from types import FrameType
from typing import Any

import pytest
import torch

from app.engine import sequence as sequences
from app.engine.decoder import Decoder
from app.engine.host import EngineHost
from app.engine.lanes import Lanes
from app.engine.limits import StepLimits
from app.engine.loader import LoadedNetwork
from app.engine.reply import Counters
from app.engine.requests import Member
from app.engine.scheduler import BACKGROUND_SHARE, Scheduler
from app.engine.scorer import Scorer
from app.engine.sequence import Sequence
from app.engine.version import assemble
from app.wire import engine as wire
from tests.engine import builders as b
from tests.engine.test_host import Immediate, Replies

LIMITS = StepLimits(64, 1, 16)
GONE = b"gone"


def calls(work: Callable[[], object]) -> int:
    """Return the number of function calls that `work` makes in this thread, including C functions and generators."""
    count = 0

    def profile(frame: FrameType, event: str, argument: object) -> None:
        nonlocal count
        count += event in ("call", "c_call")

    sys.setprofile(profile)
    try:
        work()
    finally:
        sys.setprofile(None)
    return count


def loaded(shape: Any, built: Any = None) -> LoadedNetwork:
    return LoadedNetwork("d", "m:1", shape, built or b.network(shape), 0, torch.float32, b.CPU, None, None, None)


# --- closing requests -------------------------------------------------------------------------------------------


def scorer(requests: int, deadline: float | None = None) -> Scorer:
    """A scorer with one request of a connected peer and many requests of a disconnected peer."""
    part = assemble(loaded(b.config("rnn", "classification")), LIMITS, b.Replies(), Counters()).parts[wire.Score]
    assert isinstance(part, Scorer)
    part.add(b.PEER, wire.Score("mine", "d", "local", [[1, 2]]))
    for i in range(requests):
        part.add(GONE, wire.Score(str(i), "d", "local", [[1]], deadline=deadline))
    return part


def forget(part: Scorer) -> None:
    part.forget({GONE}.__contains__)


def abort(part: Scorer) -> None:
    for i in range(part.waiting - 1):
        part.abort(GONE, str(i))


def fail_all(part: Scorer) -> None:
    part.fail_all("unavailable", "the engine is stopping")


@pytest.mark.parametrize("close", [forget, abort, fail_all, Scorer.take], ids=["forget", "abort", "fail", "deadline"])
def test_closing_twice_as_many_scoring_requests_costs_twice_as_much(close: Callable[[Scorer], object]) -> None:
    def cost(requests: int) -> int:
        part = scorer(requests, deadline=time.monotonic() - 1 if close is Scorer.take else None)

        def work() -> None:
            close(part)
            part.take()

        count = calls(work)
        assert part.waiting == 0 and not part.queued
        return count

    assert cost(400) < 2.5 * cost(200)


def decoder(requests: int, deadline: float | None = None) -> Decoder:
    """A decoder with one sequence of a connected peer and many sequences of a disconnected peer.

    If there is no deadline, half of the sequences have a slot.
    """
    part, _ = b.decoder(b.network(b.config("rnn")), slots=requests // 2)
    part.add(b.PEER, b.generate("mine", [1], max_tokens=20))
    for i in range(requests):
        part.add(GONE, b.generate(str(i), [1], deadline=deadline, max_tokens=20))
    if deadline is None:
        part.step()
        assert len(part.scheduler.running) == requests // 2
    return part


def abort_sequences(part: Decoder) -> None:
    for i in range(len(part.open) - 1):
        part.abort(GONE, str(i))


@pytest.mark.parametrize(
    "close",
    [
        lambda part: part.forget({GONE}.__contains__),
        abort_sequences,
        lambda part: part.fail_all("unavailable", "the engine is stopping"),
        Decoder.step,
    ],
    ids=["forget", "abort", "fail", "deadline"],
)
def test_closing_twice_as_many_sequences_costs_twice_as_much(close: Callable[[Decoder], object]) -> None:
    def cost(requests: int) -> int:
        with torch.inference_mode():
            part = decoder(requests, deadline=time.monotonic() - 1 if close is Decoder.step else None)
            count = calls(lambda: close(part))
        assert all(sequence.id == "mine" for sequence in part.open.values())
        assert part.scheduler.queued + len(part.scheduler.running) == len(part.open)
        return count

    assert cost(400) < 2.5 * cost(200)


class Compared(Sequence):
    """A sequence whose comparisons are Python calls, so that searches in a list are counted."""

    __hash__ = Sequence.__hash__

    def __eq__(self, other: object) -> bool:
        return self is other


def make(length: int, kind: type[Sequence] = Sequence, background: bool = False) -> Sequence:
    message = wire.Generate("x", "d", "p", [1] * length, wire.SamplingParams(max_tokens=4), background=background)
    admitted = sequences.admit(message, b"", 10_000, Member("d", Counters()))
    if kind is Compared:
        return Compared(b"", "x", admitted.prompt, admitted.params, 0, None, 4, frozenset(), admitted.member)
    return admitted


def test_removing_twice_as_many_waiting_sequences_costs_twice_as_much() -> None:
    def cost(count: int) -> int:
        scheduler = Scheduler(1, 16)
        rows = [make(1, Compared) for _ in range(count)]
        for row in rows:
            scheduler.add(row)

        def work() -> None:
            for row in reversed(rows):
                scheduler.remove(row)

        return calls(work)

    assert cost(400) < 2.5 * cost(200)


def test_admitting_twice_as_many_background_sequences_costs_twice_as_much() -> None:
    def cost(count: int) -> int:
        scheduler = Scheduler(BACKGROUND_SHARE * count, 16)
        for _ in range(count):
            scheduler.add(make(1, background=True))
        made = calls(scheduler.admit)
        assert len(scheduler.running) == count
        return made

    assert cost(400) < 2.5 * cost(200)


# --- chunks of prompts ------------------------------------------------------------------------------------------


def test_a_chunk_over_twice_as_many_slots_costs_twice_as_much() -> None:
    def cost(slots: int) -> int:
        scheduler = Scheduler(slots, 10_000)
        for _ in range(slots):
            scheduler.add(make(3))
        scheduler.admit()
        count = calls(scheduler.chunks)
        (chunk,) = scheduler.chunks()
        assert len(chunk.sequences) == slots
        return count

    assert cost(400) < 2.5 * cost(200)


# --- loaded versions --------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Task:
    """The task of a host's versions, and a function that creates a request for one of them."""

    name: str
    message: Callable[[str, str], wire.Score | wire.Generate]


SCORE = Task("classification", lambda id, digest: wire.Score(id, digest, "local", [[1, 2]]))
GENERATE = Task(
    "generation",
    lambda id, digest: wire.Generate(id, digest, "local", [1], wire.SamplingParams(2, temperature=0, ignore_eos=True)),
)


def host_with(versions: int, task: Task, lanes: bool) -> EngineHost:
    """A host that has loaded `versions` small versions."""
    network = loaded(b.config("rnn", task.name, layers=1))
    host = EngineHost(LIMITS, Immediate(), Replies(), Lanes(1) if lanes else None)
    for number in range(versions):
        one = replace(network, digest=str(number))
        host.versions[one.digest] = assemble(one, LIMITS, host.reply, host.counters)
        host.memory.reserve(wire.Load(one.digest, "", {}, "m:1"), lambda _: False)
    return host


def cost_of_a_request(versions: int, task: Task, lanes: bool) -> int:
    """Return the number of function calls between the arrival of a request and its answer."""
    host = host_with(versions, task, lanes)
    for number in range(0, versions, versions // 10):  # some versions have answered a request before
        host.receive(b.PEER, task.message(f"before {number}", str(number)))
    while host.busy:
        host.step()

    def work() -> None:
        host.receive(b.PEER, task.message("counted", str(versions // 2)))
        host.receive(b.PEER, wire.Abort("another"))
        while host.ready:
            host.collect_loads()
            host.step()

    count = calls(work)
    replies: Any = host.reply
    assert not isinstance(replies.final("counted"), wire.Failed)
    return count


@pytest.mark.parametrize("lanes", [False, True], ids=["one thread", "lanes"])
@pytest.mark.parametrize("task", [SCORE, GENERATE], ids=lambda task: task.name)
def test_a_thousand_loaded_versions_cost_no_more_than_ten(task: Task, lanes: bool) -> None:
    threads = torch.get_num_threads()
    try:
        assert cost_of_a_request(1000, task, lanes) <= 1.1 * cost_of_a_request(10, task, lanes)
    finally:
        torch.set_num_threads(threads)


def test_a_scoring_step_costs_the_same_whether_ten_versions_have_work_or_a_thousand() -> None:
    def cost(versions: int) -> int:
        host = host_with(versions, SCORE, lanes=False)
        for number in range(versions):
            host.receive(b.PEER, SCORE.message("x", str(number)))

        def work() -> None:
            assert host.ready
            host.step()

        return calls(work)

    assert cost(1000) <= 1.1 * cost(10)
