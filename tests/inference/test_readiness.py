"""Readiness, with a fake registry and a fake engine. Data about deleted versions is removed."""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import Awaitable, Callable, Collection
from pathlib import Path

import pytest

from app import telemetry
from app.errors import NotFound, Unavailable
from app.inference.readiness import Readiness
from app.inference.service import Inference
from app.registry.records import Alias
from app.settings import Settings
from app.telemetry import ModelSeries
from tests.checkpoints import make_checkpoint
from tests.fakes import FakeEngine
from tests.inference.engines.test_client import until
from tests.inference.test_versions import NUMERIC, OneDirectory, Record

MANY = 200


class Registry:
    """A registry with a single version. Its only required alias refers to this version."""

    def __init__(self) -> None:
        self.number = 0

    @property
    def digest(self) -> str:
        return f"digest-{self.number}"

    def resolve(self, reference: str, principal: str) -> Record:
        if reference != f"mood:{self.number}":
            raise NotFound(f"there is no {reference}")
        return Record(reference, self.digest)

    def required_aliases(self) -> list[Alias]:
        return [Alias(model="mood", alias="live", version=self.number, required=True, updated_at=0.0)]

    def registered(self, digests: Collection[str]) -> set[str]:
        return {self.digest} & set(digests)


class Scene:
    """The objects that the readiness checks use. Tests run each round of checks themselves."""

    def __init__(self, folder: Path) -> None:
        self.registry = Registry()
        self.settings = Settings(data_dir=str(folder / "data"))
        self.cache = OneDirectory(make_checkpoint(folder / "checkpoint", **NUMERIC))
        self.inference = Inference(self.settings, self.registry.resolve, self.cache)  # type: ignore[arg-type]
        self.inference.versions._ttl = -1.0  # resolve references again in every request
        self.readiness = Readiness(lambda: None, self.registry, self.inference)

    async def look(self) -> None:
        """Run one round of checks and the warm-ups that it starts."""
        await self.readiness._look()
        await asyncio.gather(*self.readiness._tasks)

    async def look_until(self, condition: Callable[[], bool]) -> None:
        """Run rounds of checks until the condition holds. Several rounds are needed if heartbeats are late."""
        deadline = time.monotonic() + 60
        await self.look()
        while not condition():
            assert time.monotonic() < deadline, "the condition was not met in time"
            await asyncio.sleep(0.005)
            await self.look()


def play(folder: Path, story: Callable[[Scene, FakeEngine], Awaitable[None]]) -> None:
    async def scenario() -> None:
        scene = Scene(folder)
        with FakeEngine(scene.settings.socket_dir / "engine-0.sock", heartbeat_seconds=0.005) as engine:
            engine.pid = os.getpid()
            await scene.inference.start()
            try:
                await until(lambda: scene.inference.pool.living)
                await story(scene, engine)
            finally:
                await scene.readiness.close()
                await scene.inference.close()

    asyncio.run(scenario())


def test_nothing_about_many_versions_that_are_gone_is_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    series = ModelSeries(telemetry._by_model, seconds=-1.0)  # dropped as soon as a version is unloaded
    monkeypatch.setattr("app.inference.versions.STALE_SECONDS", -1.0)
    for module in ("readiness", "admission", "engines.pool"):
        monkeypatch.setattr(f"app.inference.{module}.model_series", series)

    async def story(scene: Scene, engine: FakeEngine) -> None:
        inference, readiness = scene.inference, scene.readiness
        for scene.registry.number in range(MANY):
            await scene.look_until(lambda: readiness.report().ready)
        last = {scene.registry.digest}
        await scene.look_until(lambda: engine.loaded.keys() == inference.pool.loaded.keys() == last)
        await scene.look_until(lambda: readiness.report().ready)
        assert readiness._warm == {(scene.registry.digest, engine.instance)}
        assert inference.versions.digests == last
        assert len(inference.versions._records) <= 1 and len(series) <= 1
        [client] = inference.pool.clients.values()
        assert client._holdings._loaded.keys() == last
        for store in (inference.pool._loads, inference.pool._failures, inference.versions._reads, client._loads):
            assert len(store) == 0  # type: ignore[arg-type]
        assert len([model for model in models() if model.startswith("mood:")]) <= 1

    play(tmp_path, story)


def models() -> set[str]:
    """The names of the models that have series in the metrics."""
    families = [family for metric in telemetry._by_model for family in metric.collect()]
    return {sample.labels["model_name"] for family in families for sample in family.samples}


def test_nothing_about_versions_whose_warm_up_crashes_engines_is_kept(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def crash(version: object) -> None:
        raise Unavailable("the engine stopped", code="engine_lost")

    async def story(scene: Scene, engine: FakeEngine) -> None:
        monkeypatch.setattr(scene.inference, "load", crash)
        for scene.registry.number in range(MANY):
            await scene.look_until(lambda: scene.readiness.report().checks["mood@live"] == "the engine stopped")
            assert scene.readiness._rests.keys() == {scene.registry.digest} and len(scene.readiness._problems) == 1
            await scene.look()
            assert len(scene.readiness._rests) == 1

    play(tmp_path, story)


def test_a_version_stays_warm_on_a_silent_engine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("app.inference.engines.liveness.FROZEN_LIMIT", 1000.0)

    async def story(scene: Scene, engine: FakeEngine) -> None:
        await scene.look_until(lambda: scene.readiness.report().ready)
        [client] = scene.inference.pool.clients.values()
        engine.mute()
        await until(lambda: client.silent)
        await scene.look()
        assert not scene.readiness._is_warm(scene.registry.digest)
        engine.unmute()
        await until(lambda: client.alive)
        assert scene.readiness._is_warm(scene.registry.digest)

    play(tmp_path, story)
