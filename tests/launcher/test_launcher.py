"""The launcher with stand-in programs: starting, restarting, listing, stopping, and dying without orphans."""

from __future__ import annotations

import asyncio
import errno
import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from app import settings
from app.launcher import backoff, launcher, programs
from app.launcher.supervision import Command, Keeper
from app.settings import SettingError
from tests.promises import kept

DEADLINE = 60.0
DRIVER = """
import asyncio, os, sys
from app import settings
from app.launcher import launcher
from app.launcher.supervision import Command
data, script, migration = sys.argv[1:4]
s = settings.load({}, data_dir=data, port=int(sys.argv[4]))
launcher.prepare_folders(s)
grace = 1.0 if os.path.exists(os.path.join(data, "stubborn")) else 15.0
program = lambda name: Command(name, (sys.executable, script, name, data), grace)
migrate = Command("migrate", (sys.executable, "-c", migration), grace)
plan = launcher.LaunchPlan(tuple(map(program, ("engine", "api", "worker"))), migrate)
with launcher.lock(s.run_dir):
    sys.exit(asyncio.run(launcher.Launcher(s, plan, dict(os.environ)).run()))
"""
STAND_IN = """
import os, signal, sys, time
name, data = sys.argv[1:3]
print("here I am", flush=True)
def stop(*_):
    with open(os.path.join(data, "stopped"), "a") as file:
        file.write(name + "\\n")
    sys.exit(0)
if name != "engine" or not os.path.exists(os.path.join(data, "stubborn")):
    signal.signal(signal.SIGTERM, stop)
else:
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
refusal = os.path.join(data, "refused-by-" + name)
if os.path.exists(refusal):
    os.remove(refusal)
    sys.exit(2)
open(os.path.join(data, "up-" + name), "w").close()
while True:
    time.sleep(0.02)
"""


def eventually(look: Callable[[], Any], seconds: float = DEADLINE) -> Any:
    deadline = time.monotonic() + seconds
    while not (found := look()):
        assert time.monotonic() < deadline, "it did not happen in time"
        time.sleep(0.02)
    return found


class Up:
    """A launcher in a process of its own, with stand-ins for the programs."""

    def __init__(self, folder: Path, migration: str = "pass", refused_by: str = "", stubborn: bool = False) -> None:
        self.data = folder / "data"
        self.data.mkdir(exist_ok=True)
        if stubborn:
            (self.data / "stubborn").touch()
        if refused_by:
            (self.data / f"refused-by-{refused_by}").touch()
        script = folder / "stand_in.py"
        script.write_text(STAND_IN)
        self.process = subprocess.Popen(
            [sys.executable, "-c", DRIVER, str(self.data), str(script), migration, "1"],
            stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
        )  # fmt: skip

    def listed(self) -> dict[str, dict[str, Any]]:
        try:
            rows = json.loads((self.data / "run" / "programs.json").read_bytes())
        except FileNotFoundError:
            return {}
        return {row["program"]: row for row in rows}

    def running(self) -> dict[str, dict[str, Any]]:
        """What is listed, once all three listen to signals."""
        eventually(lambda: len(list(self.data.glob("up-*"))) == 3)
        return eventually(lambda: found if len(found := self.listed()) >= 3 else None)

    def end(self, number: int = signal.SIGTERM) -> tuple[int, str]:
        self.process.send_signal(number)
        output, _ = self.process.communicate(timeout=DEADLINE)
        return self.process.returncode, output


@pytest.fixture
def up(tmp_path: Path) -> Iterator[Callable[..., Up]]:
    started: list[Up] = []

    def start(**options: Any) -> Up:
        started.append(Up(tmp_path, **options))
        return started[-1]

    yield start
    for one in started:
        one.process.kill()
        one.process.communicate()


def gone(pids: list[int]) -> bool:
    return not any(programs.alive(pid) for pid in pids)


def test_it_lists_what_runs_and_stops_in_order(up: Callable[..., Up]) -> None:
    one = up()
    listed = one.running()
    assert set(listed) == {"api", "engine", "worker"}
    assert set(listed["api"]) == {"program", "pid", "started_at", "restarts", "job", "attempt"}
    code, output = one.end()
    assert code == 0
    assert gone([row["pid"] for row in listed.values()])
    assert one.listed() == {}
    assert (one.data / "stopped").read_text().split()[-1] == "engine"  # after those that use it
    for program in listed:
        assert f"{program:<7} | here I am" in output


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_stops_it(up: Callable[..., Up], number: int) -> None:
    one = up()
    one.running()
    assert one.end(number)[0] == 0


def test_a_fallen_program_is_started_again_quickly(up: Callable[..., Up]) -> None:
    one = up()
    one.running()
    falls: list[dict[str, Any]] = []

    def falling() -> float:
        before = one.listed()["engine"]
        os.kill(before["pid"], signal.SIGKILL)
        began = time.monotonic()
        after = eventually(lambda: (row := one.listed().get("engine")) and row["pid"] != before["pid"] and row)
        assert after["started_at"] > before["started_at"]
        falls.append(after)
        return time.monotonic() - began

    kept(2.0, falling)
    assert [row["restarts"] for row in falls] == list(range(1, len(falls) + 1))
    assert "killed by SIGKILL" in one.end()[1]


@pytest.mark.parametrize("program", ["engine", "worker"])
def test_settings_that_a_program_refuses_end_it(up: Callable[..., Up], program: str) -> None:
    one = up(refused_by=program)
    output, _ = one.process.communicate(timeout=DEADLINE)
    assert one.process.returncode == 2
    assert f"up      | the {program} refuses its settings (exit status 2); the reason is above" in output
    assert "starts again" not in output and one.listed() == {}


def test_a_program_that_has_run_is_tried_again_whatever_it_refuses(up: Callable[..., Up]) -> None:
    one = up()
    before = one.running()["engine"]
    (one.data / "refused-by-engine").touch()  # once, as of a card that is away for a moment
    os.kill(before["pid"], signal.SIGKILL)
    eventually(lambda: (row := one.listed().get("engine")) and row["restarts"] == 2)
    code, output = one.end()
    assert code == 0 and "ended (exit status 2); starts again in" in output


def test_a_program_that_cannot_be_started_is_tried_again(monkeypatch: pytest.MonkeyPatch) -> None:
    said: list[str] = []
    full = iter([OSError(errno.EAGAIN, "Resource temporarily unavailable"), OSError(errno.ENOMEM, "No memory")])
    start = subprocess.Popen

    def popen(*arguments: Any, **options: Any) -> Any:
        if (fault := next(full, None)) is not None:
            raise fault
        return start(*arguments, **options)

    async def scenario() -> None:
        keeper = Keeper(
            Command("worker", (sys.executable, "-c", "input()"), 1.0), {}, lambda _, line: said.append(line)
        )
        monkeypatch.setattr(subprocess, "Popen", popen)
        running = asyncio.create_task(keeper.run())
        while keeper.program is None:
            assert not running.done()
            await asyncio.sleep(0.01)
        assert keeper.program.restarts == 2
        await keeper.stop()
        await running

    asyncio.run(asyncio.wait_for(scenario(), DEADLINE))
    assert said[:2] == [
        "could not be started (Resource temporarily unavailable); starts again in 0.1 s",
        "could not be started (No memory); starts again in 0.2 s",
    ]


def test_a_list_that_cannot_be_written_stops_nothing(up: Callable[..., Up]) -> None:
    one = up()
    engine = one.running()["engine"]["pid"]
    said: list[str] = []
    reader = threading.Thread(target=lambda: said.extend(iter(one.process.stdout.readline, "")), daemon=True)
    reader.start()
    target = one.data / "run" / "programs.json"
    target.unlink()
    (target / "in-the-way").mkdir(parents=True)
    os.kill(engine, signal.SIGKILL)
    eventually(lambda: any("the list of programs cannot be written" in line for line in said))
    (target / "in-the-way").rmdir()
    target.rmdir()
    assert eventually(lambda: one.listed().get("engine"))["restarts"] == 1
    one.process.send_signal(signal.SIGTERM)
    assert one.process.wait(DEADLINE) == 0 and one.listed() == {}
    reader.join(DEADLINE)


def test_killed_with_9_it_leaves_no_orphan(up: Callable[..., Up]) -> None:
    one = up()
    pids = [row["pid"] for row in one.running().values()]
    one.end(signal.SIGKILL)
    eventually(lambda: gone(pids))


def test_what_will_not_stop_is_killed(up: Callable[..., Up]) -> None:
    one = up(stubborn=True)
    listed = one.running()
    code, output = one.end()
    assert code == 0
    assert gone([row["pid"] for row in listed.values()])
    assert "did not stop within 1 s: killed" in output


def test_a_second_launcher_on_the_same_folder_is_refused(up: Callable[..., Up], tmp_path: Path) -> None:
    one = up()
    one.running()
    chosen = settings.load({}, data_dir=str(one.data), port=0)
    with pytest.raises(launcher.StartRefused, match=f"already runs on .*process {one.process.pid}.*--data-dir"):
        launcher.start_up(chosen)
    one.end()
    with launcher.lock(chosen.run_dir):  # free again
        pass


def test_a_failed_migration_ends_it_with_the_reason(up: Callable[..., Up]) -> None:
    one = up(migration="import sys; sys.exit('no such database')")
    output, _ = one.process.communicate(timeout=DEADLINE)
    assert one.process.returncode == 1
    assert "migrate | no such database" in output
    assert "could not be prepared (exit status 1)" in output


def test_a_migration_that_refuses_the_settings_ends_it_likewise(up: Callable[..., Up]) -> None:
    one = up(migration="import sys; sys.exit(2)")
    output, _ = one.process.communicate(timeout=DEADLINE)
    assert one.process.returncode == 2 and "could not be prepared (exit status 2)" in output


def test_trainers_are_listed_while_they_live(up: Callable[..., Up], tmp_path: Path) -> None:
    one = up()
    one.running()

    def living() -> float:
        trainer = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)", "app.training"])
        try:
            entry = {"pid": trainer.pid, "started_at": time.time(), "job": "ftjob-1", "attempt": 2}
            began = time.monotonic()
            (one.data / "run" / "trainers" / "ftjob-1.json").write_text(json.dumps(entry))
            row = eventually(lambda: (row := one.listed().get("trainer")) and row["pid"] == trainer.pid and row)
            seconds = time.monotonic() - began
            assert (row["job"], row["attempt"]) == ("ftjob-1", 2)
        finally:
            trainer.kill()
            trainer.wait()
        ended = time.monotonic()
        eventually(lambda: "trainer" not in one.listed())
        return max(seconds, time.monotonic() - ended)

    kept(1.0, living)


def test_a_listed_process_that_is_no_trainer_is_not_believed(tmp_path: Path) -> None:
    (tmp_path / "trainers").mkdir()
    (tmp_path / "trainers" / "a.json").write_text(json.dumps({"pid": os.getpid(), "started_at": 0.0, "job": "a"}))
    (tmp_path / "trainers" / "b.json").write_text("{half")
    assert programs.trainers(tmp_path) == []


def test_the_list_is_read_back_without_the_dead(tmp_path: Path) -> None:
    ended = subprocess.Popen([sys.executable, "-c", ""])
    ended.wait()
    mine = programs.Program("api", os.getpid(), 1.0)
    programs.write(tmp_path, [mine, programs.Program("engine", ended.pid, 1.0)])
    assert programs.read(tmp_path) == [mine]
    assert list(tmp_path.iterdir()) == [tmp_path / "programs.json"]


def test_pauses_grow_and_are_forgotten() -> None:
    assert backoff.delay(1) + 0.05 <= 0.2
    assert [backoff.delay(n) for n in (1, 2, 3)] == [0.1, 0.2, 0.4]
    assert backoff.delay(50) == backoff.LONGEST
    assert backoff.falls(5, lived=1.0) == 6
    assert backoff.falls(5, lived=backoff.STEADY) == 1


def test_a_taken_port_is_said_plainly() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        with pytest.raises(launcher.StartRefused, match="choose another with --port"):
            launcher.free_port(settings.load({}, port=taken.getsockname()[1]))
    for host in ("127.0.0.1", "::1", "[::1]") if _has_ipv6() else ("127.0.0.1",):
        assert launcher.free_port(settings.load({}, host=host, port=0)) > 0


def _has_ipv6() -> bool:
    try:
        with socket.socket(socket.AF_INET6) as probe:
            probe.bind(("::1", 0))
    except OSError:
        return False
    return True


def test_the_command_line_reaches_the_children() -> None:
    chosen = settings.load({}, host="127.0.0.1", port=9, data_dir="/tmp/x")
    told = launcher.child_environment(chosen, {"OSTINATO_PORT": "1", "PATH": "/bin"})
    assert (told["OSTINATO_PORT"], told["OSTINATO_DATA_DIR"], told["PATH"]) == ("9", "/tmp/x", "/bin")
    assert settings.load(told).port == 9


def test_programs_can_be_left_out() -> None:
    chosen = settings.load({})
    assert [c.name for c in launcher.plan(chosen, without=["worker"]).programs] == ["engine", "api"]
    with pytest.raises(SettingError, match="engine, api or worker"):
        launcher.plan(chosen, without=["cook"])


def test_several_api_processes_are_so_many_programs() -> None:
    chosen = settings.load({"OSTINATO_API_PROCESSES": "3"})
    assert [c.name for c in launcher.plan(chosen).programs] == ["engine", "api", "api", "api", "worker"]
