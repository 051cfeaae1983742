"""One child program: started, listened to, ended; and kept running. Knows processes, nothing of what they do.

A child leads a session of its own, so a Ctrl+C in the terminal reaches the launcher alone, and its whole group can be
ended. Where the system can do it (Linux), a child is told to end when the launcher dies, however that dies.
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
from app.launcher.programs import Program
from app.settings import REFUSED

POLL = 0.05  # seconds between two looks at a child
PR_SET_PDEATHSIG = 1
_prctl = ctypes.CDLL(None).prctl if sys.platform == "linux" else None  # found before any fork

Say = Callable[[str, str], None]  # (program, line)


@dataclass(frozen=True)
class Command:
    """What to run under which name; `grace`: seconds between asking it to end and ending it."""

    name: str
    argv: tuple[str, ...]
    grace: float


def _die_with(parent: int) -> Callable[[], None]:
    def in_the_child() -> None:
        if _prctl is not None:
            _prctl(PR_SET_PDEATHSIG, signal.SIGTERM)
            if os.getppid() != parent:  # it died before the line above
                os._exit(1)

    return in_the_child


def ending(code: int) -> str:
    """An exit status in words."""
    if code >= 0:
        return f"exit status {code}"
    try:
        return f"killed by {signal.Signals(-code).name}"
    except ValueError:
        return f"killed by signal {-code}"


def describe(error: Exception) -> str:
    """Why a program could not be started, in words."""
    return (error.strerror if isinstance(error, OSError) else None) or str(error)


class Child:
    """One run of a command. Raises OSError or SubprocessError where the system cannot start it."""

    def __init__(self, command: Command, environment: Mapping[str, str], say: Say) -> None:
        self._command = command
        self._say = say
        self.started_at = time.time()
        self._process = subprocess.Popen(
            command.argv,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            env={**environment, "PYTHONUNBUFFERED": "1"},
            start_new_session=True,
            preexec_fn=_die_with(os.getpid()),  # a lone system call; this process runs no other thread
        )
        self.pid = self._process.pid
        self._listening = asyncio.create_task(self._listen())

    async def wait(self) -> int:
        """Its exit status, once it has ended; whatever it left in its process group is ended too."""
        while (code := self._process.poll()) is None:  # noqa: ASYNC110  (works on every system, needs no thread)
            await asyncio.sleep(POLL)
        self._signal_group(signal.SIGKILL)
        with contextlib.suppress(TimeoutError):  # a grandchild may hold the pipe
            await asyncio.wait_for(self._listening, 0.5)
        return code

    async def stop(self) -> None:
        """Ask it to end; end it when its grace is over."""
        with contextlib.suppress(ProcessLookupError):
            self._process.send_signal(signal.SIGTERM)
        deadline = time.monotonic() + self._command.grace
        while self._process.poll() is None and time.monotonic() < deadline:  # noqa: ASYNC110
            await asyncio.sleep(POLL)
        if self._process.poll() is None:
            self._say(self._command.name, f"did not stop within {self._command.grace:.0f} s: killed")
            self.kill()

    def kill(self) -> None:
        self._signal_group(signal.SIGKILL)

    def _signal_group(self, number: int) -> None:
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(self.pid, number)

    async def _listen(self) -> None:
        assert self._process.stdout is not None
        reader = asyncio.StreamReader()
        loop = asyncio.get_running_loop()
        transport, _ = await loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(reader), self._process.stdout)
        rest = b""
        try:
            while chunk := await reader.read(65536):
                *lines, rest = (rest + chunk).split(b"\n")
                for line in lines:
                    self._say(self._command.name, line.decode("utf-8", "replace"))
            if rest:
                self._say(self._command.name, rest.decode("utf-8", "replace"))
        finally:
            transport.close()


class Keeper:
    """Keeps one command running: starts it again, after a growing pause, whenever it ends unasked."""

    def __init__(self, command: Command, environment: Mapping[str, str], say: Say) -> None:
        self.command = command
        self._environment = environment
        self._say = say
        self._child: Child | None = None
        self._stopping = asyncio.Event()
        self._restarts = 0

    @property
    def program(self) -> Program | None:
        child = self._child
        if child is None:
            return None
        return Program(self.command.name, child.pid, round(child.started_at, 3), self._restarts)

    async def run(self) -> bool:
        """Until it is stopped; False if the program refuses its settings, so that another start would not help.

        Settings stay as they are: what refuses them at a later start misses something else, and may find it again.
        """
        falls = 0
        while not self._stopping.is_set():
            began = time.monotonic()
            how, code = await self._run_once()
            if self._stopping.is_set():
                break
            if code == REFUSED and not self._restarts:
                return False
            falls = backoff.falls(falls, time.monotonic() - began)
            pause = backoff.delay(falls)
            self._say(self.command.name, f"{how}; starts again in {pause:.1f} s")
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._stopping.wait(), pause)
            self._restarts += 1
        return True

    async def _run_once(self) -> tuple[str, int | None]:
        """How it ended, in words and as its exit status; or why it was not started: a machine that has no process or
        memory left now may have later."""
        try:
            child = self._child = Child(self.command, self._environment, self._say)
        except (OSError, subprocess.SubprocessError) as error:
            return f"could not be started ({describe(error)})", None
        try:
            code = await child.wait()
            return f"ended ({ending(code)})", code
        finally:
            self._child = None

    async def stop(self) -> None:
        self._stopping.set()
        if self._child is not None:
            await self._child.stop()

    def kill(self) -> None:
        self._stopping.set()
        if self._child is not None:
            self._child.kill()
