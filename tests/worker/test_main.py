"""Workers as programs that are killed, frozen or duplicated during a job. The fake trainer is a real process."""

from __future__ import annotations

import hashlib
import json
import os
import shlex
import signal
import sqlite3
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from app.jobs.records import Job
from app.registry.service import Registry
from app.worker.resources import Resources
from tests.jobs.fixtures import FAKE, ROOT, Queue, until
from tests.promises import kept
from tests.worker.fake_trainer import finite_numbers

pytestmark = pytest.mark.long

STEPS = 50
PLAN = {"steps": STEPS, "resume_every": 7}


class Programs:
    """Starts the worker programs of a test, and stops them at its end."""

    def __init__(self, resources: Resources) -> None:
        self.resources = resources
        self.running: list[subprocess.Popen[bytes]] = []

    def worker(self, name: str, lease: float = 3.0) -> subprocess.Popen[bytes]:
        settings = self.resources.settings
        env = {name: value for name, value in os.environ.items() if not name.startswith("OSTINATO_")} | {
            "OSTINATO_DATA_DIR": settings.data_dir,
            "OSTINATO_DATABASE_URL": settings.database_url,
            "OSTINATO_STORAGE_URL": settings.storage_url,
            "OSTINATO_LEASE_SECONDS": str(lease),
            "OSTINATO_STOP_SECONDS": "0.5",
            "PYTHONPATH": str(ROOT),
        }
        command = [sys.executable, "-m", "app.worker", "--worker-name", name, "--trainer", shlex.join(FAKE)]
        with (Path(settings.data_dir) / f"{name}.log").open("wb") as log:
            self.running.append(subprocess.Popen(command, cwd=ROOT, env=env, stderr=log))
        return self.running[-1]

    def trainer(self, job: Job) -> int:
        """The process id of the job's running trainer."""
        path = self.resources.trainers.folder / f"{job.id}.json"

        def running() -> int:
            try:
                pid = int(json.loads(path.read_bytes())["pid"])
            except (OSError, ValueError):
                return 0
            return pid if alive(pid) else 0

        return int(until(running))

    def freeze(self, worker: subprocess.Popen[bytes]) -> None:
        """Stop a worker at a moment when it does not hold SQLite's lock, which would block all other writers."""
        while True:
            worker.send_signal(signal.SIGSTOP)
            os.waitpid(worker.pid, os.WUNTRACED)
            if not self._locked():
                return
            worker.send_signal(signal.SIGCONT)

    def _locked(self) -> bool:
        url = self.resources.database.url
        if url.get_backend_name() != "sqlite":
            return False
        with closing(sqlite3.connect(str(url.database), timeout=1, isolation_level=None)) as connection:
            try:
                connection.execute("BEGIN IMMEDIATE")
            except sqlite3.OperationalError:
                return True
            connection.execute("ROLLBACK")
            return False

    def stop(self) -> None:
        for process in self.running:
            if process.poll() is None:
                process.send_signal(signal.SIGCONT)
                process.terminate()
        for process in self.running:
            process.wait(30)


def alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


@pytest.fixture
def programs(resources: Resources) -> Iterator[Programs]:
    programs = Programs(resources)
    yield programs
    programs.stop()


def weights(seed: int) -> str:
    """The weights of an undisturbed training run."""
    chain = "0" * 64
    for step in range(1, STEPS + 1):
        chain = hashlib.sha256(f"{chain} {seed} {step}".encode()).hexdigest()
    return chain


def check_done_once(queue: Queue, registry: Registry, job: Job) -> Job:
    done: Job = until(lambda: (row := queue.get(job)).ended and row)
    assert (done.status, done.error) == ("succeeded", None)
    assert queue.steps(job) == list(range(1, STEPS + 1))
    assert sum(event.kind == "job.ended" for event in queue.events(job)) == 1
    versions = registry.versions(job.publish_name, "alice").items
    assert [version.version for version in versions] == [1]
    stored = b"".join(registry.blobs.open(versions[0].files["model.safetensors"].sha256))
    # Every tensor repeats the hash, so the bytes at the end of the file depend on the shape of the last tensor.
    assert finite_numbers(weights(job.seed)) in stored
    return done


def at_step(queue: Queue, job: Job, step: int) -> None:
    """Wait until the job has reached a step."""
    until(lambda: len(queue.steps(job)) >= step)


def test_killed_workers_and_trainers_change_no_result(queue: Queue, programs: Programs, registry: Registry) -> None:
    job = queue.create(plan=PLAN | {"holds": [10, 30]})
    worker = programs.worker("first")
    at_step(queue, job, 10)
    os.kill(programs.trainer(job), signal.SIGKILL)
    at_step(queue, job, 30)
    orphan = programs.trainer(job)
    worker.kill()
    worker.wait()
    until(lambda: not alive(orphan))  # its standard input has ended
    programs.worker("second")
    done = check_done_once(queue, registry, job)
    assert done.attempt >= 3
    assert done.losses >= 2


def test_the_trainer_of_a_frozen_worker_stops_and_its_late_writes_change_nothing(
    queue: Queue, programs: Programs, registry: Registry
) -> None:
    job = queue.create(plan=PLAN | {"holds": [10, 30]})
    frozen = programs.worker("frozen", lease=2.0)
    at_step(queue, job, 10)
    old = programs.trainer(job)
    attempt = queue.get(job).attempt
    programs.freeze(frozen)
    programs.worker("second", lease=20.0)
    until(lambda: not alive(old))
    until(lambda: queue.get(job).attempt > attempt)
    new = programs.trainer(job)
    frozen.send_signal(signal.SIGCONT)
    log = Path(programs.resources.settings.data_dir) / "frozen.log"
    until(lambda: f"attempt {attempt} ended: lost" in log.read_text())
    assert alive(new)
    at_step(queue, job, 30)
    os.kill(new, signal.SIGUSR1)
    done = check_done_once(queue, registry, job)
    assert done.attempt == attempt + 1


def test_two_workers_do_one_job_once(queue: Queue, programs: Programs, registry: Registry) -> None:
    programs.worker("one", lease=20.0)
    programs.worker("two", lease=20.0)
    job = queue.create(plan=PLAN | {"step_seconds": 0.01})  # slow enough for both to see the job
    done = check_done_once(queue, registry, job)
    assert (done.attempt, done.losses) == (1, 0)


def test_a_worker_that_is_stopped_gives_its_job_back(queue: Queue, programs: Programs, registry: Registry) -> None:
    job = queue.create(plan=PLAN | {"holds": [10]})
    worker = programs.worker("first", lease=20.0)
    at_step(queue, job, 10)
    worker.terminate()
    assert worker.wait(20) == 0
    queued = queue.get(job)
    assert (queued.status, queued.lease_until) == ("queued", None)
    programs.worker("second", lease=20.0)
    done = check_done_once(queue, registry, job)
    assert (done.attempt, done.losses) == (2, 0)


def test_a_frozen_trainer_is_killed_before_the_next_one_starts(
    queue: Queue, programs: Programs, registry: Registry
) -> None:
    job = queue.create(plan=PLAN | {"holds": [10]})
    worker = programs.worker("first")
    at_step(queue, job, 10)
    stuck = programs.trainer(job)
    os.kill(stuck, signal.SIGSTOP)
    worker.kill()
    worker.wait()
    programs.worker("second")
    until(lambda: not alive(stuck))
    check_done_once(queue, registry, job)


def test_cancelling_kills_a_trainer_that_ignores_sigterm(queue: Queue, programs: Programs) -> None:
    programs.worker("first")

    def cancelling() -> float:
        job = queue.create(plan=PLAN | {"holds": [3], "stubborn": True})
        at_step(queue, job, 3)
        pid = programs.trainer(job)
        queue.jobs.cancel(job.id, "alice")
        start = time.monotonic()
        until(lambda: not alive(pid))
        seconds = time.monotonic() - start
        until(lambda: queue.get(job).status == "cancelled")
        return seconds

    kept(2.0, cancelling)


def test_a_restart_of_the_database_loses_nothing(
    queue: Queue, programs: Programs, registry: Registry, request: pytest.FixtureRequest
) -> None:
    if queue.database.dialect != "postgresql":
        pytest.skip("SQLite is not a server")
    cluster = request.getfixturevalue("postgres_cluster")
    job = queue.create(plan=PLAN | {"holds": [10]})
    programs.worker("first", lease=20.0)
    at_step(queue, job, 10)
    cluster.stop("immediate")
    os.kill(programs.trainer(job), signal.SIGUSR1)
    cluster.start()
    done = check_done_once(queue, registry, job)
    assert (done.attempt, done.losses) == (1, 0)


@pytest.mark.parametrize(
    ("variable", "value", "message"),
    [
        ("LEASE_SECOND", "3", "OSTINATO_LEASE_SECONDS"),
        ("STORAGE_URL", "foo://bar", "OSTINATO_STORAGE_URL"),
        ("STORAGE_URL", "az://container", "OSTINATO_STORAGE_URL"),
        ("DATABASE_URL", "nonsense", "OSTINATO_DATABASE_URL"),
        ("DATABASE_URL", "sqlite:///:memory:", "OSTINATO_DATABASE_URL"),
    ],
)
def test_an_impossible_setting_stops_the_start_with_a_plain_message(
    tmp_path: Path, variable: str, value: str, message: str
) -> None:
    env = dict(os.environ) | {"OSTINATO_DATA_DIR": str(tmp_path), f"OSTINATO_{variable}": value}
    command = [sys.executable, "-m", "app.worker"]
    done = subprocess.run(command, cwd=ROOT, env=env, capture_output=True, text=True, timeout=60)
    assert done.returncode == 2
    assert done.stderr.startswith("ostinato worker: ") and message in done.stderr
    assert done.stderr.count("\n") == 1
