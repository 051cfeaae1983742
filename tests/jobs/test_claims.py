"""Claiming jobs, on both databases."""

from __future__ import annotations

import threading

from sqlalchemy import update

from app.db.tables import JobRow
from app.jobs.claims import JobClaims
from tests.jobs.fixtures import Queue, claim


def test_claims_go_by_priority_then_age_and_wait_after_a_loss(queue: Queue) -> None:
    jobs = [queue.create(priority=priority) for priority in (0, 5, 0)]
    first = claim(queue)
    assert first.id == jobs[1].id
    assert first.public_status == "validating_files"
    claims = JobClaims(queue.database)
    with queue.database.transaction() as session:
        claims.requeue(session, first.id, first.attempt, lost=True, delay=50.0)
    assert [claim(queue).id, claim(queue).id] == [jobs[0].id, jobs[2].id]
    assert claim(queue) is None
    with queue.database.transaction() as session:
        session.execute(update(JobRow).where(JobRow.id == first.id).values(lease_until=JobRow.lease_until - 60))
    again = claim(queue)
    assert (again.id, again.attempt, again.losses) == (first.id, 2, 1)


def test_two_workers_never_get_the_same_job(queue: Queue) -> None:
    created = {queue.create().id for _ in range(6)}
    claimed: list[str] = []
    ready = threading.Barrier(3)

    def work(name: str) -> None:
        ready.wait()
        while job := claim(queue, name):
            claimed.append(job.id)

    threads = [threading.Thread(target=work, args=(f"w{n}",)) for n in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    while job := claim(queue):  # a worker skips a row that another has locked, and may have missed it
        claimed.append(job.id)
    assert sorted(claimed) == sorted(created)
