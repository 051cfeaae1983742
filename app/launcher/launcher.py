"""`ostinato up`: starts, watches, restarts and stops the programs of one machine."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from collections.abc import Mapping, Sequence
from subprocess import SubprocessError
from typing import TextIO

import msgspec

from app.binding import check_bind
from app.launcher import programs
from app.launcher.plan import LaunchPlan, child_environment, make_plan, url_of
from app.launcher.preparation import find_port, lock, prepare_folders
from app.launcher.supervision import Child, Command, Keeper, describe_error, describe_exit
from app.launcher.terminal import LauncherOutput, Terminal
from app.settings import REFUSED, Settings

LIST_EVERY = 0.2  # seconds between two updates of programs.json


def start_up(settings: Settings, *, demo: bool = False, without: Sequence[str] = (), verbose: bool = False) -> int:
    """Run the service until it is stopped, and return the exit status.

    At a terminal, only warnings are printed, unless `verbose` is set. Raises StartRefused, NotPrivate or SettingError
    if the service cannot be started.
    """
    check_bind(settings)
    if not settings.run_dir.exists():  # then no service on this folder can hold the port
        find_port(settings)  # before the folders are created, so that a refusal leaves nothing behind
    prepare_folders(settings)
    with lock(settings.run_dir):  # before find_port: a service on this folder may hold the port
        settings = msgspec.structs.replace(settings, port=find_port(settings))
        environment = child_environment(settings, os.environ)
        output = choose_output(settings, environment, verbose)
        plan = make_plan(settings, demo=demo, without=without, progress=isinstance(output, Terminal))
        return asyncio.run(Launcher(settings, plan, environment, output).run())


def choose_output(
    settings: Settings, environment: Mapping[str, str], verbose: bool = False, out: TextIO | None = None
) -> LauncherOutput:
    """Choose the form of standard output: quiet at a terminal, unless logs are JSON or all lines are requested."""
    out = out or sys.stdout
    if verbose or settings.log_format == "json" or settings.log_level == "debug" or not out.isatty():
        return LauncherOutput(out, json=settings.log_format == "json")
    moving = environment.get("TERM", "dumb") != "dumb"
    return Terminal(out, colour=moving and not environment.get("NO_COLOR"), moving=moving)


class Launcher:
    """Runs the service with one keeper for each program in the plan, and maintains the list of running programs."""

    def __init__(
        self, settings: Settings, plan: LaunchPlan, environment: Mapping[str, str], output: LauncherOutput | None = None
    ) -> None:
        self._settings = settings
        self._plan = plan
        self._environment = environment
        self._output = output or choose_output(settings, environment)
        self._keepers: list[Keeper] = []
        self._signals = 0
        self._status = 0
        self._list_failed = False  # whether the last attempt to write programs.json failed
        self._stop = asyncio.Event()

    async def run(self) -> int:
        """Start all programs, wait for a signal or a rejected setting, then stop them all. Returns the exit status."""
        loop = asyncio.get_running_loop()
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            loop.add_signal_handler(number, self._on_signal)
        self._log(f"starting with data folder {self._settings.data}   (stop with Ctrl+C)")
        listing = asyncio.create_task(self._keep_list())
        # The engine does not need the database and takes longest to start, so it starts before the migration.
        keeping = self._keep("engine")
        try:
            if not await self._migrate():
                return self._status or 1
            keeping += self._keep("api", "worker")
            announcing = asyncio.create_task(self._announce())
            await self._stop.wait()
            announcing.cancel()
            self._log(
                "stopping: waiting for open requests, and saving training runs (press Ctrl+C again to stop immediately)"
            )
            return self._status
        finally:
            await self._stop_all(keeping)
            listing.cancel()
            self._write_list([])

    def _keep(self, *names: str) -> list[asyncio.Task[None]]:
        keepers = [Keeper(c, self._environment, self._print) for c in self._plan.programs if c.name in names]
        self._keepers += keepers
        return [asyncio.create_task(self._watch(keeper)) for keeper in keepers]

    async def _watch(self, keeper: Keeper) -> None:
        if not await keeper.run():
            self._status = REFUSED
            self._log(
                f"the {keeper.command.name} rejected its settings ({describe_exit(REFUSED)}); see its error above"
            )
            self._stop.set()

    async def _stop_all(self, keeping: list[asyncio.Task[None]]) -> None:
        """Stop the API and the worker first and the engine last, so that open requests can still be answered."""
        for names in ({"api", "worker"}, {"engine"}):
            await asyncio.gather(*(keeper.stop() for keeper in self._keepers if keeper.command.name in names))
        for outcome in await asyncio.gather(*keeping, return_exceptions=True):
            if isinstance(outcome, Exception):
                self._log(f"an internal error: a program is no longer supervised ({outcome!r})")

    def _on_signal(self) -> None:
        self._signals += 1
        self._stop.set()
        if self._signals > 1:
            for keeper in self._keepers:
                keeper.kill()

    async def _migrate(self) -> bool:
        """Migrate the database. Returns False if the migration failed or the launcher was stopped in the meantime."""
        try:
            child = Child(self._plan.migration, self._environment, self._print)
        except (OSError, SubprocessError) as error:
            reason = describe_error(error)
            self._log(f"the database could not be prepared: the migration program could not be started ({reason})")
            return False
        finished = asyncio.create_task(child.wait())
        stopped = asyncio.create_task(self._stop.wait())
        await asyncio.wait({finished, stopped}, return_when=asyncio.FIRST_COMPLETED)
        stopped.cancel()
        if not finished.done():
            await child.stop()
        code = await finished
        if code and not self._stop.is_set():
            self._status = REFUSED if code == REFUSED else 1
            self._log(f"the database could not be prepared ({describe_exit(code)}); see the error above")
        return code == 0

    async def _announce(self) -> None:
        """Wait until the API is ready, print its address, then queue the demo."""
        if not any(command.name == "api" for command in self._plan.programs):
            return
        url = url_of(self._settings)
        while not await is_ready(self._settings.port, url):  # noqa: ASYNC110  (the API is another process)
            await asyncio.sleep(0.1)
        self._output.ready(url, self._plan.demo is not None)
        if self._plan.demo:
            try:
                code = await self._run_demo(self._plan.demo)
                fault = describe_exit(code) if code else ""
            except (OSError, SubprocessError) as error:
                fault = describe_error(error)
            if fault:
                self._log(f"the demo could not be queued ({fault}); the service continues without it")

    async def _run_demo(self, command: Command) -> int:
        """Run the demo until it exits, or kill it if the launcher is stopped first. Returns the exit status."""
        child = Child(command, self._environment, self._print)
        try:
            return await child.wait()
        except asyncio.CancelledError:
            child.kill()
            raise

    async def _keep_list(self) -> None:
        """Update programs.json whenever the set of running programs changes."""
        written: list[programs.Program] | None = None
        trainers = programs.Trainers(self._settings.run_dir)
        while True:
            running = [program for keeper in self._keepers if (program := self._program_of(keeper))]
            running += trainers.read()
            if running != written and self._write_list(running):
                written = running
            await asyncio.sleep(LIST_EVERY)

    def _program_of(self, keeper: Keeper) -> programs.Program | None:
        program = keeper.program
        if program is None or program.program != "api":
            return program
        return msgspec.structs.replace(program, url=url_of(self._settings))

    def _write_list(self, running: list[programs.Program]) -> bool:
        """Write programs.json. Returns False if the write failed.

        A failure is logged once and the write is retried, because a full disk must not stop the service.
        """
        try:
            programs.write(self._settings.run_dir, running)
        except OSError as error:
            if not self._list_failed:
                self._log(f"the list of programs cannot be written ({error.strerror}); retrying")
            self._list_failed = True
            return False
        self._list_failed = False
        return True

    def _log(self, line: str) -> None:
        self._print("up", line)

    def _print(self, program: str, line: str) -> None:
        self._output.line(program, line)


async def is_ready(port: int, url: str) -> bool:
    """Whether /readyz answers 200. Uses a plain socket, so the launcher does not need an HTTP library."""
    host = url.removeprefix("http://").rpartition(":")[0].strip("[]")
    try:
        reader, writer = await asyncio.wait_for(asyncio.open_connection(host, port), 2.0)
    except (OSError, TimeoutError):
        return False
    try:
        writer.write(b"GET /readyz HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")
        status = await asyncio.wait_for(reader.readline(), 2.0)
        return b" 200 " in status
    except (OSError, TimeoutError):
        return False
    finally:
        writer.close()
