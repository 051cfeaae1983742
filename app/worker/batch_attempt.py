"""One attempt at a batch, from the claim to the job's next state.

1. Lock the run directory, and fetch and check the requests.
2. Start the batch program, which answers the requests that have no answer in the spool, and report its progress.
3. When all requests have been answered, or the batch has expired or been cancelled, store the result files.

A killed worker leaves the spool, from which the next attempt continues.
"""

from __future__ import annotations

import contextlib
import math
import os
import time
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import msgspec
from sqlalchemy.orm import Session

from app.jobs.batch_progress import BatchProgress, expires_at
from app.jobs.records import ANSWERING, CANCELLED, FAILED, PUBLISHING, VALIDATING, Job, NewEvent
from app.runs import batch_input
from app.runs.batch_spool import SpoolReader
from app.runs.trainer import Trainer
from app.wire.batch import ANSWERS, INPUT, BatchSpec
from app.wire.trainer import TrainFailed
from app.worker import batch_results, endings
from app.worker.batch_results import BatchEnding
from app.worker.job_attempt import Interrupted, JobAttempt
from app.worker.lease import TRAINER_SHARE
from app.worker.resources import Resources

POLL_SECONDS = 0.1  # the interval between two reads of the spool
DISK_PATIENCE_SECONDS = 600.0  # seconds that a cancelled or expired batch waits for space for its result files
REPORT_SECONDS = 1.0  # the interval between two reports of the numbers of answers


class BatchAttempt(JobAttempt):
    """An attempt at a batch. A batch program answers the batch's requests."""

    def __init__(self, resources: Resources, job: Job, stopping: Callable[[], bool]) -> None:
        super().__init__(resources, job, stopping)
        self._progress = BatchProgress.of(job)
        self._spool = SpoolReader(self._run.path / ANSWERS)
        self._total = 0
        self._until = math.inf  # the monotonic time at which the batch expires

    def _work(self) -> str:
        with contextlib.ExitStack() as stack:
            self._run.create()
            stack.callback(os.close, lock := self._lock_unless_cancelled())
            self._until = time.monotonic() + expires_at(self._job) - self._lease.write(self._resources.database.now)
            spec = msgspec.convert(self._job.request["spec"], BatchSpec)
            self._run.fill_batch(spec, self._resources.blobs)
            checked = batch_input.check(self._run.path / INPUT, spec.endpoint)
            if checked.errors:
                return self._refuse(checked.errors)
            self._total = checked.total
            self._begin()
            if self._job.losses >= self._resources.settings.max_attempts:
                return self._fail(
                    TrainFailed("worker_lost", f"the last {self._job.losses} attempts failed before any new answer")
                )
            program = self._start(lock) if self._open else None
        code = 0 if program is None else self._answer(program)
        if self._open and (error := endings.disk_failure(code, None)) is not None:
            return self._wait_for_disk(error)
        return self._finish()

    def _lock_unless_cancelled(self) -> int:
        """Lock the run directory. A cancelled batch is also locked, because its answers must be stored."""
        try:
            return self._lock()
        except Interrupted:
            if not self._lease.cancel:
                raise
            self._resources.trainers.kill_stray(self._job.id, self._run.path)
            return self._run.lock(self._lease.seconds, self._lease.check)

    @property
    def _open(self) -> bool:
        """Whether there are requests left to answer. False if the batch has been cancelled or has expired."""
        return not self._lease.cancel and not self._expired and len(self._spool.answers) < self._total

    @property
    def _expired(self) -> bool:
        return time.monotonic() >= self._until

    def _position(self) -> int:
        return len(self._spool.answers)

    def _begin(self) -> None:
        """Record the number of requests and, in the first attempt, the start of the work."""
        now = self._lease.write(self._resources.database.now)
        began = {"total": self._total, "in_progress_at": self._progress.in_progress_at or now}
        self._spool.read()
        # An earlier attempt may have been killed before it reported its last answers.
        advanced = len(self._spool.answers) > self._progress.completed + self._progress.failed
        self._report(ANSWERING, began | self._counts(), advanced=advanced)

    def _start(self, lock: int) -> Trainer:
        resources = self._resources
        return Trainer(
            resources.batch_program,
            self._run.path,
            events=None,
            log=self._run.log,
            lease_seconds=TRAINER_SHARE * resources.settings.lease_seconds,
            about=(self._job.request_id or "", self._job.id),
            keep_open=(lock,),
            env=resources.env,
        )

    def _answer(self, program: Trainer) -> int:
        """Report the progress of the batch program until it ends, and return its exit code."""
        try:
            self._lease.guard(program)
            with self._listed(program, "batch"):
                self._follow(program)
            return program.close()
        finally:
            program.close()

    def _follow(self, program: Trainer) -> None:
        """Read the spool until the program ends. Stop the program if the batch or the worker must stop."""
        deadline, reported, due = math.inf, len(self._spool.answers), 0.0
        while program.running():
            time.sleep(POLL_SECONDS)
            self._lease.check()
            self._spool.read()
            if len(self._spool.answers) > reported and time.monotonic() >= due:
                self._report(ANSWERING, self._counts(), advanced=True)
                reported, due = len(self._spool.answers), time.monotonic() + REPORT_SECONDS
            if deadline == math.inf and (self._expired or self._to_stop()):
                program.terminate()
                deadline = time.monotonic() + self._resources.settings.stop_seconds
            if time.monotonic() > deadline:
                program.kill()
        self._spool.read()
        if len(self._spool.answers) > reported:  # otherwise the attempt could count as one without an answer
            self._report(ANSWERING, self._counts(), advanced=True)

    def _counts(self) -> dict[str, Any]:
        return {"completed": self._spool.completed, "failed": self._spool.failed}

    def _report(self, phase: str, changes: dict[str, Any], *, advanced: bool) -> None:
        jobs, job = self._resources.jobs, self._job
        flags = self._lease.write(
            lambda s: jobs.report_batch(s, job.id, job.attempt, phase, changes, advanced=advanced)
        )
        self._lease.cancel = self._lease.cancel or flags.cancel
        if advanced:
            self._job = replace(job, losses=0)

    # --- the end --------------------------------------------------------------------------------------------------

    def _finish(self) -> str:
        """Store the result files and end the job, or queue it again if requests are open."""
        if self._open:
            if self._stopping():
                raise Interrupted
            return self._retry("the batch program ended unexpectedly")
        if len(self._spool.answers) == self._total:
            return self._store(BatchEnding.COMPLETED)
        return self._store(BatchEnding.CANCELLED if self._lease.cancel else BatchEnding.EXPIRED)

    def _store(self, ending: BatchEnding, error: dict[str, Any] | None = None) -> str:
        now = self._lease.write(self._resources.database.now)
        began = {"finalizing_at": self._progress.finalizing_at or now}
        self._report(PUBLISHING, began | self._counts(), advanced=False)
        status = batch_results.store(self._resources, self._lease, self._run, self._spool, ending, error)
        self._run.remove()  # the stored requests and their answers may be large
        return status

    def _wait_for_disk(self, error: Exception) -> str:
        """Queue the batch again. If the batch was cancelled or has expired, its wait for disk space is limited."""
        if not (self._lease.cancel or self._expired):
            return super()._wait_for_disk(error)
        progress, now = self._progress, self._lease.write(self._resources.database.now)
        times = (progress.finalizing_at, progress.cancelling_at, expires_at(self._job))
        if now - min(at for at in times if at is not None) < DISK_PATIENCE_SECONDS:
            return super()._wait_for_disk(error)
        return self._drop_answers()

    def _drop_answers(self) -> str:
        """End the batch without result files, and remove the spool, which may have filled the disk."""
        jobs, job = self._resources.jobs, self._job
        self._lease.check()
        self._run.remove()  # first, because the database may be on the same disk
        message = "The disk was full for too long, so the batch ends without result files"
        event = NewEvent(kind="job.answers_dropped", step=job.attempt, level="warn", message=message)

        def end(session: Session) -> str:
            jobs.log(session, job.id, [event])
            if jobs.hold(session, job.id, job.attempt).cancel:
                return jobs.finish(session, job.id, job.attempt, CANCELLED)
            return jobs.finish(session, job.id, job.attempt, FAILED, error=batch_results.EXPIRY)

        return self._lease.end(end)

    def _refuse(self, errors: list[batch_input.LineError]) -> str:
        """End the batch because of errors in its file."""
        first = errors[0]
        where = f"line {first.line}: " if first.line is not None else ""
        self._report(VALIDATING, {"errors": msgspec.to_builtins(errors)}, advanced=False)
        return self._fail(TrainFailed(first.code, f"{where}{first.message}", first.param))

    def _fail(self, failed: TrainFailed) -> str:
        jobs, job = self._resources.jobs, self._job
        error = {"code": failed.code, "message": failed.message, "param": failed.param}
        if self._spool.answers:
            return self._store(BatchEnding.FAILED, error)
        status = self._lease.end(lambda s: jobs.finish(s, job.id, job.attempt, FAILED, error=error))
        self._run.remove()  # the requests may be large, and are stored as a file
        return status
