"""One attempt at a job, from the claim to its last word: the order of things, and what each end means.

1. Alone in the run directory: an earlier trainer is gone. 2. Files, configuration and base model are put in. 3. What
earlier trainers said and their worker may not have written down is written. 4. The trainer runs; what it says is
written as it comes. 5. Its end becomes the job's next state. The lease's own thread watches over all of it.
"""

from __future__ import annotations

import contextlib
import logging
import math
import os
import time
from collections.abc import Callable

import msgspec
from sqlalchemy.orm import Session

from app.errors import OstinatoError
from app.jobs.records import Job, JobProgress, NewEvent
from app.registry.repository import entries
from app.wire.trainer import Broke, CheckpointSaved, Done, Stopped, TrainEvent, TrainFailed, TrainSpec
from app.worker import publish
from app.worker import transcript as telling
from app.worker.lease import TRAINER_SHARE, Lease, LeaseLost
from app.worker.run_directory import EventFile, RunBusy, RunDirectory
from app.worker.trainer import Trainer, environment
from app.worker.trainers import end_stray, listed
from app.worker.workplace import Workplace, delay

log = logging.getLogger(__name__)
POLL_SECONDS = 0.1
STRAY_SECONDS = 1.0  # for an earlier attempt's trainer to end by itself
GOODBYE_SECONDS = 10.0  # for a trainer to end after its last word
AWAY_SECONDS = 5.0  # before a job is tried again whose blobs were out of reach
LOST = "lost"  # no state of the job: this worker has nothing more to do with it

LastWord = Done | Stopped | TrainFailed | Broke


class Interrupted(Exception):
    """The attempt shall not go on: the job is to be cancelled or paused, or the worker stops."""


class Attempt:
    """`stopping` says whether the worker shall end."""

    def __init__(self, place: Workplace, job: Job, stopping: Callable[[], bool]) -> None:
        self._place, self._job, self._stopping = place, job, stopping
        self._lease = Lease(place.database, place.jobs, job, place.settings.lease_seconds)
        self._run = RunDirectory(place.runs, job.id)
        self._kept: set[int] = set()  # the steps of the checkpoints that are kept already
        self._held: dict[int, CheckpointSaved] = {}  # by step, those for which the store was away
        self._held_until, self._failures = 0.0, 0  # when the store is asked again, and how often that was in vain
        self._settled = bool(job.settled)

    def run(self) -> str:
        """The job's new status, or "lost". Never raises but for a defect of this program."""
        with self._lease:
            try:
                return self._try()
            except LeaseLost:
                return LOST

    def _try(self) -> str:
        try:
            code, last = self._train()
            return self._conclude(code, last)
        except Interrupted:
            return self._give_back()
        except OstinatoError as error:
            if error.retryable:
                return self._retry(error.message, lost=False)
            failed = TrainFailed(error.code, error.message, error.param)
            return publish.fail(self._place, self._lease, self._run, failed)
        except RunBusy as error:  # its worker may be frozen, which is no fault of the job
            return self._retry(str(error), lost=False)
        except OSError as error:
            log.exception("%s: the attempt broke off", self._job.id)
            return self._retry(telling.fault_words(error))

    # --- 1 to 3 ---------------------------------------------------------------------------------------------------

    def _train(self) -> tuple[int, LastWord | None]:
        """Run the trainer to its end: its exit code and its last word."""
        with contextlib.ExitStack() as held:
            lock = self._lock()
            held.callback(os.close, lock)
            self._fill()
            self._kept = publish.kept_steps(self._place, self._lease)
            for said in self._run.earlier_events(self._job.attempt):
                self._record(said, live=False)
            self._check()
            trainer = self._start(lock)
        try:
            self._lease.guard(trainer)
            with listed(self._place.trainers, self._job.id, self._job.attempt, trainer.pid):
                last = self._follow(trainer)
                return trainer.close(), last
        finally:
            trainer.close()

    def _lock(self) -> int:
        """A trainer of an earlier attempt has no right to the job, and mostly ends by itself; else it is ended."""
        try:
            return self._run.lock(STRAY_SECONDS, self._check)
        except RunBusy:
            end_stray(self._place.trainers, self._job.id, self._run.path)
            return self._run.lock(self._lease.seconds, self._check)

    def _fill(self) -> None:
        place, job = self._place, self._job
        self._run.fill(msgspec.convert(job.request["spec"], TrainSpec), place.blobs)
        if job.base_digest is not None:
            self._check()
            self._run.fill_base(job.base_digest, entries(job.request["base"]["files"]), place.cache)

    def _start(self, lock: int) -> Trainer:
        place = self._place
        return Trainer(
            place.trainer,
            self._run.path,
            events=self._run.events(self._job.attempt),
            log=self._run.log,
            lease_seconds=TRAINER_SHARE * place.settings.lease_seconds,
            about=(self._job.request_id or "", self._job.id),
            keep_open=(lock,),
            env=environment(place.env),
        )

    def _check(self) -> None:
        self._lease.check()
        if self._wanted_elsewhere():
            raise Interrupted

    def _wanted_elsewhere(self) -> bool:
        return self._lease.cancel or self._lease.pause or self._stopping()

    # --- 4 --------------------------------------------------------------------------------------------------------

    def _follow(self, trainer: Trainer) -> LastWord | None:
        said = EventFile(self._run.events(self._job.attempt))
        last: LastWord | None = None
        patience = math.inf
        while True:
            running = trainer.running()  # before reading: what it said at its end is not missed
            while events := said.read():
                last = self._record(events, live=True) or last
            self._keep_held(now=not running and not self._lease.cancel)
            if not running:
                return last
            self._lease.check()
            if last is not None:
                patience = min(patience, time.monotonic() + GOODBYE_SECONDS)
            elif patience == math.inf and self._wanted_elsewhere():
                trainer.terminate()
                patience = time.monotonic() + self._place.settings.stop_seconds
            if time.monotonic() > patience:
                trainer.kill()
            time.sleep(POLL_SECONDS)

    def _record(self, events: list[TrainEvent], *, live: bool) -> LastWord | None:
        """Write events down, once each. Those of earlier attempts move nothing and are nobody's last word."""
        lines = [line for event in events if (line := self._line(event)) is not None]
        settled = None if self._settled else self._run.settled()
        self._report(telling.progress(events if live else [], settled), lines)
        self._settled = self._settled or settled is not None
        words = [event for event in events if isinstance(event, LastWord)]
        return words[-1] if words and live else None

    def _report(self, progress: JobProgress, lines: list[NewEvent]) -> None:
        job = self._job
        if lines or progress.settled:
            self._lease.write(lambda s: self._place.jobs.report(s, job.id, job.attempt, progress, lines))

    def _line(self, event: TrainEvent) -> NewEvent | None:
        return self._keep(event) if isinstance(event, CheckpointSaved) else telling.line(event)

    def _keep(self, saved: CheckpointSaved) -> NewEvent | None:
        """Keep a checkpoint once, and return what is to be told of it: nothing yet where the store is away."""
        if saved.step not in self._kept:
            try:
                publish.keep(self._place, self._lease, self._run, saved)
            except (OstinatoError, OSError) as error:
                log.warning("%s: the checkpoint of step %d is not kept: %s", self._job.id, saved.step, error)
                if not (isinstance(error, OstinatoError) and error.retryable):
                    return telling.lost_checkpoint(saved.step)
                self._held[saved.step] = saved
                return None
            self._kept.add(saved.step)
        return telling.line(saved)

    def _keep_held(self, *, now: bool = False) -> None:
        """Try again to keep what the store did not take, from time to time or `now`."""
        if not self._held or not (now or time.monotonic() >= self._held_until):
            return
        held, self._held = self._held, {}
        lines = [line for saved in held.values() if (line := self._keep(saved)) is not None]
        self._failures = self._failures + 1 if self._held else 0
        self._held_until = time.monotonic() + delay(self._failures)
        self._report(JobProgress(), lines)

    # --- 5 --------------------------------------------------------------------------------------------------------

    def _conclude(self, code: int, last: LastWord | None) -> str:
        if self._held and isinstance(last, Done | TrainFailed):
            return self._retry("the blob store does not take the checkpoints", lost=False)
        match last:
            case Done():
                return publish.publish(self._place, self._lease, self._run, last)
            case TrainFailed():
                return publish.fail(self._place, self._lease, self._run, last)
            case Stopped():
                return self._give_back()
        if self._wanted_elsewhere():
            return self._give_back()
        how = f"a fault: {last.kind}" if isinstance(last, Broke) else telling.exit_words(code)
        return self._retry(f"the trainer ended unasked ({how})")

    def _give_back(self) -> str:
        """Stopped as asked: by people, who pause or cancel, or by the worker's own end, which another goes on from."""
        jobs, job = self._place.jobs, self._job
        return self._lease.end(lambda s: jobs.requeue(s, job.id, job.attempt, lost=False))

    def _retry(self, why: str, *, lost: bool = True) -> str:
        """Ended without anybody's wish: try again later, from the newest resume point. `lost`: but not for ever."""
        place, job = self._place, self._job
        if lost and job.losses + 1 >= place.settings.max_attempts:
            failed = TrainFailed("trainer_lost", f"{why}; that was the last of {job.losses + 1} tries")
            return publish.fail(place, self._lease, self._run, failed)
        wait = delay(job.losses) if lost else AWAY_SECONDS
        message = telling.clean(f"Attempt {job.attempt} broke off: {why}. The next one follows in {wait:g} s")
        event = NewEvent(kind="job.lost", step=job.attempt, level="warn", message=message)

        def end(session: Session) -> str:
            place.jobs.log(session, job.id, [event])
            return place.jobs.requeue(session, job.id, job.attempt, lost=lost, delay=wait)

        return self._lease.end(end)
