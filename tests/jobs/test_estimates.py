"""Dry runs with a fake trainer: their results, their errors, and the removal of their files."""

from __future__ import annotations

import os
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import pytest

from app.api.openai.fine_tuning_estimates import ESTIMATE
from app.db.database import Database
from app.errors import DeadlineExceeded, EngineFailed, InvalidRequest, OstinatoError, Overloaded, Unavailable
from app.files.service import Files
from app.jobs.estimates import YOUNG_SECONDS, EstimateAbandoned, Estimates
from app.jobs.parsing import parse
from app.jobs.request import JobRequest
from app.registry.service import Registry
from app.settings import Settings
from app.storage.blobs import BlobStore
from app.storage.local_cache import LocalCache
from app.wire.estimate import DataSummary, Estimate, EstimateNote, TrainingPlan
from app.wire.trainer import Broke, Estimated, Note, TrainEvent, TrainFailed
from tests.jobs.fixtures import OWNER, Queue, until

# Writes the events in $TORCH_EVENTS to the descriptor, writes what it sees to $TORCH_SEEN, and waits for $TORCH_GO.
FAKE = """
import json, os, pathlib, sys, time
run = next(a for a in sys.argv if "/estimates/" in a)
seen = {"arguments": sys.argv, "environment": dict(os.environ), "spec": json.load(open(run + "/run.json"))}
pathlib.Path(os.environ["TORCH_SEEN"]).write_text(json.dumps(seen))
os.write(int(sys.argv[sys.argv.index("--events-fd") + 1]), os.environ["TORCH_EVENTS"].encode())
while not os.path.exists(os.environ["TORCH_GO"]):
    time.sleep(0.01)
sys.exit(int(os.environ.get("TORCH_CODE", 0)))
"""
PLANS = msgspec.convert(ESTIMATE["plans"], list[TrainingPlan])
PLANNED = Estimate("classification", DataSummary({"train": 9}, {}, {"train": 40}, {}), 300, PLANS, 7, 8, 1.5)
READ = msgspec.structs.replace(PLANNED, plans=[], parameters=0, memory=0, seconds=0.0)


@pytest.fixture
def make(
    tmp_path: Path, settings: Settings, database: Database, registry: Registry, files: Files, blobs: BlobStore
) -> Callable[..., Estimates]:
    """Create `Estimates` whose fake trainer emits the given events, and then ends at once unless `wait` is set."""

    def made(*events: TrainEvent, wait: bool = False, code: int = 0) -> Estimates:
        go = tmp_path / "go"
        if not wait:
            go.touch()
        lines = b"".join(msgspec.json.encode(event) + b"\n" for event in events)
        env = {"TORCH_EVENTS": lines.decode(), "TORCH_GO": str(go), "TORCH_SEEN": str(tmp_path / "seen")}
        env |= {"TORCH_CODE": str(code), "OSTINATO_API_KEYS": "a:secret", "PATH": os.environ["PATH"]}
        cache = LocalCache(settings.data / "cache", blobs, settings.cache_bytes)
        trainer = (sys.executable, "-c", FAKE)
        return Estimates(settings, database, registry, files, blobs, cache, trainer=trainer, env=env)

    return made


@pytest.fixture
def body(queue: Queue) -> JobRequest:
    return parse({"model": "lstm", "training_file": queue.upload()})


def _left(settings: Settings) -> list[Path]:
    return list((settings.scratch_dir / "estimates").iterdir())


def test_an_estimate_has_the_notes_of_the_trainer(
    make: Callable[..., Estimates], body: JobRequest, settings: Settings, queue: Queue, tmp_path: Path
) -> None:
    report = Note("data_report", 0, "info", "9 rows", {"empty": 1})
    notes = Note("settled", 0, "info", "lstm"), report, Note("duplicates", 0, "warn", "2 rows are duplicates")
    done = make(*notes, Estimated(PLANNED)).estimate(body, OWNER, 60.0)
    remarks = [EstimateNote("warn", "duplicates", "2 rows are duplicates")]
    assert done == msgspec.structs.replace(PLANNED, notes=remarks, report={"empty": 1})
    assert _left(settings) == [] and queue.jobs.list(OWNER).items == []
    seen: dict[str, Any] = msgspec.json.decode((tmp_path / "seen").read_bytes())
    assert "--estimate" in seen["arguments"] and seen["spec"]["model"] == "lstm"
    assert "OSTINATO_API_KEYS" not in seen["environment"] and "TORCH_GO" in seen["environment"]


def test_the_data_is_shown_while_the_trainer_times_its_steps(
    make: Callable[..., Estimates], body: JobRequest, tmp_path: Path
) -> None:
    """The fake trainer waits until the data has been shown."""
    shown: list[Estimate] = []

    def show(estimate: Estimate) -> None:
        shown.append(estimate)
        (tmp_path / "go").touch()

    events = Note("data_report", 0, "info", "9 rows", {"empty": 1}), Estimated(READ), Estimated(PLANNED)
    done = make(*events, wait=True).estimate(body, OWNER, 60.0, show=show)
    assert shown == [msgspec.structs.replace(READ, report={"empty": 1})]
    assert done == msgspec.structs.replace(PLANNED, report={"empty": 1})


@pytest.mark.parametrize(
    ("event", "code", "error"),
    [
        (TrainFailed("invalid_training_file", "no rows", "training_file"), 0, InvalidRequest),
        (Broke("KeyError"), 1, EngineFailed),
        (Note("any", 0, "info", "killed after this"), -9, EngineFailed),
        (Note("any", 0, "info", "the disk is full"), 74, Unavailable),
        (Estimated(READ), 0, EngineFailed),
    ],
)
def test_errors_of_the_trainer_are_those_of_the_request(
    make: Callable[..., Estimates],
    body: JobRequest,
    settings: Settings,
    event: TrainEvent,
    code: int,
    error: type[OstinatoError],
) -> None:
    with pytest.raises(error) as caught:
        make(event, code=code).estimate(body, OWNER, 60.0)
    if error is InvalidRequest:
        failed = caught.value
        assert (failed.code, failed.message, failed.param) == ("invalid_training_file", "no rows", "training_file")
    assert _left(settings) == []


def test_a_request_that_no_job_could_have_starts_no_trainer(
    make: Callable[..., Estimates], tmp_path: Path, settings: Settings
) -> None:
    with pytest.raises(InvalidRequest, match="training_file"):
        make().estimate(parse({"model": "lstm", "training_file": "file-missing"}), OWNER, 60.0)
    assert not (tmp_path / "seen").exists()


def test_there_is_one_estimate_at_a_time(
    make: Callable[..., Estimates], body: JobRequest, tmp_path: Path, settings: Settings
) -> None:
    estimates, results = make(Estimated(PLANNED), wait=True), []
    thread = threading.Thread(target=lambda: results.append(estimates.estimate(body, OWNER, 60.0)))
    thread.start()
    until((tmp_path / "seen").exists)
    with pytest.raises(Overloaded) as refused:
        estimates.estimate(body, OWNER, 60.0)
    assert refused.value.retry_after
    (tmp_path / "go").touch()
    thread.join()
    assert results == [PLANNED]
    assert estimates.estimate(body, OWNER, 60.0) == PLANNED


def test_an_estimate_ends_when_its_time_is_over_its_client_has_left_or_the_service_stops(
    make: Callable[..., Estimates], body: JobRequest, tmp_path: Path, settings: Settings
) -> None:
    estimates = make(Estimated(PLANNED), wait=True)
    with pytest.raises(DeadlineExceeded):
        estimates.estimate(body, OWNER, 0.0)
    with pytest.raises(EstimateAbandoned):
        estimates.estimate(body, OWNER, 60.0, (tmp_path / "seen").exists)
    estimates.close()
    with pytest.raises(Unavailable, match="stopping"):
        estimates.estimate(body, OWNER, 60.0)
    assert _left(settings) == []


def test_directories_of_killed_processes_are_removed(
    make: Callable[..., Estimates], body: JobRequest, settings: Settings
) -> None:
    folder = settings.scratch_dir / "estimates"
    for name in ("old", "young"):
        (folder / name / "inputs").mkdir(parents=True)
    old = (folder / "old").stat().st_mtime - 2 * YOUNG_SECONDS
    os.utime(folder / "old", (old, old))
    make(Estimated(PLANNED)).estimate(body, OWNER, 60.0)
    assert [path.name for path in _left(settings)] == ["young"]
