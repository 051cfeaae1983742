"""SEC-27: a trainer runs with limits. If memory runs out, the run starts again once, with smaller pieces."""

from __future__ import annotations

import itertools
import json
import os
import signal
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import msgspec
import pytest

from app.runs.run_directory import RunDirectory
from app.training.loop.loop import Training
from app.training.plan.config import MICRO_TOKENS
from app.training.run import limits, sandbox
from app.wire import shortage
from app.wire.trainer import Broke, Done, Note, Phase, TrainEvent, TrainFailed
from app.worker import memory_kills
from app.worker.resources import Resources
from tests.jobs.fixtures import Queue, until
from tests.training import runs
from tests.worker.running import working

pytestmark = pytest.mark.long

TRAINING = {"epochs": 1, "width": 8, "layers": 1, "batch_size": 4, "eval_every": 1000}
MEMORY = 4096  # MiB
linux = pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")


def make(path: Path) -> Path:
    return runs.make(path, "a.csv", runs.table(16), "lstm", training=TRAINING)


@linux
def test_a_trainer_has_limits_and_no_network(tmp_path: Path) -> None:
    with runs.trainer(make(tmp_path), "--memory", str(MEMORY)) as process:
        assert any(event == Phase("training") for event in runs.events(process))
        proc = Path(f"/proc/{process.pid}")
        granted = {line[:26].strip(): line[26:].split()[0] for line in (proc / "limits").read_text().splitlines()}
        assert int(granted["Max data size"]) == MEMORY * 2**20 + limits.SLACK
        assert int(granted["Max file size"]) == limits.LARGEST_FILE
        assert granted["Max processes"] != "unlimited"
        assert int((proc / "oom_score_adj").read_text()) == limits.FIRST_TO_END
        if os.getuid() == 0:  # otherwise, the system may not allow it
            interfaces = [line.split(":")[0].strip() for line in (proc / "net" / "dev").read_text().splitlines()[2:]]
            assert interfaces in ([], ["lo"])
        status = dict(line.split(":\t") for line in (proc / "status").read_text().splitlines())
        assert status["Uid"].split()[0] == str(os.getuid())
        assert status["NoNewPrivs"] == "1"
        assert {int(status[name], 16) & ~0b110 for name in ("CapEff", "CapPrm", "CapInh")} == {0}
        assert granted["Max cpu time"] == "unlimited"


INTRUDER = """
import sys
from pathlib import Path
from app.training import __main__ as trainer
from app.training.run.session import Session

def intrude(self):
    secret = Path(sys.argv[1]).parent / "secret"
    secret.write_text(secret.read_text() + " and changed")

Session.attempt = intrude
sys.exit(trainer.main())
"""


@pytest.mark.skipif(sandbox._version() < sandbox.OLDEST, reason="this system has no Landlock")
def test_a_trainer_cannot_read_or_change_other_files_of_the_data_folder(tmp_path: Path) -> None:
    (tmp_path / "run").mkdir()
    (tmp_path / "secret").write_text("of another owner")
    run = make(tmp_path / "run")
    done = subprocess.run([sys.executable, "-c", INTRUDER, str(run), "--device", "cpu"], capture_output=True, text=True)
    assert done.returncode == 1 and "PermissionError" in done.stderr
    assert (tmp_path / "secret").read_text() == "of another owner"


@linux
def test_a_trainer_ends_when_it_has_used_its_processor_time(tmp_path: Path) -> None:
    with runs.trainer(make(tmp_path), "--processor-seconds", "1") as process:
        assert process.wait(60) == -signal.SIGXCPU


@pytest.mark.parametrize(("setting", "quota", "limit"), [(0, "5", 5), (7, "5", 5), (3, "5", 3)])
def test_a_job_that_exceeds_its_processor_time_fails_at_once(
    queue: Queue, resources: Resources, setting: int, quota: str, limit: int
) -> None:
    job = queue.create(plan={"steps": 10, "die_at": 5, "deaths": 9, "signal": signal.SIGXCPU})
    settings = msgspec.structs.replace(
        resources.settings,
        training_processor_seconds=setting,
        api_keys=f"{job.owner}:secret-of-the-owner",
        key_quotas=f"{job.owner}:processor_seconds={quota}",
    )
    with working(replace(resources, settings=settings)):
        failed = until(lambda: (row := queue.get(job)).ended and row)
    assert failed.error is not None
    assert (failed.status, failed.attempt, failed.error["code"]) == ("failed", 1, "processor_time_exceeded")
    assert f"processor seconds {limit}\n" in RunDirectory(resources.runs, job.id).log.read_text()


def fail_once(monkeypatch: pytest.MonkeyPatch, times: int) -> None:
    """Raise MemoryError in the first `times` attempts."""
    run, count = Training.run, itertools.count()

    def run_or_fail(self: Training) -> None:
        if next(count) < times:
            raise MemoryError
        run(self)

    monkeypatch.setattr(Training, "run", run_or_fail)


def test_a_run_without_enough_memory_starts_again_smaller(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fail_once(monkeypatch, 1)
    run = make(tmp_path)
    assert runs.train(run)[-1] == Broke(shortage.ENDED)
    before = runs.settled(run)
    (run / "resume" / "step-3").mkdir(parents=True)
    events: list[TrainEvent] = runs.train(run)
    after = runs.settled(run)
    assert isinstance(events[-1], Done)
    [note] = [event for event in events if isinstance(event, Note) and event.kind == shortage.NOTE]
    assert note.data == {"micro_tokens": MICRO_TOKENS // shortage.DIVISOR} and "step 0" in note.message
    assert after == before | note.data
    assert not (run / "resume" / "step-3").exists()


def test_a_run_starts_again_only_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fail_once(monkeypatch, 3)
    run = make(tmp_path)
    assert runs.train(run)[-1] == Broke(shortage.ENDED)
    failed = runs.train(run)[-1]
    assert isinstance(failed, TrainFailed) and failed.code == "out_of_memory"


@pytest.fixture
def kills(monkeypatch: pytest.MonkeyPatch) -> None:
    """Treat every killed process as if it had been killed for lack of memory."""
    count = itertools.count()
    monkeypatch.setattr(memory_kills, "count", lambda: next(count))


def test_a_killed_trainer_starts_again_once_with_new_settings(queue: Queue, resources: Resources, kills: None) -> None:
    job = queue.create(plan={"steps": 10, "die_at": 5, "deaths": 1, "micro_tokens": 100})
    with working(resources):
        done = until(lambda: (row := queue.get(job)).ended and row)
    assert (done.status, done.attempt) == ("succeeded", 2)
    assert any("smaller pieces" in event.message for event in queue.events(job))
    marker = json.loads((resources.runs / job.id / shortage.FILE).read_bytes())
    assert marker == {"micro_tokens": 100}


def test_a_trainer_that_is_killed_twice_fails_the_job(queue: Queue, resources: Resources, kills: None) -> None:
    job = queue.create(plan={"steps": 10, "die_at": 5, "deaths": 9, "micro_tokens": 100})
    with working(resources):
        failed = until(lambda: (row := queue.get(job)).ended and row)
    assert failed.error is not None
    assert (failed.status, failed.attempt, failed.error["code"]) == ("failed", 2, "out_of_memory")


def test_the_system_counts_its_kills() -> None:
    assert memory_kills.count() >= 0
