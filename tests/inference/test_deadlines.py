"""One timer enforces the time limits of many tasks."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

import pytest

from app.errors import DeadlineExceeded
from app.inference.deadlines import Deadlines


def play(story: Callable[[Deadlines], Awaitable[None]]) -> None:
    async def scenario() -> None:
        deadlines = Deadlines()
        await story(deadlines)
        assert len(deadlines) == 0

    asyncio.run(asyncio.wait_for(scenario(), 30))


async def wait_in(deadlines: Deadlines, seconds: float) -> None:
    with deadlines.limit(seconds):
        await asyncio.Event().wait()


def test_only_the_tasks_whose_time_is_over_are_ended() -> None:
    async def story(deadlines: Deadlines) -> None:
        patient = asyncio.create_task(wait_in(deadlines, 1000.0))  # sets the timer, which shorter limits must move
        hasty = [asyncio.create_task(wait_in(deadlines, 0.02 + i / 1000)) for i in range(5)]
        for result in await asyncio.gather(*hasty, return_exceptions=True):
            assert isinstance(result, DeadlineExceeded)
        assert not patient.done() and len(deadlines) == 1
        patient.cancel()
        with pytest.raises(asyncio.CancelledError):
            await patient

    play(story)


def test_work_that_ends_in_time_leaves_nothing_behind() -> None:
    async def story(deadlines: Deadlines) -> None:
        with deadlines.limit(0.01):
            await asyncio.sleep(0)
        with pytest.raises(ValueError), deadlines.limit(0.01):
            raise ValueError
        with pytest.raises(DeadlineExceeded):  # the first limits are over by then, and must not end this task
            await wait_in(deadlines, 0.05)
        task = asyncio.current_task()
        assert task is not None and task.cancelling() == 0

    play(story)


def test_a_cancellation_for_another_reason_is_not_a_deadline() -> None:
    async def story(deadlines: Deadlines) -> None:
        waiting = asyncio.create_task(wait_in(deadlines, 1000.0))
        await asyncio.sleep(0)
        waiting.cancel()
        with pytest.raises(asyncio.CancelledError):
            await waiting

    play(story)


def test_limits_may_be_nested() -> None:
    async def story(deadlines: Deadlines) -> None:
        with deadlines.limit(1000.0):
            with pytest.raises(DeadlineExceeded):
                await wait_in(deadlines, 0.01)
            await asyncio.sleep(0)

    play(story)
