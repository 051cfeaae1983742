"""All ways in which an attempt can end. The fake trainer is a real child process."""

from __future__ import annotations

import errno
from pathlib import Path
from typing import Any

import pytest

from app.registry.service import Registry
from app.runs.run_directory import RunBusy, RunDirectory
from app.runs.trainer import Trainer
from app.storage.blobs import BlobStore
from app.storage.errors import StorageUnavailable
from app.wire.waiting import waits_for_disk
from app.worker import job_attempt
from app.worker.resources import Resources
from app.worker.trainer_list import TrainerList
from app.worker.worker import Worker
from tests.checkpoints import make_checkpoint, publish
from tests.jobs.fixtures import Queue, until
from tests.worker.running import reached, unavailable, working

pytestmark = pytest.mark.long


def test_a_training_becomes_a_version(queue: Queue, resources: Resources, registry: Registry) -> None:
    job = queue.create(plan={"steps": 6, "checkpoint_every": 3}, publish={"name": "mood", "alias": "champion"})
    assert Worker(resources).step()
    done = queue.get(job)
    assert (done.status, done.fine_tuned_model, done.error) == ("succeeded", "mood:1", None)
    assert (done.progress, done.trained_tokens, done.estimated_finish) == (1.0, 60, None)
    assert done.settled == {"epochs": 3, "batch_size": 8}
    version = registry.resolve("mood@champion", "alice")
    assert (version.job_id, version.metrics) == (job.id, {"validation": {"accuracy": 0.75}})
    results = queue.files.get(done.result_files[0], "alice")
    assert (results.purpose, results.owner) == ("fine-tune-results", "alice")
    assert b"".join(queue.files.content(results.id, "alice")[1]) == b"step,train_loss\n"
    assert queue.steps(job) == [1, 2, 3, 4, 5, 6]
    kinds = [event.kind for event in queue.events(job) if event.type == "message"]
    assert kinds[:2] == ["job.created", "job.attempt"]
    assert kinds[-2:] == ["job.published", "job.ended"]
    checkpoints = queue.jobs.checkpoints(job.id, "alice").items
    assert [checkpoint.step for checkpoint in checkpoints] == [6, 3]
    assert registry.resolve(checkpoints[0].id, "alice").labels == ["no", "yes"]
    assert not any(resources.trainers.folder.iterdir())


def test_fine_tuning_gets_a_checked_copy_of_the_base(
    queue: Queue, resources: Resources, registry: Registry, tmp_path: Path
) -> None:
    base = publish(registry, make_checkpoint(tmp_path / "base"))
    job = queue.create(model="mood")
    registry.delete_version("mood", 1, "alice")  # an accepted job can use its base model
    assert Worker(resources).step()
    assert queue.get(job).status == "succeeded"
    copy = resources.runs / job.id / "base"
    assert sorted(path.name for path in copy.iterdir()) == sorted(base.files)


def test_bad_data_fails_the_job_with_the_trainers_message(queue: Queue, resources: Resources) -> None:
    error = {"code": "invalid_training_file", "message": "line 7: no label\x00", "param": "training_file"}
    job = queue.create(plan={"fail": error, "steps": 1})
    assert Worker(resources).step()
    failed = queue.get(job)
    assert (failed.status, failed.fine_tuned_model) == ("failed", None)
    assert failed.error == error | {"message": "line 7: no label\ufffd"}
    assert [event.level for event in queue.events(job)][-1] == "error"
    assert not Worker(resources).step()


def test_a_killed_trainer_is_retried_without_gaps_or_repeats(queue: Queue, resources: Resources) -> None:
    job = queue.create(plan={"steps": 10, "die_at": 5, "deaths": 1, "resume_every": 2})
    with working(resources):
        done = until(lambda: (row := queue.get(job)).ended and row)
    assert (done.status, done.attempt, done.losses) == ("succeeded", 2, 1)
    assert queue.steps(job) == list(range(1, 11))
    [lost] = [event.data for event in queue.events(job) if event.kind == "job.lost"]
    assert lost == {"lost_attempt": 1, "reason": "the trainer ended unexpectedly (killed by SIGKILL)"}


def test_a_trainer_that_is_always_killed_fails_the_job(queue: Queue, resources: Resources) -> None:
    job = queue.create(plan={"steps": 10, "die_at": 1, "deaths": 99})
    with working(resources):
        done = until(lambda: (row := queue.get(job)).ended and row)
    assert (done.status, done.attempt, (done.error or {})["code"]) == ("failed", 3, "trainer_lost")


def test_the_log_names_the_error_that_ended_a_trainer(queue: Queue, resources: Resources) -> None:
    job = queue.create(plan={"steps": 5, "break_at": 2})
    assert Worker(resources).step()
    queued = queue.get(job)
    assert (queued.status, queued.losses) == ("queued", 1)
    assert "the trainer ended unexpectedly (an error: ZeroDivisionError)" in queue.events(job)[-1].message


@pytest.mark.parametrize("stubborn", [False, True])
def test_a_paused_job_goes_on_where_it_stopped(queue: Queue, resources: Resources, stubborn: bool) -> None:
    job = queue.create(plan={"steps": 40, "holds": [20], "stubborn": stubborn})
    with working(resources):
        until(reached(queue, job))
        queue.jobs.pause(job.id, "alice")
        paused = until(lambda: (row := queue.get(job)).status == "paused" and row)
        assert (paused.attempt, paused.losses, paused.pause_requested) == (1, 0, False)
        queue.jobs.resume(job.id, "alice")
        done = until(lambda: (row := queue.get(job)).ended and row)
    assert (done.status, done.attempt, done.losses) == ("succeeded", 2, 0)
    assert queue.steps(job) == list(range(1, 41))


def test_an_unavailable_store_is_not_counted_as_a_loss(
    queue: Queue, resources: Resources, monkeypatch: pytest.MonkeyPatch
) -> None:
    job = queue.create()
    monkeypatch.setattr(job_attempt, "UNAVAILABLE_SECONDS", 0.0)
    with monkeypatch.context() as broken:
        broken.setattr(BlobStore, "fetch", unavailable)
        assert Worker(resources).step()
    queued = queue.get(job)
    assert (queued.status, queued.losses) == ("queued", 0)
    assert Worker(resources).step()
    assert queue.get(job).status == "succeeded"


@pytest.mark.parametrize(
    ("error", "losses", "message"),
    [
        (
            OSError(errno.ENOSPC, "No space left on device", "/data/runs/x"),
            0,
            "The disk of the worker's machine is full: the job waits and continues when the problem is solved",
        ),
        (OSError(errno.EDQUOT, "Disk quota exceeded", "/data/runs/x"), 0, "The disk of the worker's machine is full"),
        (
            OSError(errno.EACCES, "Permission denied", "/data/runs/x"),
            1,
            "the worker has no permission to use a file of the training run",
        ),
        (
            OSError(errno.EIO, "Input/output error", "/data/runs/x"),
            0,
            "reports errors (EIO): the job waits",
        ),
        (OSError(errno.EMFILE, "Too many open files"), 1, "a file or a program of the training run failed (EMFILE)"),
        (
            RunBusy("an earlier trainer of the job is still running"),
            0,
            "an earlier trainer of the job is still running",
        ),
    ],
)
def test_a_fault_of_the_machine_is_logged_without_its_paths(
    error: Exception, losses: int, message: str, queue: Queue, resources: Resources, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A trainer that is still running is not counted as a loss, because its worker may be frozen.

    A full disk is not counted either.
    """

    def fail(*_: object) -> None:
        raise error

    job = queue.create()
    monkeypatch.setattr(RunDirectory, "lock", fail)
    assert Worker(resources).step()
    queued = queue.get(job)
    assert (queued.status, queued.losses) == ("queued", losses)
    messages = [event.message for event in queue.events(job)]
    assert message in messages[-1]
    assert "/" not in "".join(messages)


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(job_attempt, "DISK_SECONDS", 1e-6)


def waits(queue: Queue, job: Any) -> list[tuple[int, str]]:
    """The step and the level of each event that reports a waiting job."""
    return [(event.step, event.level) for event in queue.events(job) if event.kind == "job.waiting"]


@pytest.mark.usefixtures("impatient")
@pytest.mark.parametrize("event", [True, False])
def test_a_trainer_whose_disk_is_full_is_waited_for_and_that_is_told_once(
    queue: Queue, resources: Resources, event: bool
) -> None:
    """The disk is full during six attempts, twice the limit of lost attempts.

    If there is no free space at all, the trainer cannot even write the event.
    """
    job = queue.create(plan={"steps": 10, "full_at": 4, "full_for": 6, "full_event": event})
    for _ in range(6):
        assert Worker(resources).step()
        assert (queue.get(job).status, queue.get(job).losses) == ("queued", 0)
    assert waits(queue, job) == [(0, "warn")]
    assert not [event for event in queue.events(job) if event.kind == "job.lost"]
    assert [event.step for event in queue.events(job) if event.kind == "job.attempt"] == [1, 2]
    assert waits_for_disk(next(event.data for event in queue.events(job) if event.kind == "job.waiting"))
    assert Worker(resources).step()
    done = queue.get(job)
    assert (done.status, done.attempt, done.losses) == ("succeeded", 7, 0)
    assert queue.steps(job) == list(range(1, 11))


def full(*_: object, **__: object) -> Any:
    raise OSError(errno.ENOSPC, "No space left on device", "/data/x")


def store_is_full(*_: object, **__: object) -> Any:
    raise StorageUnavailable("the disk is full", retry_after=60.0) from OSError(errno.ENOSPC, "full")


@pytest.mark.usefixtures("impatient")
@pytest.mark.parametrize(
    ("place", "name", "error"),
    [
        (RunDirectory, "create", full),
        (RunDirectory, "fill", full),
        (BlobStore, "fetch", store_is_full),
        (BlobStore, "put_file", full),
        (BlobStore, "put_file", store_is_full),
        (Trainer, "__init__", full),
        (TrainerList, "listed", full),
    ],
)
def test_whatever_the_worker_cannot_write_is_waited_for(
    place: Any, name: str, error: Any, queue: Queue, resources: Resources, monkeypatch: pytest.MonkeyPatch
) -> None:
    job = queue.create(plan={"steps": 5, "checkpoint_every": 2})
    with monkeypatch.context() as broken:
        broken.setattr(place, name, error)
        for _ in range(4):
            assert Worker(resources).step()
            assert (queue.get(job).status, queue.get(job).losses) == ("queued", 0)
    assert waits(queue, job) == [(0, "warn")]
    assert Worker(resources).step()
    assert (queue.get(job).status, queue.get(job).losses) == ("succeeded", 0)
    assert not [event for event in queue.events(job) if event.kind == "checkpoint.lost"]


@pytest.mark.usefixtures("impatient")
def test_a_failed_job_keeps_its_best_checkpoint_until_the_disk_has_room(
    queue: Queue, resources: Resources, monkeypatch: pytest.MonkeyPatch
) -> None:
    job = queue.create(plan={"steps": 8, "diverge_at": 6, "best_step": 4, "resume_every": 4})
    with monkeypatch.context() as broken:
        broken.setattr(BlobStore, "put_file", full)
        assert Worker(resources).step()
        assert queue.get(job).status == "queued"
    assert Worker(resources).step()
    assert (queue.get(job).status, (queue.get(job).error or {})["code"]) == ("failed", "diverged")
