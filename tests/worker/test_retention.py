"""What a worker forgets between its jobs, and what it never does."""

from __future__ import annotations

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
from app.worker.retention import Upkeep
from app.worker.worker import Worker
from app.worker.workplace import Workplace
from tests.jobs.fixtures import Queue, until
from tests.worker.test_worker import working


def steps(queue: Queue, job: Job) -> list[int]:
    return [checkpoint.step for checkpoint in queue.jobs.checkpoints(job.id, "alice", limit=100).items]


def grow_old(queue: Queue, **where: Any) -> None:
    with queue.database.transaction() as session:
        session.execute(update(JobCheckpointRow).values(created_at=1.0).filter_by(**where))


def keeping(place: Workplace, checkpoints: int) -> Workplace:
    return replace(place, settings=msgspec.structs.replace(place.settings, keep_checkpoints=checkpoints))


def test_the_best_checkpoints_of_each_job_are_kept(queue: Queue, place: Workplace, registry: Registry) -> None:
    plan = {"steps": 6, "checkpoint_every": 1}
    first, second = queue.ask(plan=plan), queue.ask(plan=plan | {"steps": 2})
    assert Worker(place).step() and Worker(place).step()
    oldest = queue.jobs.checkpoints(first.id, "alice").items[-1]
    Upkeep(place).run()
    assert steps(queue, first) == [6, 5, 4, 3, 2, 1]  # they are young: somebody may be at work with one
    grow_old(queue, job_id=first.id)
    Upkeep(place).run()
    assert (steps(queue, first), steps(queue, second)) == ([6, 5, 4], [2, 1])
    with pytest.raises(NotFound):
        registry.resolve(oldest.id, "alice")
    grow_old(queue)
    for keep, left in ((3, [2, 1]), (1, [2])):
        Upkeep(keeping(place, keep)).run()
        assert steps(queue, second) == left
    assert registry.fsck().ok


def test_a_job_keeps_the_checkpoint_that_it_starts_from(
    queue: Queue, place: Workplace, registry: Registry, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whatever is forgotten or collected between the request and its turn."""
    queue.ask(plan={"steps": 2, "checkpoint_every": 1})
    assert Worker(place).step()
    [made] = queue.jobs.list("alice").items
    base = queue.jobs.checkpoints(made.id, "alice").items[-1]
    job = queue.ask(model=base.id)
    assert job.publish_name == f"lstm-{job.id[-8:]}"
    grow_old(queue)
    Upkeep(keeping(place, 1)).run()
    monkeypatch.setattr(garbage, "UPLOAD_SECONDS", 0.0)
    registry.grace_seconds = -60.0  # all bytes count as old
    registry.collect_garbage()
    assert registry.fsck().ok
    assert Worker(place).step()
    assert queue.look(job).status == "succeeded"


def test_a_worker_forgets_what_is_past_its_time(queue: Queue, place: Workplace) -> None:
    kept, gone = queue.upload(), queue.upload()
    uploads = Uploads(queue.files)
    upload = uploads.begin("alice", "x.csv", "fine-tune", 6)
    part = uploads.add_part(upload.id, "alice", [b"abc"], 10)
    with queue.database.transaction() as session:
        session.execute(update(FileRow).where(FileRow.id != kept).values(expires_at=1.0))

    def left() -> set[str]:
        with queue.database.read() as session:
            return {row.id for row in session.query(FileRow)}

    assert left() == {kept, gone, upload.id, part.id}
    with working(place):
        until(lambda: left() == {kept}, 10)


def test_a_database_that_is_away_is_asked_again(place: Workplace, monkeypatch: pytest.MonkeyPatch) -> None:
    calls: list[str] = []

    def forget() -> int:
        calls.append("asked")
        if len(calls) == 1:
            raise DatabaseUnavailable("away")
        return 0

    monkeypatch.setattr(place.files, "delete_expired", forget)
    upkeep = Upkeep(place)
    with pytest.raises(DatabaseUnavailable):
        upkeep.run_if_due()
    for _ in range(3):
        upkeep.run_if_due()
    assert len(calls) == 2
