"""SQL for worker operations on jobs: claim a job, renew its lease, report its progress, and end or requeue it.

Workers do not communicate with each other. Two rules ensure that only one of them changes a job at a time:

- A lease expires according to the database's clock, and a job with an expired lease can be claimed again. The workers'
  own clocks are not used, and no cleanup is needed after a worker is killed.
- Each claim increments the job's `attempt`, and each write by a worker specifies its attempt. If a worker stops
  responding and another one claims its job, the first worker's next write raises `Fenced` and has no effect.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import Any

from sqlalchemy import ColumnElement, and_, case, or_, select, update
from sqlalchemy.orm import Session

from app.db import usage
from app.db.database import Database
from app.db.tables import JobRow
from app.jobs import logbook, selection, trials
from app.jobs.records import (
    ATTEMPT,
    BATCH,
    CANCELLED,
    ENDED,
    EVALUATION,
    FAILED,
    FINE_TUNING,
    PUBLISHING,
    QUEUED,
    RUNNING,
    TRAINING,
    VALIDATING,
    WAITING,
    Fenced,
    Flags,
    Job,
    JobProgress,
    NewEvent,
    attempt_lost,
)
from app.jobs.states import NO_LEASE, JobStates
from app.quotas import NO_QUOTAS, Quotas
from app.wire.trainer import PlannedTrial

STARTED = {FINE_TUNING: "Fine-tuning job", EVALUATION: "Evaluation", BATCH: "Batch"}


class JobClaims:
    """Changes jobs on behalf of workers. Uses the caller's transaction, which may also register a version."""

    def __init__(self, database: Database, quotas: Quotas = NO_QUOTAS) -> None:
        self._database, self._quotas = database, quotas
        self._states = JobStates(database)

    def claimable(self, session: Session, kinds: Collection[str]) -> bool:
        """Whether `claim` would claim or change any job of these kinds.

        The check only reads, so idle workers do not take the write lock.
        """
        now = self._database.now(session)
        due = or_(selection.claimable(now, usage.busy_owners(session, self._quotas, now)), trials.stopped())
        return session.scalar(select(JobRow.id).where(JobRow.kind.in_(kinds), due).limit(1)) is not None

    def any_leases(self, session: Session, kinds: Collection[str]) -> bool:
        """Whether any unfinished job of these kinds has a lease or a start time.

        A job with a lease or a start time may become claimable as time passes.
        """
        timed = and_(JobRow.lease_until.is_not(None), JobRow.status.not_in(ENDED), JobRow.kind.in_(kinds))
        return session.scalar(select(JobRow.id).where(timed).limit(1)) is not None

    def claim(
        self, session: Session, worker: str, lease_seconds: float, max_attempts: int, kinds: Collection[str]
    ) -> Job | None:
        """Claim the next of the jobs with the highest priority (see `selection.lock_next`).

        Returns None if no job of these kinds can be claimed. If only batches are claimed, their owners take turns.

        An auto job can be claimed twice: when it is queued, and when all of its trials have ended. A job whose lease
        has expired counts as lost and can be claimed too. If a client has asked to cancel or pause the lost job, it is
        cancelled or paused instead. A batch is an exception: its next attempt stores the answers that it has. A job
        that was lost `max_attempts` times fails; a batch has one more attempt to store its answers.
        """
        now = self._database.now(session)
        # Settle lost jobs first. Otherwise, the claim could start a job that a client has cancelled, or a job that was
        # lost too often.
        self._settle_lost(session, now, max_attempts, kinds)
        self._settle_stopped(session)
        following = selection.lock_next(session, now, kinds, usage.busy_owners(session, self._quotas, now, alone=True))
        if following is None:
            return None
        # If the job is running and has a lease, its worker was lost. An auto job that waits for its trials has no
        # lease.
        lost = 1 if following.status == RUNNING and following.lease_until is not None else 0
        row = session.scalar(
            update(JobRow)
            .where(JobRow.id == following.id)
            .values(
                status=RUNNING,
                phase=PUBLISHING if following.has_trials else VALIDATING,
                attempt=JobRow.attempt + 1,  # from now on, writes of earlier attempts raise Fenced
                losses=JobRow.losses + lost,
                lease_owner=worker,
                lease_until=now + lease_seconds,
                started_at=case((JobRow.started_at.is_(None), now), else_=JobRow.started_at),
            )
            .returning(JobRow)
            .execution_options(synchronize_session=False, populate_existing=True)
        )
        assert row is not None
        job = Job.of(row)
        if lost:
            self._log_loss(session, job)
        # A job that waits for disk space is claimed repeatedly, only to check the disk. Log only the first of these
        # attempts: if the job was delayed and its newest event is the start of an attempt, log no other start.
        delayed = following.status == QUEUED and following.lease_until is not None
        if not (following.has_trials or (delayed and logbook.newest_kind(session, job.id) == ATTEMPT)):
            self._log_start(session, job)
        return job

    def flags(self, session: Session, job_id: str, attempt: int) -> Flags | None:
        """Return the flags that clients have set, or None if the attempt no longer holds the job."""
        query = select(JobRow.cancel_requested, JobRow.pause_requested).where(_held_by(job_id, attempt))
        row = session.execute(query).one_or_none()
        return Flags(*row) if row else None

    def renew(self, session: Session, job_id: str, attempt: int, lease_seconds: float) -> Flags | None:
        """Extend the lease to `lease_seconds` from now, and return the flags.

        Returns None if the attempt no longer holds the job. An expired lease can be renewed until the next claim.
        """
        try:
            self._write(session, job_id, attempt, lease_until=self._database.now(session) + lease_seconds)
        except Fenced:
            return None
        return self.flags(session, job_id, attempt)

    def hold(self, session: Session, job_id: str, attempt: int) -> Flags:
        """Lock the job's row until the transaction ends. Raises Fenced if the attempt no longer holds the job.

        While the lock is held, the returned flags cannot change, and no worker can claim the job between the check and
        this transaction's writes.
        """
        session.execute(select(JobRow.id).where(JobRow.id == job_id).with_for_update())
        flags = self.flags(session, job_id, attempt)  # read after locking: the flags can no longer change
        if flags is None:
            raise Fenced(f"{job_id}, attempt {attempt}")
        return flags

    def report(
        self, session: Session, job_id: str, attempt: int, progress: JobProgress, events: list[NewEvent]
    ) -> None:
        """Write the attempt's progress and append its events. Raises Fenced."""
        flags = self.hold(session, job_id, attempt)
        values: dict[str, Any] = {
            # Once a stop has been requested, the phase remains "stopping", regardless of what the trainer reports.
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
        """End the job as succeeded, failed or cancelled; `values` contains additional columns to write. Raises Fenced.

        Returns the new status. If a client has asked to cancel the job, it ends as cancelled instead of failed.
        """
        flags = self.hold(session, job_id, attempt)
        if flags.cancel and status == FAILED:
            return self._states.end(session, job_id, CANCELLED)
        return self._states.end(session, job_id, status, **values)

    def report_batch(
        self, session: Session, job_id: str, attempt: int, phase: str, changes: Mapping[str, Any], *, advanced: bool
    ) -> Flags:
        """Add `changes` to the progress of a batch and return the flags. Raises Fenced.

        If the attempt has `advanced`, earlier losses no longer count towards the limit on lost attempts.
        """
        flags = self.hold(session, job_id, attempt)
        report = session.scalar(select(JobRow.report).where(JobRow.id == job_id)) or {}
        values: dict[str, Any] = {"report": report | dict(changes)}
        values |= {} if flags.cancel else {"phase": phase}
        self._write(session, job_id, attempt, **values, **({"losses": 0} if advanced else {}))
        return flags

    def requeue(self, session: Session, job_id: str, attempt: int, *, lost: bool, delay: float = 0.0) -> str:
        """Queue the job again; it can be claimed after `delay` seconds. Raises Fenced.

        If `lost` is true, the attempt counts towards the limit on lost attempts. Returns the new status. If a client
        has asked to cancel or pause the job, it is cancelled or paused instead of queued.
        """
        flags = self.hold(session, job_id, attempt)
        kind = session.scalar(select(JobRow.kind).where(JobRow.id == job_id))
        if (flags.cancel or flags.pause) and kind != BATCH:  # the next attempt at a batch stores its answers
            return self._states.obey(session, job_id, flags)
        # For a queued job, `lease_until` is the time when it becomes claimable.
        until = self._database.now(session) + delay if delay else None
        values = {"losses": JobRow.losses + 1} if lost else {}
        lease = NO_LEASE | {"lease_until": until}
        self._states.update(session, job_id, status=QUEUED, phase=WAITING, **lease, **values)
        return QUEUED

    def begin_trials(self, session: Session, job: Job, task: str, planned: Sequence[PlannedTrial]) -> str:
        """Insert an auto job's trials, and release the job until they have ended. Raises Fenced.

        Returns the new status. If a client has asked to cancel or pause the job, it is cancelled or paused instead.
        """
        flags = self.hold(session, job.id, job.attempt)
        if flags.cancel or flags.pause:
            return self._states.obey(session, job.id, flags)
        trials.insert(session, job, planned, self._database.now(session))
        plan = {"task": task, "trials": [{"model": t.model, "steps": t.steps, "work": t.work} for t in planned]}
        self._states.update(session, job.id, phase=TRAINING, settled=plan, **NO_LEASE)
        return RUNNING

    def report_trials(self, session: Session, parent_id: str) -> None:
        """Append an event to an auto job's log for each ended trial that has not been reported yet."""
        query = select(JobRow.id).where(JobRow.id == parent_id, trials.waits()).with_for_update()
        if session.scalar(query) is not None:
            all_trials = trials.of(session, parent_id)
            self.log(session, parent_id, [trials.ended(trial, len(all_trials)) for trial in all_trials if trial.ended])

    def log(self, session: Session, job_id: str, events: list[NewEvent]) -> None:
        """Append events to the job's log. Does not check the attempt, so call it in a transaction that does."""
        self._states.log(session, job_id, events)

    def _log_loss(self, session: Session, job: Job) -> None:
        """Log that the previous attempt was lost. The lost attempt's worker may have been killed before logging it."""
        lost = job.attempt - 1
        reason = "its worker stopped renewing the lease"
        self.log(session, job.id, [attempt_lost(lost, f"Attempt {lost} was lost: {reason}", reason)])

    def _log_start(self, session: Session, job: Job) -> None:
        """Log the start of a claimed attempt."""
        message = f"{STARTED[job.kind] if job.attempt == 1 else f'Attempt {job.attempt}'} started"
        self.log(session, job.id, [NewEvent(kind=ATTEMPT, step=job.attempt, message=message)])

    def _settle_lost(self, session: Session, now: float, max_attempts: int, kinds: Collection[str]) -> None:
        """End or pause the lost jobs that must not be claimed again."""
        stopped = and_(or_(JobRow.cancel_requested, JobRow.pause_requested), JobRow.kind != BATCH)
        # A batch has one more attempt, which stores the answers that it has.
        most = max_attempts + case((JobRow.kind == BATCH, 1), else_=0)
        settled = and_(JobRow.kind.in_(kinds), or_(stopped, JobRow.losses + 1 >= most))
        # If a lost worker comes back, the lock prevents it from renewing its lease before the job's row is changed.
        rows = select(JobRow).where(selection.expired(now), settled).with_for_update(skip_locked=True)
        for row in session.scalars(rows).all():
            if row.cancel_requested or row.pause_requested:
                self._states.obey(session, row.id, Flags(cancel=row.cancel_requested, pause=row.pause_requested))
                continue
            message = f"the worker was lost in attempt {row.attempt}; a job fails after {max_attempts} lost attempts"
            error = {"code": "worker_lost", "message": message, "param": None}
            self._states.end(session, row.id, FAILED, error=error, losses=JobRow.losses + 1)

    def _settle_stopped(self, session: Session) -> None:
        """Cancel or pause, as requested, the auto jobs whose trials have stopped."""
        locked = set(session.scalars(select(JobRow.id).where(trials.stopped()).with_for_update(skip_locked=True)))
        # Check the jobs again: see `selection.lock_next`. In the meantime, the job may have been resumed, so that its
        # trials run again.
        for row in session.scalars(select(JobRow).where(trials.stopped())).all() if locked else ():
            if row.id in locked:
                self._states.obey(session, row.id, Flags(cancel=row.cancel_requested, pause=row.pause_requested))

    def _write(self, session: Session, job_id: str, attempt: int, **values: Any) -> None:
        # The attempt is checked in the UPDATE's condition, so no claim can happen between the check and the write.
        statement = update(JobRow).where(_held_by(job_id, attempt)).values(**values).returning(JobRow.id)
        if session.scalar(statement.execution_options(synchronize_session=False)) is None:
            raise Fenced(f"{job_id}, attempt {attempt}")


def _held_by(job_id: str, attempt: int) -> ColumnElement[bool]:
    # Compare the status too: a job that was paused or cancelled after its lease had expired keeps its attempt number.
    # An auto job that waits for its trials also keeps its attempt number: it is running, but has no lease.
    has_lease = and_(JobRow.status == RUNNING, JobRow.lease_until.is_not(None))
    return and_(JobRow.id == job_id, JobRow.attempt == attempt, has_lease)
