"""Claiming jobs, on both databases."""

from __future__ import annotations

import threading

from sqlalchemy import update

from app.db.tables import JobRow
from app.jobs.claims import JobClaims
from app.jobs.records import TRAINING_LANE, Job, NewEvent
from app.quotas import parse as parse_quotas
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


def test_an_attempt_is_told_again_after_something_has_happened(queue: Queue) -> None:
    """Only repeated attempts that a full disk ended at once are not reported again."""
    job = queue.create()
    claims = JobClaims(queue.database)
    steps = []
    for delay, event in ((0.0, None), (1e-9, None), (1e-9, "job.lost"), (1e-9, None), (1e-9, None)):
        held = claim(queue)
        with queue.database.transaction() as session:
            if event:
                claims.log(session, job.id, [NewEvent(kind=event, step=held.attempt, message="x")])
            claims.requeue(session, job.id, held.attempt, lost=False, delay=delay)
        steps = [event.step for event in queue.events(job) if event.kind == "job.attempt"]
    assert steps == [1, 2, 4]  # the third and the fifth attempt found nothing new


def test_a_lost_worker_is_reported_once_before_the_next_attempt(queue: Queue) -> None:
    """A killed worker cannot write an event. The claim that finds the expired lease writes it."""
    job = queue.create()
    claim(queue)
    for _ in range(2):
        with queue.database.transaction() as session:
            session.execute(update(JobRow).values(lease_until=JobRow.lease_until - 1000))
        claim(queue)
        claim(queue)  # finds nothing lost
    reported = [(event.kind, event.level, event.message) for event in queue.events(job)][1:]
    assert reported == [
        ("job.attempt", "info", "Fine-tuning job started"),
        ("job.lost", "warn", "Attempt 1 was lost: its worker stopped renewing the lease"),
        ("job.attempt", "info", "Attempt 2 started"),
        ("job.lost", "warn", "Attempt 2 was lost: its worker stopped renewing the lease"),
        ("job.attempt", "info", "Attempt 3 started"),
    ]
    losses = [event.data for event in queue.events(job) if event.kind == "job.lost"]
    assert losses == [{"lost_attempt": n, "reason": "its worker stopped renewing the lease"} for n in (1, 2)]


def test_an_attempt_that_ended_orderly_is_not_reported_as_lost(queue: Queue) -> None:
    job = queue.create()
    held = claim(queue)
    with queue.database.transaction() as session:
        JobClaims(queue.database).requeue(session, job.id, held.attempt, lost=False)
    assert claim(queue).attempt == 2
    assert "job.lost" not in {event.kind for event in queue.events(job)}


def test_an_owner_runs_no_more_jobs_than_its_quota(queue: Queue) -> None:
    first, second, other = queue.create(), queue.create(), queue.create("bob")
    claims = JobClaims(queue.database, parse_quotas("alice:running=1", ("alice", "bob")))
    claimed: list[Job] = []
    ready = threading.Barrier(3)

    def work(name: str) -> None:
        ready.wait()
        with queue.database.transaction() as session:
            job = claims.claim(session, name, 100.0, 3, TRAINING_LANE)
        if job is not None:
            claimed.append(job)

    threads = [threading.Thread(target=work, args=(f"w{n}",)) for n in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    work_left = {job.id for job in claimed}
    assert len(work_left & {first.id, second.id}) == 1 and work_left <= {first.id, second.id, other.id}
    with queue.database.transaction() as session:
        while job := claims.claim(session, "w", 100.0, 3, TRAINING_LANE):
            assert job.id == other.id
        assert not claims.claimable(session, TRAINING_LANE)
        running = next(job for job in claimed if job.owner == "alice")
        claims.finish(session, running.id, running.attempt, "succeeded")
        assert claims.claimable(session, TRAINING_LANE)
        following = claims.claim(session, "w", 100.0, 3, TRAINING_LANE)
        assert following is not None and following.owner == "alice"
