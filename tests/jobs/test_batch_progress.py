"""Random operations of clients and workers on batches, compared with a model of their states, on both databases."""

from __future__ import annotations

import itertools
from dataclasses import dataclass

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule, run_state_machine_as_test
from sqlalchemy import delete, update

from app.db.database import Database
from app.db.tables import JobEventRow, JobRow
from app.jobs import queries
from app.jobs.batch_progress import EXPIRED, BatchProgress, status_of
from app.jobs.claims import JobClaims
from app.jobs.records import (
    ANSWERING,
    BATCH,
    BATCH_LANE,
    CANCELLED,
    FAILED,
    PUBLISHING,
    SUCCEEDED,
    TRAINING_LANE,
    Fenced,
)
from app.jobs.repository import JobRepository

MAX_ATTEMPTS, LEASE, TOTAL = 3, 500.0, 4
ENDS = {"completed": SUCCEEDED, "cancelled": CANCELLED, "expired": FAILED, "failed": FAILED}


@dataclass
class ExpectedBatch:
    """The expected state of a batch. `held` is true while a worker has its lease."""

    number: int
    status: str = "validating"
    attempt: int = 0
    losses: int = 0
    held: bool = False
    expired: bool = False
    cancel: bool = False
    answered: int = 0

    @property
    def ended(self) -> bool:
        return self.status in ENDS

    @property
    def shown(self) -> str:
        return "cancelling" if self.cancel and not self.ended else self.status


class BatchLife(RuleBasedStateMachine):
    database: Database

    def __init__(self) -> None:
        super().__init__()
        self.clients, self.workers = JobRepository(self.database), JobClaims(self.database)
        self.model: dict[str, ExpectedBatch] = {}
        self.claims: list[tuple[str, int]] = []
        self.counter = itertools.count(1)
        with self.database.transaction() as session:
            session.execute(delete(JobEventRow))
            session.execute(delete(JobRow))

    @rule()
    @precondition(lambda self: len(self.model) < 3)
    def create(self) -> None:
        number = next(self.counter)
        batch_id = f"batch-{number:04d}"
        with self.database.transaction() as session:
            self.clients.insert(
                session, id=batch_id, kind=BATCH, owner="alice", body_sha256="0" * 64, request={}, model="",
                training_file="file-1", seed=0, publish_name="",
            )  # fmt: skip
        self.model[batch_id] = ExpectedBatch(number)

    @rule(data=st.data())
    @precondition(lambda self: self.model)
    def cancel(self, data: st.DataObject) -> None:
        batch_id = data.draw(st.sampled_from(sorted(self.model)))
        batch = self.model[batch_id]
        if batch.ended:
            return
        with self.database.transaction() as session:
            locked = self.clients.lock(session, batch_id)
            assert locked is not None
            self.clients.cancel(session, locked)
        batch.cancel = True
        if not batch.attempt:  # there are no answers to store
            batch.status = "cancelled"

    @rule(data=st.data())
    @precondition(lambda self: any(b.held for b in self.model.values()))
    def lose(self, data: st.DataObject) -> None:
        batch_id = data.draw(st.sampled_from(sorted(i for i, b in self.model.items() if b.held)))
        with self.database.transaction() as session:
            session.execute(update(JobRow).where(JobRow.id == batch_id).values(lease_until=JobRow.lease_until - 1e6))
        self.model[batch_id].expired = True

    @rule()
    def claim(self) -> None:
        for batch in self.model.values():
            if batch.expired and batch.losses + 1 >= MAX_ATTEMPTS + 1:  # one more attempt stores the answers
                batch.status = "cancelled" if batch.cancel else "failed"
                batch.held = batch.expired = False
        free = [(b.number, i) for i, b in self.model.items() if not b.ended and (b.expired or not b.held)]
        with self.database.transaction() as session:
            assert self.workers.claim(session, "trainer", LEASE, MAX_ATTEMPTS, TRAINING_LANE) is None
            claimed = self.workers.claim(session, "w", LEASE, MAX_ATTEMPTS, BATCH_LANE)
        assert (claimed.id if claimed else None) == (min(free)[1] if free else None)
        if claimed is not None:
            batch = self.model[claimed.id]
            batch.losses += batch.held
            batch.held, batch.expired, batch.attempt = True, False, batch.attempt + 1
            self.claims.append((claimed.id, claimed.attempt))

    def any_claim(self, data: st.DataObject) -> tuple[str, int, ExpectedBatch, bool]:
        batch_id, attempt = data.draw(st.sampled_from(self.claims))
        batch = self.model[batch_id]
        return batch_id, attempt, batch, batch.held and batch.attempt == attempt

    @rule(data=st.data(), answers=st.integers(0, 2), phase=st.sampled_from([ANSWERING, PUBLISHING]))
    @precondition(lambda self: self.claims)
    def report(self, data: st.DataObject, answers: int, phase: str) -> None:
        batch_id, attempt, batch, mine = self.any_claim(data)
        answered = min(TOTAL, batch.answered + answers)
        changes = {"total": TOTAL, "in_progress_at": 1.0, "completed": answered}
        try:
            with self.database.transaction() as session:
                flags = self.workers.report_batch(session, batch_id, attempt, phase, changes, advanced=answers > 0)
            assert mine and flags.cancel == batch.cancel
            batch.answered, batch.losses = answered, 0 if answers else batch.losses
            batch.status = "finalizing" if phase == PUBLISHING and not batch.cancel else "in_progress"
        except Fenced:
            assert not mine

    @rule(data=st.data(), lost=st.booleans())
    @precondition(lambda self: self.claims)
    def give_back(self, data: st.DataObject, lost: bool) -> None:
        batch_id, attempt, batch, mine = self.any_claim(data)
        try:
            with self.database.transaction() as session:
                self.workers.requeue(session, batch_id, attempt, lost=lost)
            assert mine
            batch.held = batch.expired = False
            batch.losses += lost
            batch.status = "in_progress" if batch.status == "finalizing" else batch.status
        except Fenced:
            assert not mine

    @rule(data=st.data(), end=st.sampled_from(sorted(ENDS)))
    @precondition(lambda self: self.claims)
    def finish(self, data: st.DataObject, end: str) -> None:
        batch_id, attempt, batch, mine = self.any_claim(data)
        error = {"code": EXPIRED if end == "expired" else "other", "message": "", "param": None}
        try:
            with self.database.transaction() as session:
                self.workers.finish(session, batch_id, attempt, ENDS[end], error=error if ENDS[end] == FAILED else None)
            assert mine
            batch.status = "cancelled" if batch.cancel and ENDS[end] == FAILED else end
            batch.held = batch.expired = False
        except Fenced:
            assert not mine

    @invariant()
    def the_rows_match_the_model(self) -> None:
        with self.database.read() as session:
            for batch_id, expected in self.model.items():
                row = queries.get(session, batch_id)
                assert row is not None
                assert (row.attempt, row.losses) == (expected.attempt, expected.losses) or expected.ended
                progress = BatchProgress.of(row)
                assert progress.completed == expected.answered
                assert expected.ended or (progress.cancelling_at is not None) == expected.cancel
                shown = status_of(row)
                assert shown == expected.shown or self.waits_again(expected, shown), (shown, expected)

    @staticmethod
    def waits_again(expected: ExpectedBatch, shown: str) -> bool:
        """A claim resets the phase: a batch that was finalizing is in progress until it is finalizing again."""
        return expected.status == "finalizing" and shown == "in_progress"


def test_batches_follow_the_model_of_their_states(database: Database) -> None:
    machine = type("BatchLifeOnThisDatabase", (BatchLife,), {"database": database})
    effort = settings(max_examples=20, stateful_step_count=25, suppress_health_check=list(HealthCheck), database=None)
    run_state_machine_as_test(machine, settings=effort)
