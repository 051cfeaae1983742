"""`ostinato up`: starts, watches, restarts and stops the programs of one machine.

Knows the programs' names and arguments and the order of starting and stopping; knows nothing of models or requests.
"""

from __future__ import annotations

import asyncio
import contextlib
import fcntl
import os
import signal
import socket
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from subprocess import SubprocessError
from typing import TextIO

import msgspec

from app.binding import address_of, check_bind
from app.errors import OstinatoError
from app.launcher import programs
from app.launcher.supervision import Child, Command, Keeper, describe, ending
from app.settings import PREFIX, REFUSED, SettingError, Settings
from app.wire import socket_folder as private

API_GRACE = 15.0  # open requests may finish
ENGINE_GRACE = 5.0
WORKER_EXTRA = 5.0  # beyond the time that its trainers have to save
LIST_EVERY = 0.2  # seconds between two looks at the running programs
WIDTH = 7


class StartRefused(OstinatoError):
    """The service cannot start as asked; the message says what would let it."""

    code = "start_refused"


def start_up(settings: Settings, *, demo: bool = False, without: Sequence[str] = ()) -> int:
    """Run the service until it is told to stop; the exit status. Raises StartRefused, NotPrivate or SettingError
    before that."""
    check_bind(settings)
    settings = msgspec.structs.replace(settings, port=free_port(settings))
    prepare_folders(settings)
    with lock(settings.run_dir):
        launcher = Launcher(
            settings, plan(settings, demo=demo, without=without), child_environment(settings, os.environ)
        )
        return asyncio.run(launcher.run())


def free_port(settings: Settings) -> int:
    """The port to bind, known to be free; a free one for port 0."""
    family, address = address_of(settings)
    with socket.socket(family, socket.SOCK_STREAM) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(address)
        except OSError as error:
            raise StartRefused(
                f"cannot listen on {settings.host}:{settings.port} ({error.strerror}); "
                "stop what runs there, or choose another with --port"
            ) from None
        return int(probe.getsockname()[1])


def prepare_folders(settings: Settings) -> None:
    try:
        for folder in (settings.data, settings.run_dir, settings.run_dir / "trainers"):
            folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        private.make(settings.socket_dir)
    except OSError as error:
        raise StartRefused(f"cannot make {error.filename}: {error.strerror}; choose a folder with --data-dir") from None


@contextlib.contextmanager
def lock(run_dir: Path) -> Iterator[None]:
    """One launcher a data folder. The system lets go of the lock when its holder dies."""
    with (run_dir / "lock").open("a+") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            file.seek(0)
            raise StartRefused(
                f"`ostinato up` already runs on {run_dir.parent} (process {file.read().strip() or 'unknown'}); "
                "stop it first, or choose another folder with --data-dir"
            ) from None
        file.truncate(0)
        file.write(f"{os.getpid()}\n")
        file.flush()
        yield


def child_environment(settings: Settings, environment: Mapping[str, str]) -> dict[str, str]:
    """What the children are told, where a command line may have overruled the environment."""
    told = {"HOST": settings.host, "PORT": str(settings.port), "DATA_DIR": str(settings.data)}
    return {**environment, **{PREFIX + name: value for name, value in told.items()}}


@dataclass(frozen=True)
class LaunchPlan:
    """What to run: `programs` are kept running; `migration` must succeed before any but the engine; `demo` comes once,
    when all is ready."""

    programs: tuple[Command, ...]
    migration: Command
    demo: Command | None = None


def plan(settings: Settings, *, demo: bool = False, without: Sequence[str] = ()) -> LaunchPlan:
    python = (sys.executable, "-m")
    socket_path = str(settings.socket_dir / "engine-0.sock")
    known = (
        Command("engine", (*python, "app.engine", "--socket", socket_path), ENGINE_GRACE),
        *[Command("api", (*python, "app.api"), API_GRACE)] * settings.api_processes,  # they share the port
        Command("worker", (*python, "app.worker"), settings.stop_seconds + WORKER_EXTRA),
    )
    if unknown := set(without) - {command.name for command in known}:
        raise SettingError(f"--without {min(unknown)}: can be engine, api or worker")
    return LaunchPlan(
        programs=tuple(command for command in known if command.name not in without),
        migration=Command("migrate", (*python, "app.cli", "migrate", "--quiet"), ENGINE_GRACE),
        demo=Command("demo", (*python, "app.demo.demo", "--url", url_of(settings)), ENGINE_GRACE) if demo else None,
    )


def url_of(settings: Settings) -> str:
    """Where this machine reaches the API."""
    host = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(settings.host, settings.host)
    return f"http://[{host}]:{settings.port}" if ":" in host else f"http://{host}:{settings.port}"


class Launcher:
    """The running service."""

    def __init__(
        self, settings: Settings, plan: LaunchPlan, environment: Mapping[str, str], out: TextIO = sys.stdout
    ) -> None:
        self._settings = settings
        self._plan = plan
        self._environment = environment
        self._out = out
        self._keepers: list[Keeper] = []
        self._signals = 0
        self._status = 0
        self._unwritten = False  # the list of programs, when it was tried last
        self._stop = asyncio.Event()

    async def run(self) -> int:
        loop = asyncio.get_running_loop()
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            loop.add_signal_handler(number, self._signalled)
        self._greet()
        listing = asyncio.create_task(self._list())
        # the engine needs no database, and takes longest to start
        running = self._keep("engine")
        try:
            if not await self._migrated():
                return self._status or 1
            running += self._keep("api", "worker")
            watching = asyncio.create_task(self._welcome())
            await self._stop.wait()
            watching.cancel()
            self._tell("stopping: requests are answered, trainings saved (a second Ctrl+C ends all at once)")
            return self._status
        finally:
            await self._stop_all(running)
            listing.cancel()
            self._write([])

    def _keep(self, *names: str) -> list[asyncio.Task[None]]:
        fresh = [Keeper(c, self._environment, self._say) for c in self._plan.programs if c.name in names]
        self._keepers += fresh
        return [asyncio.create_task(self._watch(keeper)) for keeper in fresh]

    async def _watch(self, keeper: Keeper) -> None:
        if not await keeper.run():
            self._status = REFUSED
            self._tell(f"the {keeper.command.name} refuses its settings ({ending(REFUSED)}); the reason is above")
            self._stop.set()

    async def _stop_all(self, running: list[asyncio.Task[None]]) -> None:
        """First those that take work, then the one that does it: open requests end with an answer."""
        for names in ({"api", "worker"}, {"engine"}):
            await asyncio.gather(*(keeper.stop() for keeper in self._keepers if keeper.command.name in names))
        for fault in await asyncio.gather(*running, return_exceptions=True):
            if isinstance(fault, Exception):
                self._tell(f"a program was watched no more ({fault!r})")

    def _signalled(self) -> None:
        self._signals += 1
        self._stop.set()
        if self._signals > 1:
            for keeper in self._keepers:
                keeper.kill()

    async def _migrated(self) -> bool:
        try:
            child = Child(self._plan.migration, self._environment, self._say)
        except (OSError, SubprocessError) as error:
            self._tell(f"the database could not be prepared: its program could not be started ({describe(error)})")
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
            self._tell(f"the database could not be prepared ({ending(code)}); the reason is above")
        return code == 0

    async def _welcome(self) -> None:
        """Say so when requests are welcome; then queue the demo."""
        if not any(command.name == "api" for command in self._plan.programs):
            return
        url = url_of(self._settings)
        while not await ready(self._settings.port, url):  # noqa: ASYNC110  (another process's doing)
            await asyncio.sleep(0.1)
        self._tell(f"ready at {url}   (API reference: {url}/docs)")
        if self._plan.demo:
            try:
                code = await Child(self._plan.demo, self._environment, self._say).wait()
                how = ending(code) if code else ""
            except (OSError, SubprocessError) as error:
                how = describe(error)
            if how:
                self._tell(f"the demo could not be queued ({how}); the service runs on without it")

    async def _list(self) -> None:
        """Keep programs.json true."""
        written: list[programs.Program] | None = None
        while True:
            listed = [p for p in (keeper.program for keeper in self._keepers) if p and programs.alive(p.pid)]
            listed += programs.trainers(self._settings.run_dir)
            if listed != written and self._write(listed):
                written = listed
            await asyncio.sleep(LIST_EVERY)

    def _write(self, listed: list[programs.Program]) -> bool:
        """Whether it is written: a full disk must end no program, and has room again some day."""
        try:
            programs.write(self._settings.run_dir, listed)
        except OSError as error:
            if not self._unwritten:
                self._tell(f"the list of programs cannot be written ({error.strerror}); it is tried again")
            self._unwritten = True
            return False
        self._unwritten = False
        return True

    def _greet(self) -> None:
        self._tell(f"starting on {self._settings.data}   (stop with Ctrl+C)")

    def _tell(self, line: str) -> None:
        self._say("up", line)

    def _say(self, program: str, line: str) -> None:
        if self._settings.log_format == "json":
            line = line if line.startswith("{") else msgspec.json.encode({"program": program, "message": line}).decode()
        else:
            line = f"{program:<{WIDTH}} | {line}"
        with contextlib.suppress(BrokenPipeError):
            print(line, file=self._out, flush=True)


async def ready(port: int, url: str) -> bool:
    """Whether /readyz answers 200 (asked by hand: this process loads no HTTP library)."""
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
