"""A snapshot of the queue counts unfinished jobs and lists the jobs that workers run, on both databases."""

from __future__ import annotations

from sqlalchemy import update

from app.db.tables import JobRow
from app.jobs.queue_snapshot import read_queue
from tests.jobs.fixtures import Queue, claim


def test_jobs_are_counted_by_status_and_listed_with_their_workers(queue: Queue) -> None:
    for owner in ("alice", "alice", "alice", "bob"):
        queue.create(owner, publish={"name": "mood"})
    first, second = claim(queue, "worker-1"), claim(queue, "worker-2")
    snapshot = read_queue(queue.database, "alice")
    assert snapshot.counts == {("fine_tuning", "queued"): 1, ("fine_tuning", "running"): 2}
    assert [(job.id, job.name, job.worker) for job in snapshot.running_jobs] == [
        (first.id, "mood", "worker-1"),
        (second.id, "mood", "worker-2"),
    ]
    assert read_queue(queue.database, "bob").running_jobs == []
    assert read_queue(queue.database, "local").counts["fine_tuning", "queued"] == 2
    with queue.database.transaction() as session:
        session.execute(update(JobRow).where(JobRow.id == first.id).values(lease_until=1.0))
    snapshot = read_queue(queue.database, "alice")  # the first worker is lost
    assert snapshot.counts == {("fine_tuning", "queued"): 2, ("fine_tuning", "running"): 1}
    assert [job.worker for job in snapshot.running_jobs] == ["worker-2"]
