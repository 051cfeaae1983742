"""The life of a job row in SQL: each change of state is one function here, and there are no others.

Works on the caller's session, so that a job's end can share a transaction with the registry. Knows no rule of who may
ask for what. Two ideas carry it: a lease that runs out by the database's clock makes a job claimable again, and every
write of a worker names the attempt that it belongs to, so that a late one changes nothing (`Fenced`).
"""

from __future__ import annotations

from typing import Any

from sqlalchemy import ColumnElement, and_, case, or_, select, update
from sqlalchemy.orm import Session

from app.db.database import Database
from app.db.tables import JobRow
from app.jobs import logbook
from app.jobs.records import (
    CANCELLED,
    FAILED,
    OVER,
    PAUSED,
    QUEUED,
    RUNNING,
    STOPPING,
    SUCCEEDED,
    VALIDATING,
    WAITING,
    Fenced,
    Flags,
    Job,
    JobProgress,
    NewEvent,
)

FREE: dict[str, Any] = {"lease_owner": None, "lease_until": None, "estimated_finish": None}
UNASKED: dict[str, Any] = {"cancel_requested": False, "pause_requested": False}
LAST_WORDS = {
    SUCCEEDED: ("info", "The job has successfully completed"),
    CANCELLED: ("info", "The job has been cancelled"),
    FAILED: ("error", "The job has failed"),
}


class JobRepository:
    """Of the database it keeps the clock only; every function takes the session to work in."""

    def __init__(self, database: Database) -> None:
        self._database = database

    # --- for workers ----------------------------------------------------------------------------------------------

    def claimable(self, session: Session) -> bool:
        """Whether a claim would find work: a read, so that idle workers need no lock."""
        return session.scalar(select(JobRow.id).where(_claimable(self._database.now(session))).limit(1)) is not None

    def claim(self, session: Session, worker: str, lease_seconds: float, max_attempts: int) -> Job | None:
        """Take the next job: the highest priority, then the oldest. The attempt rises; nobody else can have it.

        Jobs whose worker was lost are taken too, or put where people wanted them, or failed at their last attempt.
        """
        now = self._database.now(session)
        self._settle_lost(session, now, max_attempts)
        next_id = (
            select(JobRow.id)
            .where(_claimable(now))
            .order_by(JobRow.priority.desc(), JobRow.created_at, JobRow.id)
            .limit(1)
            .with_for_update(skip_locked=True)
            .scalar_subquery()
        )
        taken = session.scalar(
            update(JobRow)
            .where(JobRow.id == next_id)
            .values(
                status=RUNNING,
                phase=VALIDATING,
                attempt=JobRow.attempt + 1,
                losses=JobRow.losses + case((JobRow.status == RUNNING, 1), else_=0),
                lease_owner=worker,
                lease_until=now + lease_seconds,
                started_at=case((JobRow.started_at.is_(None), now), else_=JobRow.started_at),
            )
            .returning(JobRow)
            .execution_options(synchronize_session=False, populate_existing=True)
        )
        if taken is None:
            return None
        job = Job.of(taken)
        words = "Fine-tuning job started" if job.attempt == 1 else f"Attempt {job.attempt} started"
        self.log(session, job.id, [NewEvent(kind="job.attempt", step=job.attempt, message=words)])
        return job

    def flags(self, session: Session, job_id: str, attempt: int) -> Flags | None:
        """What has been asked of the job; None: the attempt is no longer the job's."""
        mine = (JobRow.id == job_id, JobRow.attempt == attempt, JobRow.status == RUNNING)
        row = session.execute(select(JobRow.cancel_requested, JobRow.pause_requested).where(*mine)).one_or_none()
        return Flags(*row) if row else None

    def renew(self, session: Session, job_id: str, attempt: int, lease_seconds: float) -> Flags | None:
        """Make the lease last `lease_seconds` from now; None: the attempt is no longer the job's."""
        try:
            self._write(session, job_id, attempt, lease_until=self._database.now(session) + lease_seconds)
        except Fenced:
            return None
        return self.flags(session, job_id, attempt)

    def hold(self, session: Session, job_id: str, attempt: int) -> Flags:
        """Keep the row as it is until the transaction ends. Raises Fenced if it is not this attempt's."""
        session.execute(select(JobRow.id).where(JobRow.id == job_id).with_for_update())
        flags = self.flags(session, job_id, attempt)
        if flags is None:
            raise Fenced(f"{job_id}, attempt {attempt}")
        return flags

    def report(
        self, session: Session, job_id: str, attempt: int, progress: JobProgress, events: list[NewEvent]
    ) -> None:
        """Write down how far the attempt is, and its events; those already there are passed over."""
        flags = self.hold(session, job_id, attempt)
        values: dict[str, Any] = {
            "phase": None if flags.cancel or flags.pause else progress.phase,
            "progress": progress.progress,
            "trained_tokens": progress.trained_tokens,
            "settled": progress.settled,
        }
        if progress.seconds_left is not None:
            values["estimated_finish"] = self._database.now(session) + progress.seconds_left
        values = {name: value for name, value in values.items() if value is not None}
        if values:
            self._write(session, job_id, attempt, **values)
        self.log(session, job_id, events)

    def finish(self, session: Session, job_id: str, attempt: int, status: str, **values: Any) -> str:
        """End the job: `status` is succeeded, failed or cancelled; `values` are columns (error, fine_tuned_model …).

        Returns the status that it has now: a cancellation asked for in time goes before a failure.
        """
        flags = self.hold(session, job_id, attempt)
        if flags.cancel and status == FAILED:
            return self._end(session, job_id, CANCELLED)
        return self._end(session, job_id, status, **values)

    def requeue(self, session: Session, job_id: str, attempt: int, *, lost: bool, delay: float = 0.0) -> str:
        """Give the job back. `lost`: it counts against the retry limit. `delay`: seconds until it may be claimed.

        Returns the status that it has now: one to be cancelled has ended, one to be paused rests.
        """
        flags = self.hold(session, job_id, attempt)
        if flags.cancel or flags.pause:
            return self._obey(session, job_id, flags)
        # A queued job is nobody's: `lease_until` then says from when on it may be claimed.
        until = self._database.now(session) + delay if delay else None
        values = {"losses": JobRow.losses + 1} if lost else {}
        self._set(session, job_id, **FREE | {"lease_until": until}, status=QUEUED, phase=WAITING, **values)
        return QUEUED

    # --- for people -----------------------------------------------------------------------------------------------

    def insert(self, session: Session, **values: Any) -> Job:
        values |= {"status": QUEUED, "phase": WAITING, "created_at": self._database.now(session)}
        row = JobRow(**values)
        session.add(row)
        session.flush()
        session.refresh(row)
        created = NewEvent(kind="job.created", step=0, message=f"Created fine-tuning job: {row.id}")
        self.log(session, row.id, [created])
        return Job.of(row)

    def locked(self, session: Session, job_id: str) -> Job | None:
        """The job, kept as it is until the transaction ends."""
        row = session.scalar(select(JobRow).where(JobRow.id == job_id).with_for_update())
        return Job.of(row) if row else None

    def request_cancel(self, session: Session, job: Job) -> None:
        """Cancel a `locked` job: at once where nobody works on it, else by its worker."""
        if self._worked_on(session, job):
            self._set(session, job.id, cancel_requested=True, phase=STOPPING)
        else:
            self._end(session, job.id, CANCELLED)

    def request_pause(self, session: Session, job: Job) -> None:
        """Pause a `locked` job: at once where nobody works on it, else by its worker."""
        if self._worked_on(session, job):
            self._set(session, job.id, pause_requested=True, phase=STOPPING)
        else:
            self._obey(session, job.id, Flags(cancel=job.cancel_requested, pause=True))

    def resume(self, session: Session, job: Job) -> None:
        """Queue a `locked`, paused job again."""
        self._set(session, job.id, status=QUEUED, phase=WAITING, **FREE, **UNASKED)
        self._note(session, job.id, "job.resumed", "The job waits for a worker again")

    # --- within ---------------------------------------------------------------------------------------------------

    def log(self, session: Session, job_id: str, events: list[NewEvent]) -> None:
        logbook.append(session, job_id, events, self._database.now(session))

    def _worked_on(self, session: Session, job: Job) -> bool:
        return job.status == RUNNING and (job.lease_until or 0.0) >= self._database.now(session)

    def _settle_lost(self, session: Session, now: float, max_attempts: int) -> None:
        """Jobs of lost workers that must not be tried again: to be cancelled, to be paused, or lost too often."""
        hopeless = or_(JobRow.cancel_requested, JobRow.pause_requested, JobRow.losses + 1 >= max_attempts)
        lost = select(JobRow).where(_expired(now), hopeless).with_for_update(skip_locked=True)
        for row in session.scalars(lost).all():
            if row.cancel_requested or row.pause_requested:
                self._obey(session, row.id, Flags(cancel=row.cancel_requested, pause=row.pause_requested))
                continue
            message = f"the worker was lost at attempt {row.attempt}, the last of {max_attempts} that may be lost"
            error = {"code": "worker_lost", "message": message, "param": None}
            self._end(session, row.id, FAILED, error=error, losses=JobRow.losses + 1)

    def _obey(self, session: Session, job_id: str, flags: Flags) -> str:
        if flags.cancel:
            return self._end(session, job_id, CANCELLED)
        self._set(session, job_id, status=PAUSED, phase=WAITING, **FREE, **UNASKED)
        self._note(session, job_id, "job.paused", "The job is paused")
        return PAUSED

    def _end(self, session: Session, job_id: str, status: str, **values: Any) -> str:
        now = self._database.now(session)
        done = {"progress": 1.0} if status == SUCCEEDED else {}
        self._set(session, job_id, status=status, phase=OVER, finished_at=now, **FREE, **UNASKED, **done, **values)
        level, message = LAST_WORDS[status]
        error = values.get("error")
        if error:
            message = f"{message}: {error['message']}"
        # Unique by (kind, step): a job has one last word.
        self.log(session, job_id, [NewEvent(kind="job.ended", step=0, level=level, message=message)])
        return status

    def _note(self, session: Session, job_id: str, kind: str, message: str) -> None:
        """An event that is no replay of anything, since it shares a transaction with what it tells."""
        step = int(self._database.now(session) * 1000)
        self.log(session, job_id, [NewEvent(kind=kind, step=step, message=message)])

    def _write(self, session: Session, job_id: str, attempt: int, **values: Any) -> None:
        """A worker's write: fenced."""
        mine = and_(JobRow.id == job_id, JobRow.attempt == attempt, JobRow.status == RUNNING)
        statement = update(JobRow).where(mine).values(**values).returning(JobRow.id)
        if session.scalar(statement.execution_options(synchronize_session=False)) is None:
            raise Fenced(f"{job_id}, attempt {attempt}")

    def _set(self, session: Session, job_id: str, **values: Any) -> None:
        """A write to a row that this transaction holds."""
        statement = update(JobRow).where(JobRow.id == job_id).values(**values)
        session.execute(statement.execution_options(synchronize_session=False))


def _expired(now: float) -> ColumnElement[bool]:
    return and_(JobRow.status == RUNNING, JobRow.lease_until < now)


def _claimable(now: float) -> ColumnElement[bool]:
    rested = or_(JobRow.lease_until.is_(None), JobRow.lease_until <= now)
    return or_(and_(JobRow.status == QUEUED, rested), _expired(now))
