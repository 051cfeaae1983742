from __future__ import annotations

import asyncio

import pytest

from app.errors import DeadlineExceeded, InvalidRequest, OstinatoError, Unavailable
from app.inference.shared_tasks import SharedTasks, StillRunning, duplicate


def test_callers_with_equal_keys_share_one_task() -> None:
    started: list[str] = []

    async def work(key: str) -> str:
        started.append(key)
        await asyncio.sleep(0)
        return key.upper()

    async def scenario() -> None:
        tasks: SharedTasks[str, str] = SharedTasks()
        keys = ["a", "b", "a", "a"]
        results = await asyncio.gather(*[tasks.run(key, lambda key=key: work(key)) for key in keys])
        assert results == ["A", "B", "A", "A"] and started == ["a", "b"]
        assert len(tasks) == 0
        assert await tasks.run("a", lambda: work("a")) == "A" and started == ["a", "b", "a"]

    asyncio.run(scenario())


def test_the_task_goes_on_when_its_waiters_give_up() -> None:
    async def scenario() -> None:
        tasks: SharedTasks[str, int] = SharedTasks()
        go = asyncio.Event()

        async def work() -> int:
            await go.wait()
            return 7

        with pytest.raises(StillRunning):
            await tasks.run("a", work, patience=0.0)
        waiter = asyncio.create_task(tasks.run("a", work))
        await asyncio.sleep(0)
        waiter.cancel()
        await asyncio.gather(waiter, return_exceptions=True)
        assert "a" in tasks
        go.set()
        assert await tasks.run("a", work) == 7

    asyncio.run(scenario())


def test_waiters_of_a_cancelled_task_are_told_that_the_service_stops() -> None:
    async def scenario() -> None:
        tasks: SharedTasks[str, None] = SharedTasks()
        waiter = asyncio.create_task(tasks.run("a", asyncio.Event().wait))  # type: ignore[arg-type]
        await asyncio.sleep(0)
        await tasks.close()
        with pytest.raises(Unavailable, match="stopping"):
            await waiter

    asyncio.run(scenario())


class Picky(Exception):
    """An exception whose constructor does not accept its `args`."""

    def __init__(self, *, reason: str) -> None:
        super().__init__("a", "b", reason)


@pytest.mark.parametrize(
    "error",
    [
        InvalidRequest("no", code="invalid_text", param="input"),
        Unavailable("later", retry_after=3.0, retryable=False),
        DeadlineExceeded("late"),
        OSError(28, "No space left on device", "file"),
        KeyError("key"),
    ],
    ids=lambda error: type(error).__name__,
)
def test_a_duplicate_equals_the_exception_but_for_its_traceback(error: Exception) -> None:
    try:
        raise error from ValueError("cause")
    except Exception as raised:
        copy = duplicate(raised)
    assert copy is not error and type(copy) is type(error) and copy.args == error.args and str(copy) == str(error)
    assert copy.__traceback__ is None and copy.__context__ is None and copy.__cause__ is None
    if isinstance(error, OstinatoError):
        assert isinstance(copy, OstinatoError) and vars(copy) == vars(error)


def test_an_exception_that_cannot_be_duplicated_is_raised_itself() -> None:
    async def fail() -> None:
        raise Picky(reason="c")

    async def scenario() -> None:
        tasks: SharedTasks[str, None] = SharedTasks()
        with pytest.raises(Picky):
            await tasks.run("a", fail)

    asyncio.run(scenario())
