from __future__ import annotations

import asyncio

import pytest

from app.errors import Unavailable
from app.inference.engines.gate import Gate

LONG = 60.0


def test_many_enter_at_once() -> None:
    async def scenario() -> None:
        gate = Gate()
        await asyncio.gather(gate.enter(), gate.enter())
        assert gate.inside == 2

    asyncio.run(scenario())


def test_a_suspect_waits_for_the_others_and_newcomers_wait_for_it() -> None:
    async def scenario() -> None:
        gate, log = Gate(), []
        await gate.enter()

        async def suspect(name: str) -> None:
            async with gate.turn() as turn, turn.alone(LONG, True):
                assert gate.inside == 1
                log.append(name)
                await asyncio.sleep(0)
                assert gate.inside == 1

        async def newcomer() -> None:
            await gate.enter()
            log.append("newcomer")
            await asyncio.sleep(0)
            gate.leave()

        first = asyncio.create_task(suspect("first"))
        second = asyncio.create_task(suspect("second"))
        await asyncio.sleep(0)
        other = asyncio.create_task(newcomer())
        await asyncio.sleep(0)
        assert log == []
        gate.leave()
        await asyncio.gather(first, second, other)
        assert log == ["first", "newcomer", "second"]  # the newcomer goes in between the two suspects
        assert gate.inside == 0

    asyncio.run(scenario())


def test_a_suspect_does_not_wait_for_ever_for_those_inside() -> None:
    async def scenario() -> None:
        gate = Gate()
        await gate.enter()
        async with gate.turn() as turn, turn.alone(0.01, True):
            assert gate.inside == 2

    asyncio.run(scenario())


def test_after_its_time_alone_newcomers_go_in_and_other_suspects_too_unless_it_is_exclusive() -> None:
    async def scenario(exclusive: bool) -> None:
        gate = Gate(patience=0.1)
        async with gate.turn() as turn, turn.alone(0.0, exclusive):
            await asyncio.wait_for(gate.enter(), LONG)
            assert gate.inside == 2
            if exclusive:
                with pytest.raises(Unavailable) as refused:
                    async with gate.turn():
                        pass
                assert refused.value.code == "held_back"
            else:
                async with gate.turn():
                    pass

    asyncio.run(scenario(True))
    asyncio.run(scenario(False))


def test_a_turn_that_has_ended_does_not_open_the_gate_of_the_next_one() -> None:
    async def scenario() -> None:
        gate = Gate()
        async with gate.turn() as first, first.alone(LONG, True):
            first.end()
            async with gate.turn() as second:
                waiting = asyncio.create_task(second.alone(LONG, True).__aenter__())
                await asyncio.sleep(0)
                first.end()
                newcomer = asyncio.create_task(gate.enter())
                await asyncio.sleep(0)
                assert not newcomer.done()
                waiting.cancel()
                await asyncio.gather(waiting, return_exceptions=True)
            await asyncio.wait_for(newcomer, LONG)

    asyncio.run(scenario())


def test_a_cancelled_waiter_takes_no_place() -> None:
    async def scenario() -> None:
        gate = Gate()
        async with gate.turn() as turn, turn.alone(LONG, True):
            waiting = [asyncio.create_task(gate.enter()), asyncio.create_task(gate.turn().__aenter__())]
            await asyncio.sleep(0)
            for task in waiting:
                task.cancel()
            await asyncio.gather(*waiting, return_exceptions=True)
        assert gate.inside == 0
        async with gate.turn() as turn, turn.alone(LONG, True):
            assert gate.inside == 1

    asyncio.run(scenario())
