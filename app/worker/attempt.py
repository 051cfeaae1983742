"""One attempt at a job, from the claim to the job's next state.

1. Lock the run directory, after waiting for an earlier attempt's trainer to exit.
2. Fetch the data files and the base model.
3. Record the events of earlier trainers that were not recorded because their workers were lost.
4. Start the trainer and record its events as they are written.
5. Determine the job's next state from how the trainer ended.

During all of these steps, a separate thread renews the lease.
"""

from __future__ import annotations

import contextlib
import math
import os
import time
from collections.abc import Callable

import msgspec

from app import disk_errors
from app.errors import OstinatoError
from app.jobs import trials
from app.jobs.records import EVALUATION, Job, JobProgress, NewEvent
from app.registry.repository import parse_manifest
from app.runs.event_file import EventFile
from app.runs.run_directory import RunDirectory
from app.runs.trainer import Trainer, environment, limits
from app.wire.trainer import (
    Broke,
    CheckpointSaved,
    Done,
    Evaluated,
    Planned,
    Stopped,
    TrainEvent,
    TrainFailed,
    TrainSpec,
)  # fmt: skip
from app.worker import conclusion, endings, evaluations, publish, transcript
from app.worker.checkpoints import Checkpoints
from app.worker.job_attempt import JobAttempt
from app.worker.lease import TRAINER_SHARE
from app.worker.memory_kills import KillWatch
from app.worker.resources import Resources

POLL_SECONDS = 0.1  # the interval between two reads of the trainer's events
EXIT_SECONDS = 10.0  # maximum wait for a trainer to exit after its last event

LastEvent = Done | Evaluated | Planned | Stopped | TrainFailed | Broke


class Attempt(JobAttempt):
    """An attempt at a training job or an evaluation, executed by a trainer."""

    def __init__(self, resources: Resources, job: Job, stopping: Callable[[], bool]) -> None:
        super().__init__(resources, job, stopping)
        self._checkpoints = Checkpoints(resources, self._lease, self._run)
        self._settled = bool(job.settled)
        self._kills = KillWatch()

    def _work(self) -> str:
        if self._job.automatic and (jobs := self._lease.write(lambda s: trials.of(s, self._job.id))):
            return conclusion.conclude(self._resources, self._lease, self._run, jobs)
        return self._conclude(*self._train())

    # --- steps 1 to 3 ---------------------------------------------------------------------------------------------

    def _train(self) -> tuple[int, LastEvent | None]:
        """Run the trainer until it exits. Return its exit code and its last event."""
        with contextlib.ExitStack() as stack:
            self._run.create()
            lock = self._lock()
            stack.callback(os.close, lock)  # once this block has ended, only the trainer holds the lock
            self._fill()
            self._checkpoints.load()
            for events in self._run.earlier_events(self._job.attempt):
                self._record(events, live=False)
            self._check()
            trainer = self._start(lock)
        try:
            self._lease.guard(trainer)
            with self._listed(trainer, "trainer"):
                last = self._follow(trainer)
                return trainer.close(), last
        finally:
            trainer.close()

    def _fill(self) -> None:
        resources, job = self._resources, self._job
        if job.kind == EVALUATION:
            evaluations.fill(resources, job, self._run)
            return
        self._run.fill(msgspec.convert(job.request["spec"], TrainSpec), resources.blobs)
        if job.parent_id is not None:
            self._run.share(RunDirectory(resources.runs, job.parent_id))
        if job.base_digest is not None:
            self._check()
            self._run.fill_base(job.base_digest, parse_manifest(job.request["base"]["files"]), resources.cache)

    def _start(self, lock: int) -> Trainer:
        resources = self._resources
        return Trainer(
            (*resources.trainer, *limits(resources.settings, self._job.owner)),
            self._run.path,
            events=self._run.events(self._job.attempt),
            log=self._run.log,
            lease_seconds=TRAINER_SHARE * resources.settings.lease_seconds,
            about=(self._job.request_id or "", self._job.id),
            keep_open=(lock,),
            env=environment(resources.env),
        )

    def _position(self) -> int:
        return self._run.step

    # --- step 4 ---------------------------------------------------------------------------------------------------

    def _follow(self, trainer: Trainer) -> LastEvent | None:
        """Record events until the trainer exits, and return the last event. Kills the trainer if it does not exit."""
        file = EventFile(self._run.events(self._job.attempt))
        last: LastEvent | None = None
        deadline = math.inf
        while True:
            # Check this before reading the file. Otherwise, an event written shortly before the trainer's end is
            # missed.
            running = trainer.running()
            self._kills.look(running)
            while events := file.read():
                last = self._record(events, live=True) or last
            # When the trainer has ended, try to store the pending checkpoints one last time, regardless of the delay. A
            # cancelled job does not need more checkpoints.
            self._report(JobProgress(), self._checkpoints.retry_pending(now=not running and not self._lease.cancel))
            if not running:
                return last
            self._lease.check()
            if last is not None:
                deadline = min(deadline, time.monotonic() + EXIT_SECONDS)
            elif deadline == math.inf and self._to_stop():
                trainer.terminate()
                deadline = time.monotonic() + self._resources.settings.stop_seconds
            if time.monotonic() > deadline:
                trainer.kill()
            time.sleep(POLL_SECONDS)

    def _record(self, events: list[TrainEvent], *, live: bool) -> LastEvent | None:
        """Add new events to the job's log. Return the trainer's last event if `events` contains it.

        Events from earlier attempts (`live` is false) neither change the progress nor end this attempt.
        """
        log_events = [log_event for event in events if (log_event := self._to_log_event(event)) is not None]
        settled = None if self._settled else self._run.settled()
        self._report(transcript.to_progress(events if live else [], settled), log_events)
        # The settings change if the run starts again with smaller pieces of each batch.
        changed = any(map(transcript.changes_settings, events))
        self._settled = (self._settled or settled is not None) and not changed
        last = [event for event in events if isinstance(event, LastEvent)]
        return last[-1] if last and live else None

    def _report(self, progress: JobProgress, log_events: list[NewEvent]) -> None:
        job = self._job
        if log_events or progress.settled:
            self._lease.write(lambda s: self._resources.jobs.report(s, job.id, job.attempt, progress, log_events))

    def _to_log_event(self, event: TrainEvent) -> NewEvent | None:
        if isinstance(event, CheckpointSaved):
            return self._checkpoints.store(event)
        return transcript.to_event(event, evaluation=self._job.kind == EVALUATION)

    # --- step 5 ---------------------------------------------------------------------------------------------------

    def _conclude(self, code: int, last: LastEvent | None) -> str:
        if self._checkpoints.pending and isinstance(last, Done | TrainFailed):
            # Do not end the job: it would never be claimed again, and these checkpoints could be removed with its run
            # directory.
            return self._wait_for_store()
        match last:
            case Done() | Evaluated() | Planned():
                return endings.end(self._resources, self._lease, self._run, last)
            case TrainFailed():
                return self._fail(last)
            case Stopped():
                return self._give_back()
        if self._to_stop():  # the trainer was killed because it did not stop in time
            return self._give_back()
        if (error := endings.disk_failure(code, last)) is not None:
            return self._wait_for_disk(error)
        outcome = endings.after_loss(self._lease, code, last, self._run, self._kills)
        return self._retry(outcome) if isinstance(outcome, str) else self._fail(outcome)

    def _fail(self, failed: TrainFailed) -> str:
        try:
            return publish.fail(self._resources, self._lease, self._run, failed)
        except (OstinatoError, OSError) as error:
            if disk_errors.awaited(error):  # the best checkpoint must still be stored
                return self._wait_for_disk(error)
            raise

    def _wait_for_store(self) -> str:
        error = self._checkpoints.error
        if error is not None and disk_errors.awaited(error):
            return self._wait_for_disk(error)
        return self._retry("the blob store cannot accept the checkpoints", lost=False)
