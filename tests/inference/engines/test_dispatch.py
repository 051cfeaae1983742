"""Suspects are sent through the gate of a fake engine, over real sockets."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from pathlib import Path

import pytest
import zmq

from app.errors import InvalidRequest
from app.inference.engines import quarantine as rules
from app.inference.engines.client import EngineClient
from app.inference.engines.dispatch import dispatch
from app.inference.engines.quarantine import Quarantine
from app.inference.engines.work import Work
from app.wire import engine as wire
from tests.fakes import FakeEngine
from tests.inference.engines.test_client import LOAD, client_of, until


def stream(number: int) -> Work:
    return Work((wire.Generate(f"g{number}", "d", "local", [number], wire.SamplingParams(max_tokens=50)),))


class Scene:
    """A socket at which engines start and exit. Sent work remains open until it is answered."""

    def __init__(self, path: Path, client: EngineClient, lost: list[Work]) -> None:
        self.path, self.client, self.lost = path, client, lost
        self.quarantine = Quarantine()

    async def engine(self, hold_after: int) -> FakeEngine:
        engine = FakeEngine(self.path).start()
        engine.hold_after = hold_after
        await until(lambda: self.client.alive)
        await self.client.load(LOAD)
        return engine

    async def _send(self, work: Work) -> None:
        async with dispatch(self.client, work, self.quarantine):
            while work.open:
                await work.inbox.get()

    def send(self, *works: Work) -> list[asyncio.Task[None]]:
        return [asyncio.create_task(self._send(work)) for work in works]

    async def kill(self, engine: FakeEngine, tasks: list[asyncio.Task[None]]) -> None:
        await asyncio.to_thread(engine.die)
        await asyncio.gather(*tasks)
        self.quarantine.crashed((work.requests, work.answers) for work in self.lost)
        self.lost.clear()


def play(path: Path, story: Callable[[Scene], object]) -> None:
    async def scenario() -> None:
        lost: list[Work] = []
        async with client_of(path, lost) as client:
            await story(Scene(path, client, lost))  # type: ignore[misc]

    asyncio.run(scenario())


@pytest.mark.parametrize("deaths", [1, 2])
def test_a_crowd_of_suspects_soon_runs_together_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, deaths: int
) -> None:
    if deaths > 1:  # short turns, so that all suspects run together before any of them is cleared
        monkeypatch.setattr(rules, "ALONE_SECONDS", 0.01)

    async def story(scene: Scene) -> None:
        for _ in range(deaths):
            engine = await scene.engine(hold_after=1)
            tasks = scene.send(*map(stream, range(64)))
            await until(lambda engine=engine: engine.running == 64)
            await scene.kill(engine, tasks)
        engine = await scene.engine(hold_after=2)  # each is cleared, because it generates one token more than before
        tasks = scene.send(*map(stream, range(64)), stream(100))
        await until(lambda: engine.running == 65)
        await until(lambda: not scene.quarantine._suspects)
        engine.release()
        await asyncio.gather(*tasks)
        engine.stop()

    play(tmp_path / "e.sock", story)


def test_a_crowd_without_progress_is_held_back_for_a_bounded_time(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(rules, "ALONE_SECONDS", 0.16)  # 10 ms each for 64 suspects

    async def story(scene: Scene) -> None:
        engine = await scene.engine(hold_after=1)
        tasks = scene.send(*map(stream, range(64)))
        await until(lambda: engine.running == 64)
        await scene.kill(engine, tasks)
        engine = await scene.engine(hold_after=0)
        tasks = scene.send(*map(stream, range(64)))
        await until(lambda: engine.running == 64)
        engine.release()
        await asyncio.gather(*tasks)
        assert not scene.quarantine._suspects
        engine.stop()

    play(tmp_path / "e.sock", story)


def test_a_suspect_that_crashes_the_engine_beside_newcomers_is_convicted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(rules, "ALONE_SECONDS", 0.01)

    async def story(scene: Scene) -> None:
        engine = await scene.engine(hold_after=1)
        tasks = scene.send(stream(1), stream(2))
        await until(lambda: engine.running == 2)
        await scene.kill(engine, tasks)
        engine = await scene.engine(hold_after=0)
        tasks = scene.send(stream(1))
        await until(lambda: engine.running == 1)
        tasks += scene.send(stream(3))  # unlike the other suspect, it waits at the gate and then runs beside 1
        await until(lambda: engine.running == 2)
        await scene.kill(engine, tasks)
        with pytest.raises(InvalidRequest):
            scene.quarantine.suspicion(stream(1).requests)
        for innocent in (stream(2), stream(3)):
            assert scene.quarantine.suspicion(innocent.requests)

    play(tmp_path / "e.sock", story)


def test_a_suspect_in_a_crowd_that_crashes_engines_late_is_convicted_at_its_third_crash(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(rules, "ALONE_SECONDS", 0.01)
    culprit, *innocents = range(12)

    async def story(scene: Scene) -> None:
        for _ in range(2):
            engine = await scene.engine(hold_after=0)
            tasks = scene.send(*map(stream, (culprit, *innocents)))
            await until(lambda engine=engine: engine.running == 12)
            await scene.kill(engine, tasks)
        engine = await scene.engine(hold_after=0)
        tasks = scene.send(stream(culprit))
        waiting = scene.send(*map(stream, innocents))
        tasks += scene.send(stream(100))
        await until(lambda: engine.running == 2)
        await asyncio.sleep(0.1)
        assert engine.running == 2  # the one that was never suspected has been let in, and no other suspect
        for task in waiting:
            task.cancel()
        await scene.kill(engine, tasks)
        with pytest.raises(InvalidRequest):
            scene.quarantine.suspicion(stream(culprit).requests)
        assert all(scene.quarantine.suspicion(stream(number).requests) for number in (*innocents, 100))

    play(tmp_path / "e.sock", story)


def test_clearing_one_of_equal_suspects_clears_all(tmp_path: Path) -> None:
    async def story(scene: Scene) -> None:
        engine = await scene.engine(hold_after=1)
        tasks = scene.send(
            *[Work((wire.Generate(f"e{i}", "d", "local", [7], wire.SamplingParams(9)),)) for i in range(8)]
        )
        await until(lambda: engine.running == 8)
        await scene.kill(engine, tasks)
        engine = await scene.engine(hold_after=2)
        tasks = scene.send(
            *[Work((wire.Generate(f"f{i}", "d", "local", [7], wire.SamplingParams(9)),)) for i in range(8)]
        )
        await until(lambda: engine.running == 8)
        engine.release()
        await asyncio.gather(*tasks)
        engine.stop()

    play(tmp_path / "e.sock", story)


def test_an_abort_that_cannot_be_sent_leaves_the_gate_free(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(payload: bytes) -> None:
        raise zmq.Again

    async def story(scene: Scene) -> None:
        engine = await scene.engine(hold_after=1)
        (task,) = scene.send(work := stream(1))
        await until(lambda: engine.running == 1 and work.answers)
        monkeypatch.setattr(scene.client._requests, "send", full)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert scene.client.gate.inside == 0 and scene.client.open_requests == 0 and not work.open
        engine.stop()

    play(tmp_path / "e.sock", story)
