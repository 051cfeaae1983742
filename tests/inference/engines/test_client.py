"""The client with a fake engine, over real sockets."""

from __future__ import annotations

import asyncio
import logging
import os
import subprocess
import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import msgspec
import pytest
import zmq

from app.errors import Unavailable
from app.inference.engines.client import EngineClient
from app.inference.engines.work import Work
from app.wire import engine as wire
from tests.fakes import FakeEngine
from tests.promises import IN_TIME, kept


async def until(condition: Callable[[], Any], seconds: float = 30.0) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "the condition was not met in time"
        await asyncio.sleep(0.005)


@asynccontextmanager
async def client_of(path: Path, lost: list[Work] | None = None) -> AsyncIterator[EngineClient]:
    context: zmq.Context[zmq.Socket[bytes]] = zmq.Context()
    client = EngineClient(path, context, (lost if lost is not None else []).extend)
    client.start()
    try:
        yield client
    finally:
        await client.close()
        context.destroy(linger=0)


def classify(identity: str, *ids: int) -> wire.Score:
    return wire.Score(identity, "d", "local", [list(ids)])


LOAD = wire.Load("d", "/nowhere", {}, "mood:1")


def test_answers_reach_the_work_that_asked(tmp_path: Path) -> None:
    async def scenario() -> None:
        with FakeEngine(tmp_path / "e.sock") as engine:
            async with client_of(engine.path) as client:
                await until(lambda: client.alive)
                assert isinstance(await client.load(LOAD), wire.Loaded) and client.holds("d")
                works = [Work((classify(f"{i}a", i), classify(f"{i}b", i, i))) for i in range(1000)]
                for work in works:
                    client.send(work)
                for i, work in enumerate(works):
                    answers = dict([await work.inbox.get(), await work.inbox.get()])
                    assert {tag: answer.id for tag, answer in answers.items()} == {0: f"{i}a", 1: f"{i}b"}
                assert client.open_requests == 0

    asyncio.run(scenario())


def test_a_death_is_reported_within_two_seconds_and_a_new_engine_is_used(tmp_path: Path) -> None:
    async def scenario() -> float:
        lost: list[Work] = []
        path = tmp_path / "e.sock"
        async with client_of(path, lost) as client:
            with FakeEngine(path) as engine:
                await until(lambda: client.alive)
                await client.load(LOAD)
                engine.hold()
                work = Work((classify("x", 1),))
                client.send(work)
                await asyncio.to_thread(engine.wait_for, wire.Score)
                began = time.monotonic()
            tag, answer = await asyncio.wait_for(work.inbox.get(), IN_TIME)
            seconds = time.monotonic() - began
            assert isinstance(answer, wire.Failed) and answer.code == "engine_lost" and tag == 0
            assert lost == [work] and work.failed and not client.alive and not client.holds("d")
            with pytest.raises(Unavailable):
                client.send(Work((classify("y", 1),)))
            with FakeEngine(path) as second:
                await until(lambda: client.alive)
                await client.load(LOAD)
                again = Work((classify("z", 1),))
                client.send(again)
                assert isinstance((await again.inbox.get())[1], wire.Scored)
                assert [m.id for m in second.received if isinstance(m, wire.Score)] == ["z"]
        return seconds

    kept(2.0, lambda: asyncio.run(scenario()))


def test_a_restart_between_two_heartbeats_counts_as_a_death(tmp_path: Path) -> None:
    async def scenario() -> None:
        path = tmp_path / "e.sock"
        async with client_of(path) as client:
            with FakeEngine(path) as engine:
                await until(lambda: client.alive)
                await client.load(LOAD)
                engine.hold()
                work = Work((classify("x", 1),))
                client.send(work)
                await asyncio.to_thread(engine.wait_for, wire.Score)
            with FakeEngine(path):
                _, answer = await asyncio.wait_for(work.inbox.get(), IN_TIME)
                assert isinstance(answer, wire.Failed) and answer.code == "engine_lost"
                await until(lambda: client.alive)

    asyncio.run(scenario())


def test_an_aborted_request_gets_no_more_answers(tmp_path: Path) -> None:
    async def scenario() -> None:
        with FakeEngine(tmp_path / "e.sock") as engine:
            async with client_of(engine.path) as client:
                await until(lambda: client.alive)
                await client.load(LOAD)
                engine.hold_after = 1
                params = wire.SamplingParams(max_tokens=50)
                work = Work((wire.Generate("g", "d", "local", [5, 6], params),))
                client.send(work)
                assert isinstance((await work.inbox.get())[1], wire.Tokens)
                client.abort(work)
                await until(lambda: engine.running == 0)
                engine.release()
                probe = Work((classify("c", 1),))
                client.send(probe)
                await probe.inbox.get()
                assert len(work.inbox) == 0 and client.open_requests == 0

    asyncio.run(scenario())


def test_messages_that_cannot_be_decoded_are_ignored(tmp_path: Path) -> None:
    async def scenario() -> None:
        with FakeEngine(tmp_path / "e.sock") as engine:
            async with client_of(engine.path) as client:
                await until(lambda: client.alive)
                for payload in (b"", b"\x80\x04K\x01.", b"\xff" * 100, b"{}"):
                    client._receive(payload)
                    client._hear(payload)
                assert client.alive and isinstance(await client.load(LOAD), wire.Loaded)

    asyncio.run(scenario())


def test_a_silent_engine_whose_process_lives_keeps_its_requests(tmp_path: Path) -> None:
    """A busy machine can delay heartbeats. Open requests then go on, but the engine gets no new ones."""

    async def scenario() -> None:
        with FakeEngine(tmp_path / "e.sock") as engine:
            engine.pid = os.getpid()
            lost: list[Work] = []
            async with client_of(engine.path, lost) as client:
                await until(lambda: client.alive)
                await client.load(LOAD)
                engine.hold()
                work = Work((classify("a", 1),))
                client.send(work)
                engine.mute()
                await until(lambda: not client.alive)
                with pytest.raises(Unavailable):
                    client.send(Work((classify("b", 2),)))
                engine.unmute()
                engine.release()
                _, answer = await work.inbox.get()
                assert isinstance(answer, wire.Scored) and not lost

    asyncio.run(scenario())


@pytest.fixture(params=["gone", "zombie"])
def dead(request: pytest.FixtureRequest) -> Iterator[int]:
    """The id of a process that has ended. With the parameter `zombie`, its parent has not waited for it."""
    process = subprocess.Popen(["true"])
    os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOWAIT)
    if request.param == "gone":
        process.wait()
    yield process.pid
    process.wait()


def test_a_silent_engine_whose_process_has_ended_loses_its_requests(
    tmp_path: Path, dead: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("app.inference.engines.liveness.FROZEN_LIMIT", 1000.0)

    async def scenario() -> None:
        with FakeEngine(tmp_path / "e.sock") as engine:
            engine.pid = dead
            lost: list[Work] = []
            async with client_of(engine.path, lost) as client:
                await until(lambda: client.alive)
                await client.load(LOAD)
                engine.hold()
                work = Work((classify("a", 1),))
                client.send(work)
                engine.mute()
                _, answer = await asyncio.wait_for(work.inbox.get(), 60)
                assert isinstance(answer, wire.Failed) and answer.code == "engine_lost" and lost == [work]

    asyncio.run(scenario())


def test_a_load_that_cannot_be_sent_or_is_never_answered_ends(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("app.inference.engines.client.LOAD_LIMIT", 0.05)

    async def scenario() -> None:
        path = tmp_path / "e.sock"
        async with client_of(path) as client:
            with pytest.raises(Unavailable) as unsent:
                await client.load(LOAD)
            assert unsent.value.code == "engine_lost"
            with FakeEngine(path) as engine:
                await until(lambda: client.alive)
                with monkeypatch.context() as context:
                    context.setattr(engine, "_load", lambda peer, message: None)
                    with pytest.raises(Unavailable) as unanswered:
                        await client.load(LOAD)
                    assert unanswered.value.code == "loading"
                monkeypatch.setattr("app.inference.engines.client.LOAD_LIMIT", 60.0)
                assert isinstance(await client.load(LOAD), wire.Loaded)

    asyncio.run(asyncio.wait_for(scenario(), 120))


def test_an_old_heartbeat_does_not_bring_a_version_back(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("app.inference.engines.holdings.SETTLING", 1000.0)

    async def scenario() -> None:
        engine = FakeEngine(tmp_path / "e.sock")
        engine.pid = os.getpid()
        engine.loaded = {"d": "mood:1"}
        stale = msgspec.msgpack.encode(engine._heartbeat())
        async with client_of(engine.path) as client:
            client._hear(stale)
            assert client.holds("d")
            client.send(Work((classify("c", 1),)))
            client._receive(msgspec.msgpack.encode(wire.Failed("c", "model_not_loaded", "gone")))
            client._hear(stale)
            assert not client.holds("d")
            client._receive(msgspec.msgpack.encode(wire.Loaded("d", 0.1)))
            assert client.holds("d")

    asyncio.run(scenario())


def test_a_clean_stop_is_not_worth_a_warning(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    async def scenario() -> None:
        with FakeEngine(tmp_path / "e.sock") as engine:
            async with client_of(engine.path) as client:
                await until(lambda: client.alive)

    with caplog.at_level(logging.INFO):
        asyncio.run(scenario())
    assert [record.levelname for record in caplog.records if "is lost" in record.message] == ["INFO"]


def test_a_failing_callback_leaves_no_answer_undelivered(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    def fail() -> None:
        raise RuntimeError("this callback fails")

    async def scenario() -> None:
        with FakeEngine(tmp_path / "e.sock") as engine:
            engine.pid = os.getpid()
            async with client_of(engine.path) as client:
                await until(lambda: client.alive)
                await client.load(LOAD)
                engine.hold()
                works = [Work((classify(f"{i}", i),), milestone=1, reached=fail) for i in range(8)]
                for work in works:
                    client.send(work)
                engine.release()
                for work in works:
                    _, answer = await asyncio.wait_for(work.inbox.get(), 30)
                    assert isinstance(answer, wire.Scored)

    with caplog.at_level(logging.ERROR):
        asyncio.run(scenario())
    assert caplog.text.count("RuntimeError: this callback fails") == 8


def test_a_failing_callback_about_a_death_leaves_no_request_open(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    deaths = 0

    def fail(open_work: list[Work]) -> None:
        nonlocal deaths
        deaths += 1
        raise RuntimeError("this callback fails")

    async def scenario() -> None:
        context: zmq.Context[zmq.Socket[bytes]] = zmq.Context()
        client = EngineClient(tmp_path / "e.sock", context, fail)
        client.start()
        for number in (1, 2):  # the second death is noticed like the first
            with FakeEngine(client.path) as engine:
                await until(lambda: client.alive)
                await client.load(LOAD)
                engine.hold()
                work = Work((classify(f"{number}", number),))
                client.send(work)
                await asyncio.to_thread(engine.wait_for, wire.Score)
            _, answer = await asyncio.wait_for(work.inbox.get(), 60)
            assert isinstance(answer, wire.Failed) and answer.code == "engine_lost"
            await until(lambda number=number: deaths == number)
        await client.close()
        context.destroy(linger=0)

    with caplog.at_level(logging.ERROR):
        asyncio.run(scenario())
    assert caplog.text.count("RuntimeError: this callback fails") == 2
