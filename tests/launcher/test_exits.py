"""The launcher waits for the exit of a real process, with and without a process descriptor."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys

import pytest

from app.launcher import exits


def start(code: str) -> subprocess.Popen[bytes]:
    return subprocess.Popen([sys.executable, "-S", "-E", "-c", code], stdin=subprocess.PIPE)


@pytest.fixture(params=["descriptor", "no such call", "no descriptor is free"])
def waiting(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(pid: int) -> int:
        raise OSError(24, "Too many open files")

    if request.param == "no such call":
        monkeypatch.delattr(os, "pidfd_open", raising=False)
    elif request.param != "descriptor":
        monkeypatch.setattr(os, "pidfd_open", fail, raising=False)


async def wait_for(process: subprocess.Popen[bytes]) -> int:
    waiter = asyncio.create_task(exits.exit_of(process))
    await asyncio.sleep(0)
    assert not waiter.done() and process.stdin is not None
    process.stdin.close()
    return await asyncio.wait_for(waiter, 60)


@pytest.mark.usefixtures("waiting")
def test_the_status_of_a_process_that_exits_and_of_one_that_has_exited() -> None:
    process = start("import sys; sys.stdin.read(); sys.exit(7)")
    assert asyncio.run(wait_for(process)) == 7
    assert asyncio.run(exits.exit_of(process)) == 7


@pytest.mark.usefixtures("waiting")
def test_a_signal_is_reported_as_a_negative_status() -> None:
    process = start("import os, sys; sys.stdin.read(); os.kill(os.getpid(), 9)")
    assert asyncio.run(wait_for(process)) == -9


@pytest.mark.skipif(not hasattr(os, "pidfd_open"), reason="this system has no process descriptors")
def test_waiting_needs_no_timer_and_a_cancelled_wait_closes_its_descriptor(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(exits, "POLL", None)  # sleeping would fail
    process = start("import sys; sys.stdin.read()")
    opened: list[int] = []
    pidfd_open = os.pidfd_open
    monkeypatch.setattr(os, "pidfd_open", lambda pid: opened.append(pidfd_open(pid)) or opened[-1])

    async def cancel() -> None:
        waiter = asyncio.create_task(exits.exit_of(process))
        await asyncio.sleep(0)
        assert opened
        waiter.cancel()
        await asyncio.gather(waiter, return_exceptions=True)

    asyncio.run(cancel())
    with pytest.raises(OSError):
        os.fstat(opened[0])
    assert asyncio.run(wait_for(process)) == 0
