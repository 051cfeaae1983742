from __future__ import annotations

import asyncio
import os
import traceback
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from app.errors import OstinatoError, Unavailable
from app.inference.engines import pool as pools
from app.inference.engines.pool import EnginePool
from app.wire import engine as wire
from tests.fakes import FakeEngine
from tests.inference.engines.test_client import until

FOREVER = float("inf")


@asynccontextmanager
async def pool_of(engine: FakeEngine) -> AsyncIterator[EnginePool]:
    pool = EnginePool(engine.path.parent, lambda _: None)
    await pool.start()
    await until(lambda: pool.living)
    try:
        yield pool
    finally:
        await pool.close()


def play(folder: Path, story: Callable[[FakeEngine, EnginePool], Awaitable[None]]) -> None:
    async def scenario() -> None:
        with FakeEngine(folder / "run" / "engine-0.sock") as engine:
            engine.pid = os.getpid()  # late heartbeats, as on a busy machine, do not count as its death
            async with pool_of(engine) as pool:
                await story(engine, pool)

    asyncio.run(scenario())


def load_message(digest: str) -> Callable[[], Awaitable[wire.Load]]:
    async def prepare() -> wire.Load:
        return wire.Load(digest, "/nowhere", {}, f"{digest}:1")

    return prepare


async def load(pool: EnginePool, digest: str) -> OstinatoError | None:
    """Load a version. Return the exception raised by the load."""
    try:
        await pool.engine_for(digest, load_message(digest), FOREVER)
    except OstinatoError as error:
        return error
    return None


def test_a_version_is_loaded_once_for_all_who_wait_for_it(tmp_path: Path) -> None:
    async def story(engine: FakeEngine, pool: EnginePool) -> None:
        assert await asyncio.gather(*[load(pool, "d") for _ in range(8)]) == [None] * 8
        assert len([m for m in engine.received if isinstance(m, wire.Load)]) == 1

    play(tmp_path, story)


def test_each_waiter_of_a_failed_load_gets_an_exception_of_its_own(tmp_path: Path) -> None:
    async def story(engine: FakeEngine, pool: EnginePool) -> None:
        engine.refuse_loads = ("out_of_memory", "too large")
        errors = [error for error in await asyncio.gather(*[load(pool, "d") for _ in range(8)]) if error]
        errors += [error for error in [await load(pool, "d")] if error]  # from memory
        assert len({id(error) for error in errors}) == 9
        for error in errors:
            assert type(error) is Unavailable and error.message == "the version could not be loaded: too large"
            assert (error.code, error.retry_after, error.retryable) == ("out_of_memory", 1.0, True)
            assert len(traceback.extract_tb(error.__traceback__)) <= 4 and error.__context__ is None

    play(tmp_path, story)


def test_failed_loads_are_forgotten_when_they_have_expired(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async def story(engine: FakeEngine, pool: EnginePool) -> None:
        engine.refuse_loads = ("invalid_checkpoint", "no")
        monkeypatch.setattr(pools, "FAILURE_MEMORY", -1.0)
        for number in range(300):
            assert await load(pool, f"d{number}")
        assert len(pool._failures) <= 1 and len(pool._loads) == 0

    play(tmp_path, story)


def test_the_number_of_remembered_failed_loads_is_bounded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async def story(engine: FakeEngine, pool: EnginePool) -> None:
        engine.refuse_loads = ("invalid_checkpoint", "no")
        monkeypatch.setattr(pools, "FAILURE_MEMORY", 1000.0)
        for number in range(300):
            assert await load(pool, f"d{number}")
        assert len(pool._failures) == 256 and "d299" in pool._failures and "d0" not in pool._failures

    play(tmp_path, story)
