"""The launcher starts, restarts, lists and stops fake programs, and leaves no orphans."""

from __future__ import annotations

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
from app.launcher import launcher, programs
from app.launcher.preparation import StartRefused, lock
from tests.promises import kept

DEADLINE = 60.0
DRIVER = """
import asyncio, os, sys
from app import settings
from app.launcher.launcher import Launcher
from app.launcher.plan import LaunchPlan
from app.launcher.preparation import lock, prepare_folders
from app.launcher.supervision import Command
data, script, migration = sys.argv[1:4]
s = settings.load({}, data_dir=data, port=int(sys.argv[4]))
prepare_folders(s)
grace = 1.0 if os.path.exists(os.path.join(data, "stubborn")) else 15.0
program = lambda name: Command(name, (sys.executable, script, name, data), grace)
migrate = Command("migrate", (sys.executable, "-c", migration), grace)
plan = LaunchPlan(tuple(map(program, ("engine", "api", "worker"))), migrate)
with lock(s.run_dir):
    sys.exit(asyncio.run(Launcher(s, plan, dict(os.environ)).run()))
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
    while not (result := look()):
        assert time.monotonic() < deadline, "it did not happen in time"
        time.sleep(0.02)
    return result


class Up:
    """A launcher in a separate process, which runs fake programs."""

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
        """Wait until all three programs handle signals. Returns the list of programs."""
        eventually(lambda: len(list(self.data.glob("up-*"))) == 3)
        return eventually(lambda: rows if len(rows := self.listed()) >= 3 else None)

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
    assert set(listed["api"]) == {"program", "pid", "started_at", "restarts", "job", "attempt", "url", "parent"}
    code, output = one.end()
    assert code == 0
    assert gone([row["pid"] for row in listed.values()])
    assert one.listed() == {}
    assert (one.data / "stopped").read_text().split()[-1] == "engine"  # after the programs that use it
    for program in listed:
        assert f"{program:<7} | here I am" in output


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_stops_it(up: Callable[..., Up], number: int) -> None:
    one = up()
    one.running()
    assert one.end(number)[0] == 0


def test_a_crashed_program_is_restarted_quickly(up: Callable[..., Up]) -> None:
    one = up()
    one.running()
    restarted: list[dict[str, Any]] = []

    def restart() -> float:
        before = one.listed()["engine"]
        os.kill(before["pid"], signal.SIGKILL)
        started = time.monotonic()
        after = eventually(lambda: (row := one.listed().get("engine")) and row["pid"] != before["pid"] and row)
        assert after["started_at"] > before["started_at"]
        restarted.append(after)
        return time.monotonic() - started

    kept(2.0, restart)
    assert [row["restarts"] for row in restarted] == list(range(1, len(restarted) + 1))
    assert "killed by SIGKILL" in one.end()[1]


@pytest.mark.parametrize("program", ["engine", "worker"])
def test_a_program_that_rejects_its_settings_stops_everything(up: Callable[..., Up], program: str) -> None:
    one = up(refused_by=program)
    output, _ = one.process.communicate(timeout=DEADLINE)
    assert one.process.returncode == 2
    assert f"up      | the {program} rejected its settings (exit status 2); see its error above" in output
    assert "restarting" not in output and one.listed() == {}


def test_a_program_that_has_run_is_restarted_even_if_it_rejects_its_settings(up: Callable[..., Up]) -> None:
    one = up()
    before = one.running()["engine"]
    (one.data / "refused-by-engine").touch()  # only once, like a GPU that is briefly unavailable
    os.kill(before["pid"], signal.SIGKILL)
    eventually(lambda: (row := one.listed().get("engine")) and row["restarts"] == 2)
    code, output = one.end()
    assert code == 0 and "ended (exit status 2); restarting in" in output


def test_a_list_that_cannot_be_written_stops_nothing(up: Callable[..., Up]) -> None:
    one = up()
    engine = one.running()["engine"]["pid"]
    lines: list[str] = []
    reader = threading.Thread(target=lambda: lines.extend(iter(one.process.stdout.readline, "")), daemon=True)
    reader.start()
    target = one.data / "run" / "programs.json"
    target.unlink()
    (target / "in-the-way").mkdir(parents=True)
    os.kill(engine, signal.SIGKILL)
    eventually(lambda: any("the list of programs cannot be written" in line for line in lines))
    (target / "in-the-way").rmdir()
    target.rmdir()
    assert eventually(lambda: one.listed().get("engine"))["restarts"] == 1
    one.process.send_signal(signal.SIGTERM)
    assert one.process.wait(DEADLINE) == 0 and one.listed() == {}
    reader.join(DEADLINE)


def test_kill_9_leaves_no_orphan(up: Callable[..., Up]) -> None:
    one = up()
    pids = [row["pid"] for row in one.running().values()]
    one.end(signal.SIGKILL)
    eventually(lambda: gone(pids))


def test_a_program_that_ignores_sigterm_is_killed(up: Callable[..., Up]) -> None:
    one = up(stubborn=True)
    listed = one.running()
    code, output = one.end()
    assert code == 0
    assert gone([row["pid"] for row in listed.values()])
    assert "did not stop within 1 s: killed" in output


def test_a_launcher_without_a_port_leaves_no_folder(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        chosen = settings.load({}, data_dir=str(tmp_path / "data"), port=taken.getsockname()[1])
        with pytest.raises(StartRefused, match="choose another port with --port"):
            launcher.start_up(chosen)
    assert not (tmp_path / "data").exists()


def test_a_second_launcher_on_the_same_folder_is_refused(up: Callable[..., Up], tmp_path: Path) -> None:
    one = up()
    one.running()
    with socket.create_server(("127.0.0.1", 0)) as taken:  # the error names the folder, not the port
        chosen = settings.load({}, data_dir=str(one.data), port=taken.getsockname()[1])
        with pytest.raises(StartRefused, match=f"is already running on .*process {one.process.pid}.*--data-dir"):
            launcher.start_up(chosen)
    one.end()
    with lock(chosen.run_dir):  # released
        pass


def test_a_failed_migration_stops_the_start_with_the_reason(up: Callable[..., Up]) -> None:
    one = up(migration="import sys; sys.exit('no such database')")
    output, _ = one.process.communicate(timeout=DEADLINE)
    assert one.process.returncode == 1
    assert "migrate | no such database" in output
    assert "could not be prepared (exit status 1)" in output


def test_a_migration_that_rejects_the_settings_ends_with_status_2(up: Callable[..., Up]) -> None:
    one = up(migration="import sys; sys.exit(2)")
    output, _ = one.process.communicate(timeout=DEADLINE)
    assert one.process.returncode == 2 and "could not be prepared (exit status 2)" in output


def test_trainers_are_listed_while_they_run(up: Callable[..., Up], tmp_path: Path) -> None:
    one = up()
    one.running()

    def run_trainer() -> float:
        trainer = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)", "app.training"])
        try:
            entry = {"pid": trainer.pid, "started_at": time.time(), "job": "ftjob-1", "attempt": 2}
            started = time.monotonic()
            (one.data / "run" / "trainers" / "ftjob-1.json").write_text(json.dumps(entry))
            row = eventually(lambda: (row := one.listed().get("trainer")) and row["pid"] == trainer.pid and row)
            seconds = time.monotonic() - started
            assert (row["job"], row["attempt"]) == ("ftjob-1", 2)
        finally:
            trainer.kill()
            trainer.wait()
        ended = time.monotonic()
        eventually(lambda: "trainer" not in one.listed())
        return max(seconds, time.monotonic() - ended)

    kept(1.0, run_trainer)
