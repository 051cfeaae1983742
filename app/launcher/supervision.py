"""Child processes: `Child` is one run of a command; `Keeper` keeps a command running.

Each child runs in a separate session, so that Ctrl+C in the terminal reaches only the launcher, and the launcher can
kill the child's whole process group. On Linux, the kernel also sends each child SIGTERM when the launcher exits, even
if the launcher is killed.
"""

from __future__ import annotations

import asyncio
import contextlib
import ctypes
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from app.launcher import backoff
from app.launcher.exits import POLL, exit_of
from app.launcher.programs import Program
from app.settings import REFUSED

PR_SET_PDEATHSIG = 1  # from <sys/prctl.h>
# looked up in the parent, because the child may only make system calls between fork and exec
_prctl = ctypes.CDLL(None).prctl if sys.platform == "linux" else None

Output = Callable[[str, str], None]  # receives (program, line)


@dataclass(frozen=True)
class Command:
    """A command line and its display name. `grace` is the number of seconds between SIGTERM and SIGKILL."""

    name: str
    argv: tuple[str, ...]
    grace: float


def _die_with(parent: int) -> Callable[[], None]:
    def ask_for_signal() -> None:
        if _prctl is not None:
            _prctl(PR_SET_PDEATHSIG, signal.SIGTERM)
            if os.getppid() != parent:  # the parent died before the call of prctl: no signal will be sent
                os._exit(1)

    return ask_for_signal


def describe_exit(code: int) -> str:
    """Describe an exit status. Negative codes are signals, as in `subprocess`."""
    if code >= 0:
        return f"exit status {code}"
    try:
        return f"killed by {signal.Signals(-code).name}"
    except ValueError:
        return f"killed by signal {-code}"


def describe_error(error: Exception) -> str:
    """Describe why a program could not be started."""
    return (error.strerror if isinstance(error, OSError) else None) or str(error)


class Child:
    """One run of a command. Raises OSError or SubprocessError if the system cannot start it."""

    def __init__(self, command: Command, environment: Mapping[str, str], output: Output) -> None:
        self._command = command
        self._output = output
        self.started_at = time.time()
        self._process = subprocess.Popen(
            command.argv,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            env={**environment, "PYTHONUNBUFFERED": "1"},
            start_new_session=True,
            preexec_fn=_die_with(os.getpid()),  # safe: it only makes system calls, and this process has one thread
        )
        self.pid = self._process.pid
        self._listening = asyncio.create_task(self._listen())

    async def wait(self) -> int:
        """Wait until the child exits, then kill the rest of its process group. Returns the exit status."""
        code = await exit_of(self._process)
        self._signal_group(signal.SIGKILL)
        with contextlib.suppress(TimeoutError):  # a grandchild in another session may keep the pipe open
            await asyncio.wait_for(self._listening, 0.5)
        return code

    async def stop(self) -> None:
        """Send SIGTERM, and kill the child's process group when the grace period is over."""
        with contextlib.suppress(ProcessLookupError):
            self._process.send_signal(signal.SIGTERM)
        deadline = time.monotonic() + self._command.grace
        while self._process.poll() is None and time.monotonic() < deadline:  # noqa: ASYNC110
            await asyncio.sleep(POLL)
        if self._process.poll() is None:
            self._output(self._command.name, f"did not stop within {self._command.grace:.0f} s: killed")
            self.kill()

    def kill(self) -> None:
        """Kill the child and its process group immediately."""
        self._signal_group(signal.SIGKILL)

    def _signal_group(self, number: int) -> None:
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(self.pid, number)

    async def _listen(self) -> None:
        """Pass on the child's output, line by line."""
        assert self._process.stdout is not None
        reader = asyncio.StreamReader()
        loop = asyncio.get_running_loop()
        transport, _ = await loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(reader), self._process.stdout)
        rest = b""  # the start of an incomplete line
        try:
            while chunk := await reader.read(65536):
                *lines, rest = (rest + chunk).split(b"\n")
                for line in lines:
                    self._output(self._command.name, line.decode("utf-8", "replace"))
            if rest:
                self._output(self._command.name, rest.decode("utf-8", "replace"))
        finally:
            transport.close()


class Keeper:
    """Keeps one command running. Restarts it with increasing delays whenever it exits on its own."""

    def __init__(self, command: Command, environment: Mapping[str, str], output: Output) -> None:
        self.command = command
        self._environment = environment
        self._output = output
        self._child: Child | None = None
        self._stopping = asyncio.Event()
        self._restarts = 0

    @property
    def program(self) -> Program | None:
        """The running child's entry in programs.json; None between runs."""
        child = self._child
        if child is None:
            return None
        return Program(self.command.name, child.pid, round(child.started_at, 3), self._restarts)

    async def run(self) -> bool:
        """Keep the command running until `stop` is called.

        Returns False if the first run rejects the settings (exit status 2).

        The settings cannot change while the launcher runs. If a program rejects them only after a restart, the cause
        must be temporary, such as an unavailable device, so the program is restarted again.
        """
        crashes = 0
        while not self._stopping.is_set():
            started = time.monotonic()
            outcome, code = await self._run_once()
            if self._stopping.is_set():
                break
            if code == REFUSED and not self._restarts:
                return False
            crashes = backoff.count_crashes(crashes, time.monotonic() - started)
            pause = backoff.delay(crashes)
            self._output(self.command.name, f"{outcome}; restarting in {pause:.1f} s")
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._stopping.wait(), pause)
            self._restarts += 1
        return True

    async def _run_once(self) -> tuple[str, int | None]:
        """Run the command until it exits. Returns a description of the outcome, and the exit status.

        The status is None if the command could not be started. `run` also retries a failed start, because a shortage of
        processes or memory may be temporary.
        """
        try:
            child = self._child = Child(self.command, self._environment, self._output)
        except (OSError, subprocess.SubprocessError) as error:
            return f"could not be started ({describe_error(error)})", None
        try:
            code = await child.wait()
            return f"ended ({describe_exit(code)})", code
        finally:
            self._child = None

    async def stop(self) -> None:
        """Stop the command as `Child.stop` does, and do not restart it."""
        self._stopping.set()
        if self._child is not None:
            await self._child.stop()

    def kill(self) -> None:
        """Kill the command immediately, and do not restart it."""
        self._stopping.set()
        if self._child is not None:
            self._child.kill()
