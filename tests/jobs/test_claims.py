"""Claiming jobs, on both databases."""

from __future__ import annotations

import random
import threading

import pytest
from sqlalchemy import update

from app.db.tables import JobRow
from app.jobs.claims import JobClaims
from app.jobs.records import BATCH_LANE, TRAINING_LANE, Job, NewEvent
from app.quotas import parse as parse_quotas
from app.worker.resources import Resources
from tests.jobs.batch_fixtures import BatchQueue, queue_of
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


@pytest.mark.parametrize("hour", [3600, -3600])
def test_a_lost_job_does_not_wait_until_a_clock_that_was_set_has_caught_up(queue: Queue, hour: int) -> None:
    """After the clock is set forward, the lease has ended. After it is set back, the lease would last another hour."""
    job, waiting = queue.create(), queue.create()
    first, second = claim(queue), claim(queue)
    assert (first.id, second.id) == (job.id, waiting.id)
    claims = JobClaims(queue.database)
    with queue.database.transaction() as session:
        claims.requeue(session, second.id, second.attempt, lost=True, delay=50.0)
        session.execute(update(JobRow).values(lease_until=JobRow.lease_until - hour))
    again = [claim(queue), claim(queue)]
    assert sorted((j.id, j.attempt, j.losses) for j in again) == sorted((j.id, 2, 1) for j in (job, waiting))
    with queue.database.transaction() as session:
        assert claims.renew(session, first.id, first.attempt, 8.0) is None  # the lost worker notices it
        assert claims.renew(session, job.id, 2, 8.0) is not None


def test_a_worker_renews_its_lease_after_the_clock_was_set(queue: Queue) -> None:
    job = queue.create()
    first, claims = claim(queue), JobClaims(queue.database)
    for hour in (3600, -3600):
        with queue.database.transaction() as session:
            session.execute(update(JobRow).values(lease_until=JobRow.lease_until - hour))
            assert claims.renew(session, job.id, first.attempt, 8.0) is not None
        assert claim(queue) is None


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
    while job := claim(queue):  # a worker skips rows that another one has locked, so some jobs may be left
        claimed.append(job.id)
    assert sorted(claimed) == sorted(created)


def test_an_attempt_is_told_again_after_something_has_happened(queue: Queue) -> None:
    """An attempt is not reported if a full disk ended the attempt before it and nothing has happened since."""
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
    """A killed worker cannot report its own loss. The claim that finds the expired lease writes the event."""
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


def claim_batch(queue: BatchQueue) -> Job | None:
    with queue.database.transaction() as session:
        return JobClaims(queue.database).claim(session, "w", 100.0, 3, BATCH_LANE)


def test_owners_of_batches_take_turns(resources: Resources) -> None:
    """Many batches of one owner do not delay the batches of other owners."""
    queue = queue_of(resources)
    jobs = [queue.create(owner=owner) for owner in ("ann", "ann", "ann", "ann", "bob", "bob", "cy")]
    order = [claim_batch(queue) for _ in jobs]
    assert [job.id for job in order if job] == [jobs[n].id for n in (0, 4, 6, 1, 5, 2, 3)]
    first, claims = order[0], JobClaims(queue.database)
    assert first is not None
    with queue.database.transaction() as session:
        claims.requeue(session, first.id, first.attempt, lost=False)
    late = [queue.create(owner=owner) for owner in ("ann", "cy")]
    again = [claim_batch(queue) for _ in range(3)]  # first the batch that has begun, then the batch of `cy`
    assert [job.id for job in again if job] == [first.id, late[1].id, late[0].id]


@pytest.mark.parametrize("seed", range(4))
def test_turns_of_owners_respect_priorities_and_ages(resources: Resources, seed: int) -> None:
    """The next batch is one of those with the highest priority.

    Of these, it is the batch of the owner whose last batch began the longest time ago.
    """
    queue, draw = queue_of(resources), random.Random(seed)
    waiting: dict[str, Job] = {}
    began: dict[str, float] = {}
    for _ in range(40):
        if draw.random() < 0.5:
            job = queue.create(owner=draw.choice(("ann", "ann", "bob", "cy")))
            with queue.database.transaction() as session:
                priority = draw.choice((0, 0, 5))
                session.execute(update(JobRow).where(JobRow.id == job.id).values(priority=priority))
            waiting[job.id] = queue.get(job)
        elif (claimed := claim_batch(queue)) is not None:
            expected = min(waiting.values(), key=lambda j: (-j.priority, began.get(j.owner, 0.0), j.created_at, j.id))
            assert claimed.id == expected.id
            del waiting[claimed.id]
            assert claimed.started_at is not None
            began[claimed.owner] = claimed.started_at
        else:
            assert not waiting


def test_training_jobs_are_claimed_by_age_whoever_owns_them(queue: Queue, resources: Resources) -> None:
    owned = [queue.create(owner=owner) for owner in ("ann", "ann", "bob")]
    queue_of(resources).create(owner="ann")
    assert [claim(queue).id for _ in owned] == [job.id for job in owned]
