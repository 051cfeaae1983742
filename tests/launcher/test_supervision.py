"""The supervision that keeps one program running."""

from __future__ import annotations

import asyncio
import errno
import subprocess
import sys
from typing import Any

import pytest

from app.launcher.supervision import Command, Keeper

DEADLINE = 60.0


def test_a_program_that_cannot_be_started_is_retried(monkeypatch: pytest.MonkeyPatch) -> None:
    lines: list[str] = []
    faults = iter([OSError(errno.EAGAIN, "Resource temporarily unavailable"), OSError(errno.ENOMEM, "No memory")])
    start = subprocess.Popen

    def popen(*arguments: Any, **options: Any) -> Any:
        if (fault := next(faults, None)) is not None:
            raise fault
        return start(*arguments, **options)

    async def scenario() -> None:
        command = Command("worker", (sys.executable, "-c", "input()"), 1.0)
        keeper = Keeper(command, {}, lambda _, line: lines.append(line))
        monkeypatch.setattr(subprocess, "Popen", popen)
        running = asyncio.create_task(keeper.run())
        while keeper.program is None:
            assert not running.done()
            await asyncio.sleep(0.01)
        assert keeper.program.restarts == 2
        await keeper.stop()
        await running

    asyncio.run(asyncio.wait_for(scenario(), DEADLINE))
    assert lines[:2] == [
        "could not be started (Resource temporarily unavailable); restarting in 0.1 s",
        "could not be started (No memory); restarting in 0.2 s",
    ]
