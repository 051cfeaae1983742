"""Client operations on jobs: create training jobs, and watch, pause, resume and cancel jobs of any kind."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import replace

from sqlalchemy import and_, true
from sqlalchemy.orm import Session

from app.db.database import Database
from app.db.paging import Page, check_page
from app.db.tables import JobRow
from app.errors import InvalidRequest, NotFound
from app.files.service import Files
from app.jobs import batch_progress, logbook, queries, trials
from app.jobs.creation import JobCreation
from app.jobs.records import (
    BATCH,
    CANCELLED,
    EVALUATION,
    FINE_TUNING,
    PAUSED,
    QUEUED,
    RUNNING,
    Job,
    JobCheckpoint,
    JobEvent,
)
from app.jobs.repository import JobRepository
from app.jobs.request import JobRequest
from app.quotas import NO_QUOTAS, Quotas
from app.registry.records import CHECKPOINT_ID, LOCAL, visible
from app.registry.service import Registry

PAGE_LIMIT = 1000
JOB_IDS = {
    FINE_TUNING: re.compile(r"ftjob-[A-Za-z0-9_-]{1,34}"),
    EVALUATION: re.compile(r"evaljob-[A-Za-z0-9_-]{1,32}"),
    BATCH: re.compile(r"batch-[A-Za-z0-9_-]{1,34}"),
}
NOUNS = {FINE_TUNING: ("job", "jobs"), EVALUATION: ("evaluation", "evaluations"), BATCH: ("batch", "batches")}
ROUTES = {FINE_TUNING: "/v1/fine_tuning/jobs", EVALUATION: "/v1/evaluations", BATCH: "/v1/batches"}
EVENT_ID = re.compile(r"ftevent-[A-Za-z0-9_-]{1,32}")


class Jobs:
    """Manages the jobs of one kind, for all principals; one instance per process and kind. All methods are thread-safe.

    For a job with a different owner or kind, the methods raise NotFound (`job_not_found`), as if it did not exist.
    """

    def __init__(
        self,
        database: Database,
        registry: Registry,
        files: Files,
        kind: str = FINE_TUNING,
        memory: int = 0,
        quotas: Quotas = NO_QUOTAS,
    ) -> None:
        """`memory` is the number of bytes that a training run may use; 0 means all memory of this machine."""
        self._database, self._kind = database, kind
        self._repository = JobRepository(database, quotas)
        self._creation = JobCreation(database, registry, files, self._repository, memory)

    def create(
        self, request: JobRequest, principal: str, idempotency_key: str | None = None, retry_count: int = 0
    ) -> Job:
        """Queue a training job. The data files are not read yet.

        If an earlier request had the same `idempotency_key`, the job that it created is returned. Without a key, a
        retry (`retry_count` above 0) returns the job that an identical request created in the last ten minutes, if any.
        Raises InvalidRequest or NotFound with `param` set.
        """
        job = self._creation.create(request, principal, idempotency_key, retry_count)
        with self._database.read() as session:
            return self._complete(session, job)

    def get(self, job_id: str, principal: str) -> Job:
        """Return the job with this id. Sets `jobs_before` if the job is queued. Raises NotFound (`job_not_found`)."""
        with self._database.read() as session:
            return self._complete(session, self._job(session, job_id, principal))

    def list(
        self,
        principal: str,
        *,
        after: str | None = None,
        limit: int = 20,
        metadata: Mapping[str, str] | None = None,
        without_metadata: bool = False,
        with_trials: bool = False,
    ) -> Page[Job]:
        """Return the principal's jobs that have all `metadata` pairs, newest first, starting after the job `after`.

        The trials of auto jobs appear only in `Job.trials`, unless `with_trials` adds them to the list.
        """
        check_page(limit, "desc", PAGE_LIMIT)
        if any("\x00" in text for pair in (metadata or {}).items() for text in pair):
            raise InvalidRequest("metadata cannot contain NUL characters", param="metadata")
        owned = and_(JobRow.kind == self._kind, true() if principal == LOCAL else JobRow.owner == principal)
        with self._database.read() as session:
            if after is not None:
                self._job(session, after, principal, param="after")
            page = queries.page(session, owned, after, limit, metadata, without_metadata, with_trials)
            now = self._database.now(session)
            jobs = [job.seen_at(now) for job in page.items]
            before = queries.counts_before(session, [job for job in jobs if job.public_status == QUEUED])
            jobs = [replace(job, jobs_before=before.get(job.id)) for job in jobs]
            return Page(trials.attach(session, jobs, now), page.has_more)

    def events(self, job_id: str, principal: str, *, after: str | None = None, limit: int = 20) -> Page[JobEvent]:
        """Return a job's events, newest first, starting after the event with id `after`."""
        check_page(limit, "desc", PAGE_LIMIT)
        with self._database.read() as session:
            self._job(session, job_id, principal)
            position = logbook.event_position(session, job_id, after) if after and EVENT_ID.fullmatch(after) else None
            _check_after(job_id, "event", after, position)
            return logbook.events(session, job_id, position, limit)

    def news(self, job_id: str, principal: str, after: str | None, limit: int) -> tuple[Job, Sequence[JobEvent]]:
        """Return a job and up to `limit` of its events, oldest first, starting after the event with id `after`.

        The job is read before its events. If the returned job has ended, its last event was therefore already written
        when the events were read.
        """
        with self._database.read() as session:
            job = self._complete(session, self._job(session, job_id, principal))
            position = logbook.event_position(session, job_id, after) if after and EVENT_ID.fullmatch(after) else None
            _check_after(job_id, "event", after, position)
            return job, logbook.events_after(session, job_id, position or 0, limit)

    def outline(self, job_id: str, principal: str, after: str | None, points: int) -> Sequence[JobEvent]:
        """Return the events of a job after the event with id `after`, oldest first, with at most 2 * `points` metrics.

        A plot of a long run does not need more metrics. See `logbook.thinned_events`.
        """
        with self._database.read() as session:
            self._job(session, job_id, principal)
            position = logbook.event_position(session, job_id, after) if after and EVENT_ID.fullmatch(after) else None
            _check_after(job_id, "event", after, position)
            return logbook.thinned_events(session, job_id, position or 0, points)

    def checkpoints(
        self, job_id: str, principal: str, *, after: str | None = None, limit: int = 10
    ) -> Page[JobCheckpoint]:
        """Return a job's checkpoints, latest step first, starting after the checkpoint with id `after`."""
        check_page(limit, "desc", PAGE_LIMIT)
        with self._database.read() as session:
            self._job(session, job_id, principal)
            step = logbook.checkpoint_step(session, job_id, after) if after and CHECKPOINT_ID.fullmatch(after) else None
            _check_after(job_id, "checkpoint", after, step)
            return logbook.checkpoints(session, job_id, step, limit)

    def cancel(self, job_id: str, principal: str) -> Job:
        """Cancel a job and its trials permanently. Cancelling a job again while its trainer is stopping has no effect.

        If a trial is cancelled, its parent chooses from the other trials.

        Raises InvalidRequest (`invalid_job_state`) if the job has ended.
        """
        with self._database.transaction() as session:
            job = self._locked(session, job_id, principal)
            if job.status == CANCELLED:
                raise InvalidRequest(f"{job.id} is already cancelled", code="invalid_job_state", retryable=False)
            if job.ended:
                raise wrong_state(job, "can no longer be cancelled")
            self._repository.cancel(session, job)
        return self.get(job_id, principal)

    def pause(self, job_id: str, principal: str) -> Job:
        """Pause a queued or running job and its trials. Raises InvalidRequest (`invalid_job_state`) in any other state.

        A trial cannot be paused on its own, because its parent would wait for it.
        """
        with self._database.transaction() as session:
            job = self._locked(session, job_id, principal)
            _check_not_trial(job, "paused")
            if job.status not in (QUEUED, RUNNING):
                raise wrong_state(job, "cannot be paused; only a queued or running job can")
            if job.cancel_requested:
                raise InvalidRequest(f"{job.id} is being cancelled and cannot be paused", code="invalid_job_state")
            self._repository.pause(session, job)
        return self.get(job_id, principal)

    def resume(self, job_id: str, principal: str) -> Job:
        """Queue a paused job again. Raises InvalidRequest (`invalid_job_state`) in any other state."""
        with self._database.transaction() as session:
            job = self._locked(session, job_id, principal)
            _check_not_trial(job, "resumed")
            if job.status != PAUSED:
                problem = (
                    "cannot be resumed yet: its trainer is still saving its progress" if job.pause_requested else ""
                )
                raise wrong_state(job, problem or "cannot be resumed; only a paused job can")
            self._repository.resume(session, job)
        return self.get(job_id, principal)

    def _complete(self, session: Session, job: Job) -> Job:
        """Return the job with its trials. Sets `jobs_before` if the job is queued."""
        before = queries.count_before(session, job) if job.public_status == QUEUED else None
        return trials.attach(session, [replace(job, jobs_before=before)], self._database.now(session))[0]

    def _job(self, session: Session, job_id: str, principal: str, *, param: str = "id") -> Job:
        job = queries.get(session, job_id) if JOB_IDS[self._kind].fullmatch(job_id) else None
        return _check_visible(job, job_id, principal, self._kind, param).seen_at(self._database.now(session))

    def _locked(self, session: Session, job_id: str, principal: str) -> Job:
        # Lock the row before reading its state, so that the state cannot change between the check and the write.
        job = self._repository.lock(session, job_id) if JOB_IDS[self._kind].fullmatch(job_id) else None
        return _check_visible(job, job_id, principal, self._kind).seen_at(self._database.now(session))


def _check_visible(job: Job | None, job_id: str, principal: str, kind: str, param: str = "id") -> Job:
    if job is None or not visible(job.owner, principal):
        noun, plural = NOUNS[kind]
        message = f"there is no {noun} {job_id[:60]!a}; GET {ROUTES[kind]} lists your {plural}"
        raise NotFound(message, code="job_not_found", param=param)
    return job


def _check_after(job_id: str, kind: str, after: str | None, position: int | None) -> None:
    if after is not None and position is None:
        raise NotFound(f"{job_id} has no {kind} {after[:60]!a}", code=f"{kind}_not_found", param="after")


def _check_not_trial(job: Job, action: str) -> None:
    if job.parent_id is not None:
        message = f"{job.id} is a trial of {job.parent_id} and cannot be {action} alone; use the id of that job instead"
        raise InvalidRequest(message, code="invalid_job_state", retryable=False)


def wrong_state(job: Job, problem: str) -> InvalidRequest:
    """Return the error for an operation that the job's state does not allow. `problem` completes its message."""
    status = batch_progress.status_of(job) if job.kind == BATCH else job.public_status
    return InvalidRequest(f"{job.id} is {status} and {problem}", code="invalid_job_state", retryable=False)
