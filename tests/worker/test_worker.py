"""A worker in this process with a trainer that is a real child: every end that a training can have."""

from __future__ import annotations

import errno
import json
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import msgspec
import pytest
from sqlalchemy import update

from app import telemetry
from app.db.database import Database, DatabaseUnavailable
from app.db.tables import JobRow
from app.errors import CheckpointInvalid
from app.registry.service import Registry
from app.storage.blobs import BlobStore, StorageUnavailable
from app.worker import attempt, workplace
from app.worker import publish as publish_step
from app.worker.run_directory import RunBusy, RunDirectory
from app.worker.worker import Worker
from app.worker.workplace import Workplace
from tests.checkpoints import make_checkpoint, publish
from tests.jobs.fixtures import Queue, until
from tests.promises import kept

LONG = {"steps": 2000, "step_seconds": 0.02}


@contextmanager
def working(place: Workplace) -> Iterator[Worker]:
    """A worker in a thread; stopped at the end."""
    worker = Worker(place, "here")
    thread = threading.Thread(target=worker.run)
    thread.start()
    try:
        yield worker
    finally:
        worker.stop()
        thread.join(30)
        assert not thread.is_alive()


def training(queue: Queue, job: Any, step: int = 3) -> Callable[[], bool]:
    return lambda: len(queue.steps(job)) >= step


@pytest.fixture(autouse=True)
def _quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(workplace, "FIRST_DELAY", 0.01)


def test_the_log_of_a_job_can_be_found_by_the_request_that_made_it(
    queue: Queue, place: Workplace, caplog: pytest.LogCaptureFixture
) -> None:
    with telemetry.about("-odd:1"):
        job = queue.ask(plan={"steps": 1})
    caplog.handler.addFilter(telemetry._Subject())
    with caplog.at_level("INFO"):
        assert Worker(place).step()
    assert queue.look(job).status == "succeeded" and queue.look(job).request_id == "-odd:1"
    ours = [r for r in caplog.records if r.name == "app.worker.worker"]
    assert ours and {(r.request_id, r.job_id) for r in ours} == {("-odd:1", job.id)}  # type: ignore[attr-defined]
    assert f"subject -odd:1 {job.id}" in (place.runs / job.id / "trainer.log").read_text()


def test_a_training_becomes_a_version(queue: Queue, place: Workplace, registry: Registry) -> None:
    job = queue.ask(plan={"steps": 6, "checkpoint_every": 3}, publish={"name": "mood", "alias": "champion"})
    assert Worker(place).step()
    done = queue.look(job)
    assert (done.status, done.fine_tuned_model, done.error) == ("succeeded", "mood:1", None)
    assert (done.progress, done.trained_tokens, done.estimated_finish) == (1.0, 60, None)
    assert done.settled == {"epochs": 3, "batch_size": 8}
    version = registry.resolve("mood@champion", "alice")
    assert (version.job_id, version.metrics) == (job.id, {"validation": {"accuracy": 0.75}})
    results = queue.files.get(done.result_files[0], "alice")
    assert (results.purpose, results.owner) == ("fine-tune-results", "alice")
    assert b"".join(queue.files.content(results.id, "alice")[1]) == b"step,train_loss\n"
    assert queue.steps(job) == [1, 2, 3, 4, 5, 6]
    kinds = [event.kind for event in queue.story(job) if event.type == "message"]
    assert kinds[:2] == ["job.created", "job.attempt"]
    assert kinds[-2:] == ["job.published", "job.ended"]
    kept = queue.jobs.checkpoints(job.id, "alice").items
    assert [checkpoint.step for checkpoint in kept] == [6, 3]
    assert registry.resolve(kept[0].id, "alice").labels == ["no", "yes"]
    assert not any(place.trainers.iterdir())


def test_fine_tuning_gets_a_checked_copy_of_the_base(
    queue: Queue, place: Workplace, registry: Registry, tmp_path: Path
) -> None:
    base = publish(registry, make_checkpoint(tmp_path / "base"))
    job = queue.ask(model="mood")
    registry.delete_version("mood", 1, "alice")  # a job that was accepted keeps what it starts from
    assert Worker(place).step()
    assert queue.look(job).status == "succeeded"
    copy = place.runs / job.id / "base"
    assert sorted(path.name for path in copy.iterdir()) == sorted(base.files)


def test_bad_data_fails_the_job_in_the_trainers_words(queue: Queue, place: Workplace) -> None:
    told = {"code": "invalid_training_file", "message": "line 7: no label\x00", "param": "training_file"}
    job = queue.ask(plan={"fail": told, "steps": 1})
    assert Worker(place).step()
    failed = queue.look(job)
    assert (failed.status, failed.fine_tuned_model) == ("failed", None)
    assert failed.error == told | {"message": "line 7: no label\ufffd"}
    assert [event.level for event in queue.story(job)][-1] == "error"
    assert not Worker(place).step()


@pytest.mark.parametrize("more", [{}, {"checkpoint_every": 2}])
def test_a_diverged_training_keeps_its_best_checkpoint(
    more: dict[str, int], queue: Queue, place: Workplace, registry: Registry
) -> None:
    """Once, and under the step that it was made at, whether or not the trainer has told of it before."""
    job = queue.ask(plan={"steps": 9, "diverge_at": 3, "best_step": 2} | more)
    assert Worker(place).step()
    failed = queue.look(job)
    assert (failed.status, (failed.error or {})["code"]) == ("failed", "diverged")
    kept = queue.jobs.checkpoints(job.id, "alice").items
    assert [(checkpoint.step, checkpoint.metrics) for checkpoint in kept] == [(2, {"train_loss": 0.5})]
    assert registry.resolve(kept[0].id, "alice").task == "classification"


def test_a_moved_alias_fails_the_job_and_keeps_the_weights(
    queue: Queue, place: Workplace, registry: Registry, tmp_path: Path
) -> None:
    wish = {"name": "mood", "alias": "champion", "expected_version": None}
    job = queue.ask(publish=wish)
    publish(registry, make_checkpoint(tmp_path / "c"), alias="champion")
    assert Worker(place).step()
    failed = queue.look(job)
    assert (failed.status, (failed.error or {})["code"]) == ("failed", "alias_conflict")
    assert len(registry.versions("mood", "alice").items) == 1
    kept = queue.jobs.checkpoints(job.id, "alice").items
    assert [checkpoint.step for checkpoint in kept] == [5]


def test_a_lost_trainer_is_tried_again_without_gaps_or_repeats(queue: Queue, place: Workplace) -> None:
    job = queue.ask(plan={"steps": 10, "die_at": 5, "deaths": 1, "resume_every": 2})
    with working(place):
        done = until(lambda: (found := queue.look(job)).ended and found)
    assert (done.status, done.attempt, done.losses) == ("succeeded", 2, 1)
    assert queue.steps(job) == list(range(1, 11))
    assert any("SIGKILL" in event.message for event in queue.story(job))


def test_a_trainer_that_is_always_lost_fails_the_job(queue: Queue, place: Workplace) -> None:
    job = queue.ask(plan={"steps": 10, "die_at": 1, "deaths": 99})
    with working(place):
        done = until(lambda: (found := queue.look(job)).ended and found)
    assert (done.status, done.attempt, (done.error or {})["code"]) == ("failed", 3, "trainer_lost")


def test_a_trainer_that_breaks_off_says_by_what(queue: Queue, place: Workplace) -> None:
    job = queue.ask(plan={"steps": 5, "break_at": 2})
    assert Worker(place).step()
    back = queue.look(job)
    assert (back.status, back.losses) == ("queued", 1)
    assert "the trainer ended unasked (a fault: ZeroDivisionError)" in queue.story(job)[-1].message


@pytest.mark.parametrize("stubborn", [False, True])
def test_a_cancelled_trainer_is_gone_within_two_seconds(queue: Queue, place: Workplace, stubborn: bool) -> None:
    def cancelling() -> float:
        job = queue.ask(plan=LONG | {"stubborn": stubborn})
        until(training(queue, job))
        pid = json.loads((place.trainers / f"{job.id}.json").read_bytes())["pid"]
        queue.jobs.cancel(job.id, "alice")
        asked = time.monotonic()
        until(lambda: not Path(f"/proc/{pid}").exists())
        taken = time.monotonic() - asked
        until(lambda: queue.look(job).status == "cancelled")
        return taken

    with working(place):
        kept(2.0, cancelling)


@pytest.mark.parametrize("stubborn", [False, True])
def test_a_paused_job_goes_on_where_it_stopped(queue: Queue, place: Workplace, stubborn: bool) -> None:
    job = queue.ask(plan={"steps": 40, "holds": [20], "stubborn": stubborn})
    with working(place):
        until(training(queue, job))
        queue.jobs.pause(job.id, "alice")
        paused = until(lambda: (found := queue.look(job)).status == "paused" and found)
        assert (paused.attempt, paused.losses, paused.pause_requested) == (1, 0, False)
        queue.jobs.resume(job.id, "alice")
        done = until(lambda: (found := queue.look(job)).ended and found)
    assert (done.status, done.attempt, done.losses) == ("succeeded", 2, 0)
    assert queue.steps(job) == list(range(1, 41))


def test_a_worker_that_stops_gives_its_job_back_at_once(queue: Queue, place: Workplace) -> None:
    job = queue.ask(plan=LONG)
    with working(place):
        until(training(queue, job))
    back = queue.look(job)
    assert (back.status, back.lease_until, back.attempt, back.losses) == ("queued", None, 1, 0)


def test_a_fenced_out_worker_ends_its_trainer_and_changes_nothing(queue: Queue, place: Workplace) -> None:
    job = queue.ask(plan=LONG)
    with working(place) as worker:
        until(training(queue, job))
        listing = place.trainers / f"{job.id}.json"
        with queue.database.transaction() as session:  # as if another had claimed it
            values = {"attempt": 7, "lease_owner": "another", "lease_until": JobRow.lease_until + 1000}
            session.execute(update(JobRow).values(**values))
        before = queue.look(job)
        until(lambda: not listing.exists())
        worker.stop()
    assert queue.look(job) == before


def test_a_database_that_is_away_is_waited_for(queue: Queue, place: Workplace, monkeypatch: pytest.MonkeyPatch) -> None:
    job = queue.ask(plan={"steps": 100, "step_seconds": 0.02})
    away, refused = threading.Event(), list[str]()
    real = Database.transaction

    def transaction(self: Database) -> Any:
        if away.is_set() and self is place.database:
            refused.append(threading.current_thread().name)
            raise DatabaseUnavailable("away")
        return real(self)

    monkeypatch.setattr(Database, "transaction", transaction)
    with working(place):
        until(training(queue, job))
        away.set()
        until(lambda: len(refused) >= 4, place.settings.lease_seconds)
        away.clear()
        done = until(lambda: (found := queue.look(job)).ended and found)
    assert (done.status, done.attempt) == ("succeeded", 1)
    assert queue.steps(job) == list(range(1, 101))


def away(*_: object) -> None:
    raise StorageUnavailable("away", retry_after=1.0)


def test_a_store_that_is_away_costs_no_try(queue: Queue, place: Workplace, monkeypatch: pytest.MonkeyPatch) -> None:
    job = queue.ask()
    monkeypatch.setattr(attempt, "AWAY_SECONDS", 0.0)
    with monkeypatch.context() as broken:
        broken.setattr(BlobStore, "fetch", away)
        assert Worker(place).step()
    back = queue.look(job)
    assert (back.status, back.losses) == ("queued", 0)
    assert Worker(place).step()
    assert queue.look(job).status == "succeeded"


def test_a_checkpoint_is_kept_when_the_store_is_back(
    queue: Queue, place: Workplace, monkeypatch: pytest.MonkeyPatch
) -> None:
    job, real, asked = queue.ask(plan={"steps": 6, "checkpoint_every": 3}), publish_step.keep, list[int]()

    def keep(place: Workplace, lease: Any, run: Any, saved: Any) -> None:
        asked.append(saved.step)
        away() if len(asked) <= 2 else real(place, lease, run, saved)

    monkeypatch.setattr(publish_step, "keep", keep)
    assert Worker(place).step()
    done = queue.look(job)
    assert (done.status, done.attempt, len(asked)) == ("succeeded", 1, 4)
    assert [checkpoint.step for checkpoint in queue.jobs.checkpoints(job.id, "alice").items] == [6, 3]
    # in whatever order: the later one is tried again as soon as it comes, the first one a while after it was refused
    assert sorted(event.step for event in queue.story(job) if event.kind == "checkpoint") == [3, 6]


@pytest.mark.parametrize(
    ("plan", "status"), [({}, "succeeded"), ({"diverge_at": 4, "best_step": 3}, "failed")], ids=["done", "diverged"]
)
def test_no_job_ends_before_its_checkpoints_are_kept(
    plan: dict[str, int], status: str, queue: Queue, place: Workplace, monkeypatch: pytest.MonkeyPatch
) -> None:
    job = queue.ask(plan={"steps": 5, "checkpoint_every": 3} | plan)
    monkeypatch.setattr(attempt, "AWAY_SECONDS", 0.0)
    with monkeypatch.context() as broken:
        broken.setattr(publish_step, "keep", away)
        assert Worker(place).step()
    back = queue.look(job)
    assert (back.status, back.losses) == ("queued", 0)
    assert not [event for event in queue.story(job) if event.kind.startswith("checkpoint")]
    assert Worker(place).step()
    assert queue.look(job).status == status
    assert [checkpoint.step for checkpoint in queue.jobs.checkpoints(job.id, "alice").items] == [3]
    assert [event.step for event in queue.story(job) if event.kind == "checkpoint"] == [3]


def test_a_checkpoint_that_cannot_be_kept_is_told(
    queue: Queue, place: Workplace, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object) -> None:
        raise CheckpointInvalid("damaged")

    job = queue.ask(plan={"steps": 6, "checkpoint_every": 3})
    monkeypatch.setattr(publish_step, "keep", refuse)
    assert Worker(place).step()
    assert queue.look(job).status == "succeeded"
    lost = [(event.kind, event.step, event.level) for event in queue.story(job) if event.kind.startswith("checkpoint")]
    assert lost == [("checkpoint.lost", 3, "warn"), ("checkpoint.lost", 6, "warn")]


@pytest.mark.parametrize(
    ("error", "losses", "said"),
    [
        (OSError(errno.ENOSPC, "No space left on device", "/data/runs/x"), 1, "the disk of the worker's machine is"),
        (OSError(errno.EACCES, "Permission denied", "/data/runs/x"), 1, "did not let a file of the run be used"),
        (OSError(errno.EIO, "Input/output error", "/data/runs/x"), 1, "a file or a program of the run failed (EIO)"),
        (RunBusy("an earlier trainer of the job still runs"), 0, "an earlier trainer of the job still runs"),
    ],
)
def test_what_the_machine_lacks_is_told_without_its_paths(
    error: Exception, losses: int, said: str, queue: Queue, place: Workplace, monkeypatch: pytest.MonkeyPatch
) -> None:
    """And an earlier trainer, whose worker may be frozen, uses up no try."""

    def fail(*_: object) -> None:
        raise error

    job = queue.ask()
    monkeypatch.setattr(RunDirectory, "lock", fail)
    assert Worker(place).step()
    back = queue.look(job)
    assert (back.status, back.losses) == ("queued", losses)
    told = [event.message for event in queue.story(job)]
    assert said in told[-1]
    assert "/" not in "".join(told)


def test_old_runs_are_removed(queue: Queue, place: Workplace) -> None:
    place = replace(place, settings=msgspec.structs.replace(place.settings, keep_runs=1))
    jobs = [queue.ask() for _ in range(3)]
    for _ in jobs:
        assert Worker(place).step()
    assert [path.name for path in place.runs.iterdir()] == [jobs[-1].id]
