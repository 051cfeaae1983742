"""Dry runs: estimates for training requests, computed without queueing a job.

The trainer program computes the estimate in a temporary run directory. Because this takes CPU time and memory, each API
process runs only one dry run at a time.
"""

from __future__ import annotations

import contextlib
import logging
import os
import shutil
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

import msgspec

from app import disk_errors, telemetry
from app.db.database import Database
from app.db.paging import new_id
from app.errors import DeadlineExceeded, EngineFailed, InvalidRequest, Overloaded, Unavailable
from app.files.service import Files
from app.jobs.creation import JobCreation
from app.jobs.repository import JobRepository
from app.jobs.request import JobRequest
from app.registry.records import Version
from app.registry.service import Registry
from app.runs.event_file import EventFile
from app.runs.run_directory import RunBusy, RunDirectory
from app.runs.trainer import TRAINER, Trainer, environment, limits, options
from app.settings import Settings
from app.storage.blobs import BlobStore
from app.storage.local_cache import LocalCache
from app.wire.estimate import Estimate, EstimateNote
from app.wire.trainer import Estimated, Note, TrainEvent, TrainFailed, TrainSpec

log = logging.getLogger(__name__)
POLL_SECONDS = 0.05
LEASE_SECONDS = 10.0  # seconds after which the trainer exits if this process is frozen
RETRY_SECONDS = 5.0
WAIT_SECONDS = 2.0  # an estimate whose client has left, perhaps to send this request instead, ends within this time
YOUNG_SECONDS = 60.0  # a directory younger than this may not have been locked yet
REPORT = "data_report"
SHOWN = (REPORT, "settled", "base")  # kinds of notes whose content is in other fields of the estimate


class EstimateAbandoned(Exception):
    """The client disconnected before the estimate was complete."""


class Estimates:
    """Computes estimates; one instance per process. Thread-safe."""

    def __init__(
        self,
        settings: Settings,
        database: Database,
        registry: Registry,
        files: Files,
        blobs: BlobStore,
        cache: LocalCache,
        *,
        trainer: Sequence[str] = TRAINER,
        env: Mapping[str, str] | None = None,
    ) -> None:
        """`trainer` is the command that starts a trainer. Trainers inherit some of the variables in `env`."""
        memory = settings.training_memory * 2**20
        self._creation = JobCreation(database, registry, files, JobRepository(database), memory)
        self._blobs, self._cache = blobs, cache
        self._settings, self._trainer = settings, (*trainer, *options(settings), "--estimate")
        self._env = environment(os.environ if env is None else env)
        self._folder = settings.scratch_dir / "estimates"
        self._running = threading.Lock()
        self._closing = threading.Event()

    def close(self) -> None:
        """Stop the running estimate, and reject new ones."""
        self._closing.set()

    def estimate(
        self,
        request: JobRequest,
        principal: str,
        seconds: float,
        stopping: Callable[[], bool] = lambda: False,
        show: Callable[[Estimate], None] = lambda _: None,
    ) -> Estimate:
        """Estimate the memory and time that a job with this request needs. Blocks for up to `seconds`.

        Calls `show` with an estimate without plans as soon as the data has been read.

        Raises the same errors as `Jobs.create`. If the data is unusable, raises InvalidRequest with the error code and
        message that the job would have. Raises Overloaded if another estimate keeps running, DeadlineExceeded after
        `seconds`, and EstimateAbandoned when `stopping` returns true.
        """
        if not self._running.acquire(timeout=WAIT_SECONDS):
            message = "another dry run is in progress, and only one can run at a time; try again in a moment"
            raise Overloaded(message, code="dry_run_busy", retry_after=RETRY_SECONDS)
        try:
            if stopping():
                raise EstimateAbandoned
            spec, base = self._creation.draft(request, principal)
            with self._directory() as (run, lock):
                return self._run(run, lock, spec, base, principal, time.monotonic() + seconds, stopping, show)
        except OSError as error:
            log.exception("a dry run failed")
            raise Unavailable(f"the dry run failed: {error.strerror or error}", code="dry_run_failed") from None
        finally:
            self._running.release()

    @contextmanager
    def _directory(self) -> Iterator[tuple[RunDirectory, int]]:
        """Yield a run directory and the file descriptor of its lock. The directory is removed at the end of the block.

        If this process is killed, the lock is released, and a later estimate removes the directory.
        """
        self._sweep()
        run = RunDirectory(self._folder, new_id("estimate"))
        run.create()
        lock = run.lock(0.0, lambda: None)
        try:
            yield run, lock
        finally:
            shutil.rmtree(run.path, ignore_errors=True)
            os.close(lock)

    def _sweep(self) -> None:
        """Remove the directories left behind by killed processes."""
        for path in self._folder.iterdir() if self._folder.is_dir() else ():
            with contextlib.suppress(OSError, RunBusy):
                if time.time() - path.stat().st_mtime > YOUNG_SECONDS:
                    lock = RunDirectory(self._folder, path.name).lock(0.0, lambda: None)
                    shutil.rmtree(path, ignore_errors=True)
                    os.close(lock)

    def _run(
        self,
        run: RunDirectory,
        lock: int,
        spec: TrainSpec,
        base: Version | None,
        principal: str,
        deadline: float,
        stopping: Callable[[], bool],
        show: Callable[[Estimate], None],
    ) -> Estimate:
        run.fill(spec, self._blobs)
        if base is not None:
            run.fill_base(base.digest, base.files, self._cache)
        trainer = Trainer(
            (*self._trainer, *limits(self._settings, principal)),
            run.path,
            events=run.events(1),
            log=run.log,
            lease_seconds=LEASE_SECONDS,
            about=(telemetry.request_id.get() or "", ""),
            keep_open=(lock,),
            env=self._env,
        )
        events: list[TrainEvent] = []
        try:
            for event in self._follow(trainer, run.events(1), deadline, stopping):
                events.append(event)
                if isinstance(event, Estimated) and _has_only_data(event.estimate):
                    show(_complete(event.estimate, events))
            return _conclude(events, trainer.close(), run.log)
        finally:
            trainer.close()

    def _follow(
        self, trainer: Trainer, path: Path, deadline: float, stopping: Callable[[], bool]
    ) -> Iterator[TrainEvent]:
        """Yield the trainer's events until it exits."""
        file = EventFile(path)
        while trainer.running():
            if stopping():
                raise EstimateAbandoned
            if self._closing.is_set():
                raise Unavailable("the service is stopping; repeat the dry run later", retry_after=RETRY_SECONDS)
            if time.monotonic() > deadline:
                raise DeadlineExceeded("the dry run was not finished within the request's time limit")
            trainer.renew()
            yield from file.read()
            time.sleep(POLL_SECONDS)
        while events := file.read():
            yield from events


def _has_only_data(estimate: Estimate) -> bool:
    """Whether the trainer sent the estimate before it had timed any run."""
    return not estimate.plans


def _complete(estimate: Estimate, events: list[TrainEvent]) -> Estimate:
    """Return the estimate with the report on the data and the remarks, which precede it in `events`."""
    notes = [event for event in events if isinstance(event, Note)]
    remarks = [EstimateNote(note.level, note.kind, note.message) for note in notes if note.kind not in SHOWN]
    report = next((note.data for note in notes if note.kind == REPORT), {})
    return msgspec.structs.replace(estimate, notes=remarks, report=report)


def _conclude(events: list[TrainEvent], code: int, trainer_log: Path) -> Estimate:
    """Return the estimate, or raise an exception for the error that ended the trainer."""
    match events[-1] if events else None:
        case Estimated(estimate) if not _has_only_data(estimate):
            return _complete(estimate, events)
        case TrainFailed(failure, message, param):
            raise InvalidRequest(message, code=failure, param=param)
    if code == disk_errors.EXIT_CODE:
        raise Unavailable("this machine's disk is full or has failed", code="storage_unavailable")
    with contextlib.suppress(OSError):
        log.error("the trainer of a dry run ended with code %d: %s", code, trainer_log.read_text()[-2000:])
    raise EngineFailed("the dry run ended unexpectedly; see the service's log for details", code="dry_run_failed")
