"""Checks what a worker deletes between two jobs, and what it keeps."""

from __future__ import annotations

import os
from dataclasses import replace
from typing import Any

import msgspec
import pytest
from sqlalchemy import update

from app.db.database import DatabaseUnavailable
from app.db.tables import FileRow, JobCheckpointRow
from app.errors import NotFound
from app.files.uploads import Uploads
from app.jobs.records import Job
from app.registry import garbage
from app.registry.service import Registry
from app.worker.resources import Resources
from app.worker.retention import Retention
from app.worker.worker import Worker
from tests.jobs.fixtures import Queue, until
from tests.worker.running import reached, working


def steps(queue: Queue, job: Job) -> list[int]:
    return [checkpoint.step for checkpoint in queue.jobs.checkpoints(job.id, "alice", limit=100).items]


def age(queue: Queue, **where: Any) -> None:
    with queue.database.transaction() as session:
        session.execute(update(JobCheckpointRow).values(created_at=1.0).filter_by(**where))


def keeping(resources: Resources, checkpoints: int) -> Resources:
    """The resources with a different value of `keep_checkpoints`."""
    return replace(resources, settings=msgspec.structs.replace(resources.settings, keep_checkpoints=checkpoints))


def test_the_best_checkpoints_of_each_job_are_kept(queue: Queue, resources: Resources, registry: Registry) -> None:
    plan = {"steps": 6, "checkpoint_every": 1}
    first, second = queue.create(plan=plan), queue.create(plan=plan | {"steps": 2})
    assert Worker(resources).step() and Worker(resources).step()
    oldest = queue.jobs.checkpoints(first.id, "alice").items[-1]
    Retention(resources).run()
    assert steps(queue, first) == [6, 5, 4, 3, 2, 1]  # within the grace period: a client may be using one
    age(queue, job_id=first.id)
    Retention(resources).run()
    assert (steps(queue, first), steps(queue, second)) == ([6, 5, 4], [2, 1])
    with pytest.raises(NotFound):
        registry.resolve(oldest.id, "alice")
    age(queue)
    for keep, steps_left in ((3, [2, 1]), (1, [2])):
        Retention(keeping(resources, keep)).run()
        assert steps(queue, second) == steps_left
    assert registry.fsck().ok


def test_a_job_keeps_the_checkpoint_that_it_fine_tunes(
    queue: Queue, resources: Resources, registry: Registry, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The job can use its base even if checkpoints are deleted and garbage is collected before it is claimed."""
    queue.create(plan={"steps": 2, "checkpoint_every": 1})
    assert Worker(resources).step()
    [first] = queue.jobs.list("alice").items
    base = queue.jobs.checkpoints(first.id, "alice").items[-1]
    job = queue.create(model=base.id)
    assert job.publish_name == f"lstm-{job.id[-8:]}"
    age(queue)
    Retention(keeping(resources, 1)).run()
    monkeypatch.setattr(garbage, "UPLOAD_SECONDS", 0.0)
    registry.grace_seconds = -60.0  # all blobs are old enough to be collected
    registry.collect_garbage()
    assert registry.fsck().ok
    assert Worker(resources).step()
    assert queue.get(job).status == "succeeded"


def test_a_later_attempt_does_not_store_forgotten_checkpoints_again(queue: Queue, resources: Resources) -> None:
    """An attempt reads all events of earlier trainers, and must not upload checkpoints again that have been deleted."""
    job = queue.create(plan={"steps": 8, "checkpoint_every": 1, "holds": [6]})
    with working(resources):
        until(reached(queue, job, 6))
        queue.jobs.pause(job.id, "alice")
        until(lambda: queue.get(job).status == "paused")
    age(queue)
    Retention(resources).run()
    assert steps(queue, job) == [6, 5, 4]
    queue.jobs.resume(job.id, "alice")
    assert Worker(resources).step()
    assert queue.get(job).status == "succeeded"
    assert steps(queue, job) == [8, 7, 6, 5, 4]
    assert sorted(event.step for event in queue.events(job) if event.kind == "checkpoint") == [1, 2, 3, 4, 5, 6, 7, 8]


def test_a_worker_deletes_expired_files_and_uploads(queue: Queue, resources: Resources) -> None:
    kept, expired = queue.upload(), queue.upload()
    uploads = Uploads(queue.files)
    upload = uploads.begin("alice", "x.csv", "fine-tune", 6)
    part = uploads.add_part(upload.id, "alice", [b"abc"], 10)
    with queue.database.transaction() as session:
        session.execute(update(FileRow).where(FileRow.id != kept).values(expires_at=1.0))

    def ids() -> set[str]:
        with queue.database.read() as session:
            return {row.id for row in session.query(FileRow)}

    assert ids() == {kept, expired, upload.id, part.id}
    with working(resources):
        until(lambda: ids() == {kept}, 10)


def test_retention_is_still_due_after_an_unavailable_database(
    resources: Resources, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls: list[str] = []

    def forget() -> int:
        calls.append("called")
        if len(calls) == 1:
            raise DatabaseUnavailable("unavailable")
        return 0

    monkeypatch.setattr(resources.files, "delete_expired", forget)
    retention = Retention(resources)
    with pytest.raises(DatabaseUnavailable):
        retention.run_if_due()
    for _ in range(3):
        retention.run_if_due()
    assert len(calls) == 2


def test_the_files_of_interrupted_uploads_are_removed(resources: Resources) -> None:
    scratch = resources.blobs.scratch(resources.settings.scratch_dir)
    old = scratch.path.with_name("ostinato-old")
    old.write_bytes(b"half")
    os.utime(old, (1.0, 1.0))
    Retention(resources).run()
    assert scratch.path.exists() and not old.exists()
    scratch.close()
