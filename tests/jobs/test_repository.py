"""Random operations of clients and workers on jobs, compared with a model of their states, on both databases.

To let a lease expire, the tests move its end into the past.
"""

from __future__ import annotations

import itertools
from dataclasses import dataclass, field

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule, run_state_machine_as_test
from sqlalchemy import delete, update

from app.db.database import Database
from app.db.tables import JobEventRow, JobRow
from app.jobs import logbook, queries
from app.jobs.claims import JobClaims
from app.jobs.records import ENDED, TRAINING_LANE, Fenced, Flags, JobProgress, NewEvent
from app.jobs.repository import JobRepository

MAX_ATTEMPTS = 3
LEASE = 500.0  # seconds
WORKERS = ("one", "two", "three")


@dataclass
class Expected:
    """The expected state of a job."""

    number: int
    status: str = "queued"
    attempt: int = 0
    losses: int = 0
    expired: bool = False
    cancel: bool = False
    pause: bool = False
    events: set[int] = field(default_factory=set)
    result: str | None = None

    def end(self, status: str, result: str | None = None) -> None:
        self.status, self.result = status, result
        self.cancel = self.pause = self.expired = False

    def obey(self) -> None:
        self.end("cancelled" if self.cancel else "paused")


class Life(RuleBasedStateMachine):
    database: Database

    def __init__(self) -> None:
        super().__init__()
        self.clients, self.workers = JobRepository(self.database), JobClaims(self.database)
        self.model: dict[str, Expected] = {}
        self.claims: list[tuple[str, int]] = []  # every attempt so far: a late write may come from any of them
        self.counter = itertools.count(1)
        with self.database.transaction() as session:
            session.execute(delete(JobEventRow))
            session.execute(delete(JobRow))

    # --- clients ---

    @rule()
    @precondition(lambda self: len(self.model) < 4)
    def create(self) -> None:
        number = next(self.counter)
        job_id = f"ftjob-{number:04d}"
        with self.database.transaction() as session:
            self.clients.insert(
                session, id=job_id, owner="alice", body_sha256="0" * 64, request={}, model="lstm",
                training_file="file-1", seed=1, publish_name="x",
            )  # fmt: skip
        self.model[job_id] = Expected(number)

    def any_job(self, data: st.DataObject) -> tuple[str, Expected]:
        job_id = data.draw(st.sampled_from(sorted(self.model)))
        return job_id, self.model[job_id]

    @rule(data=st.data())
    @precondition(lambda self: self.model)
    def cancel(self, data: st.DataObject) -> None:
        job_id, job = self.any_job(data)
        if job.status in ENDED:
            return
        with self.database.transaction() as session:
            locked = self.clients.lock(session, job_id)
            assert locked is not None
            self.clients.cancel(session, locked)
        if job.status == "running" and not job.expired:
            job.cancel = True
        else:
            job.end("cancelled")

    @rule(data=st.data())
    @precondition(lambda self: self.model)
    def pause(self, data: st.DataObject) -> None:
        job_id, job = self.any_job(data)
        if job.status not in ("queued", "running") or job.cancel:
            return
        with self.database.transaction() as session:
            locked = self.clients.lock(session, job_id)
            assert locked is not None
            self.clients.pause(session, locked)
        if job.status == "running" and not job.expired:
            job.pause = True
        else:
            job.end("paused")

    @rule(data=st.data())
    @precondition(lambda self: any(j.status == "paused" for j in self.model.values()))
    def resume(self, data: st.DataObject) -> None:
        job_id = data.draw(st.sampled_from(sorted(i for i, j in self.model.items() if j.status == "paused")))
        with self.database.transaction() as session:
            locked = self.clients.lock(session, job_id)
            assert locked is not None
            self.clients.resume(session, locked)
        self.model[job_id].status = "queued"

    # --- time ---

    @rule(data=st.data())
    @precondition(lambda self: any(j.status == "running" for j in self.model.values()))
    def lose(self, data: st.DataObject) -> None:
        job_id = data.draw(st.sampled_from(sorted(i for i, j in self.model.items() if j.status == "running")))
        with self.database.transaction() as session:
            session.execute(update(JobRow).where(JobRow.id == job_id).values(lease_until=JobRow.lease_until - 1e6))
        self.model[job_id].expired = True

    # --- workers ---

    @rule(worker=st.sampled_from(WORKERS))
    def claim(self, worker: str) -> None:
        for job in self.model.values():
            if job.status == "running" and job.expired:
                if job.cancel or job.pause:
                    job.obey()
                elif job.losses + 1 >= MAX_ATTEMPTS:
                    job.losses += 1
                    job.end("failed")
        free = [(j.number, i) for i, j in self.model.items() if j.status == "queued" or j.expired]
        with self.database.transaction() as session:
            claimed = self.workers.claim(session, worker, LEASE, MAX_ATTEMPTS, TRAINING_LANE)
        assert (claimed.id if claimed else None) == (min(free)[1] if free else None)
        if claimed is None:
            return
        job = self.model[claimed.id]
        job.losses += job.status == "running"
        job.status, job.expired, job.attempt = "running", False, job.attempt + 1
        assert (claimed.attempt, claimed.losses, claimed.lease_owner) == (job.attempt, job.losses, worker)
        self.claims.append((claimed.id, claimed.attempt))

    def any_claim(self, data: st.DataObject) -> tuple[str, int, Expected, bool]:
        job_id, attempt = data.draw(st.sampled_from(self.claims))
        job = self.model[job_id]
        return job_id, attempt, job, job.status == "running" and job.attempt == attempt

    @rule(data=st.data())
    @precondition(lambda self: self.claims)
    def renew(self, data: st.DataObject) -> None:
        job_id, attempt, job, mine = self.any_claim(data)
        with self.database.transaction() as session:
            flags = self.workers.renew(session, job_id, attempt, LEASE)
        assert flags == (Flags(job.cancel, job.pause) if mine else None)
        if mine:
            job.expired = False

    @rule(data=st.data(), step=st.integers(1, 4))
    @precondition(lambda self: self.claims)
    def report(self, data: st.DataObject, step: int) -> None:
        job_id, attempt, job, mine = self.any_claim(data)
        event = NewEvent(kind="metrics", step=step, type="metrics", message=f"attempt {attempt}")
        try:
            with self.database.transaction() as session:
                self.workers.report(session, job_id, attempt, JobProgress(progress=step / 4), [event, event])
            assert mine
            job.events.add(step)
        except Fenced:
            assert not mine

    @rule(data=st.data(), status=st.sampled_from(["succeeded", "failed"]))
    @precondition(lambda self: self.claims)
    def finish(self, data: st.DataObject, status: str) -> None:
        job_id, attempt, job, mine = self.any_claim(data)
        result = f"model:{attempt}" if status == "succeeded" else None
        try:
            with self.database.transaction() as session:
                self.workers.finish(session, job_id, attempt, status, fine_tuned_model=result)
            assert mine
            job.end("cancelled" if job.cancel and status == "failed" else status, result)
        except Fenced:
            assert not mine

    @rule(data=st.data(), lost=st.booleans())
    @precondition(lambda self: self.claims)
    def give_back(self, data: st.DataObject, lost: bool) -> None:
        job_id, attempt, job, mine = self.any_claim(data)
        try:
            with self.database.transaction() as session:
                self.workers.requeue(session, job_id, attempt, lost=lost)
            assert mine
            if job.cancel or job.pause:
                job.obey()
            else:
                job.losses += lost
                job.end("queued")
        except Fenced:
            assert not mine

    # --- invariants ---

    @invariant()
    def the_rows_match_the_model(self) -> None:
        with self.database.read() as session:
            for job_id, expected in self.model.items():
                row = queries.get(session, job_id)
                assert row is not None
                assert (row.status, row.attempt, row.losses) == (expected.status, expected.attempt, expected.losses)
                assert (row.cancel_requested, row.pause_requested) == (expected.cancel, expected.pause)
                assert row.fine_tuned_model == expected.result
                assert (row.lease_owner is not None) == (row.status == "running")
                assert (row.finished_at is not None) == row.ended == (row.phase == "ended")
                events = logbook.events(session, job_id, None, 1000).items
                steps = [event.step for event in events if event.type == "metrics"]
                assert sorted(steps) == sorted(expected.events)
                assert sum(event.kind == "job.ended" for event in events) == row.ended


def test_jobs_follow_the_model_of_their_states(database: Database) -> None:
    machine = type("LifeOnThisDatabase", (Life,), {"database": database})
    effort = settings(max_examples=25, stateful_step_count=30, suppress_health_check=list(HealthCheck), database=None)
    run_state_machine_as_test(machine, settings=effort)
