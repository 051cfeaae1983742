"""A job's run directory on this machine's disk: its layout, lock, inputs and removal.

    run.json       the TrainSpec, the same for every attempt           inputs/       the data files, checked by hash
    evaluation.json  in place of run.json: an EvaluationSpec           against/      the other checkpoint to evaluate
    batch.json     in place of run.json: a BatchSpec                   answers       the answers to a batch's requests
    base/          the checkpoint to fine-tune or to evaluate          trainer.log   the trainers' log lines
    events/<n>     the events of attempt n's trainer                   lock          held by the running trainer

The trainer writes all other files.
"""

from __future__ import annotations

import fcntl
import hashlib
import os
import shutil
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, Literal

import msgspec

from app.checkpoint import directory as checkpoint
from app.checkpoint.directory import FileEntry
from app.errors import CheckpointInvalid
from app.runs.event_file import EventFile
from app.storage.blobs import BlobStore
from app.storage.local_cache import LocalCache
from app.wire import batch
from app.wire.batch import BatchSpec
from app.wire.trainer import DataFile, EvaluationSpec, TrainEvent, TrainSpec

LOCK_POLL_SECONDS = 0.05
SHARED = ("prepared", "baseline")  # written by the trainer; each is complete or absent, and never changes afterwards


class RunBusy(Exception):
    """Another trainer is still running in the directory."""


class RunDirectory:
    """The run directory of one job. The directory is kept when an attempt or a worker ends."""

    def __init__(self, runs: Path, job_id: str) -> None:
        self.path = runs / job_id

    def create(self) -> None:
        """Create the directory, unless it already exists."""
        self.path.mkdir(mode=0o700, parents=True, exist_ok=True)
        (self.path / "events").mkdir(exist_ok=True)

    def remove(self) -> None:
        """Remove the directory of a job that has ended."""
        shutil.rmtree(self.path, ignore_errors=True)

    @property
    def log(self) -> Path:
        """The file to which every attempt's trainer appends its log lines."""
        return self.path / "trainer.log"

    def inside(self, relative: str) -> Path:
        """Resolve a path reported by the trainer. Raises CheckpointInvalid if it is outside the directory."""
        path = (self.path / relative).resolve()
        if not path.is_relative_to(self.path.resolve()):
            raise CheckpointInvalid(f"the trainer reported the path {relative!r}, which is outside its run directory")
        return path

    def lock(self, patience: float, check: Callable[[], None]) -> int:
        """Lock the directory and return the lock's file descriptor, for the trainer to inherit.

        The lock is held as long as any process has the descriptor open. After starting the trainer, the worker closes
        its own copy, so that the lock is released when the trainer exits, even if the worker is unresponsive.

        Waits up to `patience` seconds for another trainer to exit, then raises RunBusy. While waiting, calls `check`
        repeatedly, which may raise an exception to stop waiting.
        """
        descriptor = os.open(self.path / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            end = time.monotonic() + patience
            while not _try_lock(descriptor):
                check()
                if time.monotonic() > end:
                    raise RunBusy("an earlier trainer of the job is still running")
                time.sleep(LOCK_POLL_SECONDS)
        except BaseException:
            os.close(descriptor)
            raise
        return descriptor

    def fill(self, spec: TrainSpec, blobs: BlobStore) -> None:
        """Fetch the data files and write `run.json`, unless they already exist."""
        (self.path / "inputs").mkdir(exist_ok=True)
        for file in (spec.training_file, spec.validation_file):
            if file is not None:
                self._fetch(file, blobs)
        if not (self.path / "run.json").exists():
            checkpoint.write_json(self.path / "run.json", msgspec.to_builtins(spec))

    def fill_evaluation(self, spec: EvaluationSpec, blobs: BlobStore) -> None:
        """Fetch an evaluation's file and write `evaluation.json`, unless they already exist."""
        (self.path / "inputs").mkdir(exist_ok=True)
        self._fetch(spec.file, blobs)
        if not (self.path / "evaluation.json").exists():
            checkpoint.write_json(self.path / "evaluation.json", msgspec.to_builtins(spec))

    def fill_batch(self, spec: BatchSpec, blobs: BlobStore) -> None:
        """Fetch the requests of a batch and write `batch.json`, unless they already exist."""
        (self.path / "inputs").mkdir(exist_ok=True)
        self._fetch(spec.file, blobs)
        if not (self.path / batch.SPEC).exists():
            checkpoint.write_json(self.path / batch.SPEC, msgspec.to_builtins(spec))

    def fill_base(
        self, digest: str, files: Mapping[str, FileEntry], cache: LocalCache, name: Literal["base", "against"] = "base"
    ) -> None:
        """Copy a checkpoint to `base/` or `against/` and verify the copy, unless it already exists."""
        base, partial = self.path / name, self.path / f".{name}"
        if base.exists() and checkpoint.digest(checkpoint.manifest(base)) == digest:
            return
        for old in (base, partial):
            shutil.rmtree(old, ignore_errors=True)
        shutil.copytree(cache.checkpoint(digest, files), partial)
        if checkpoint.digest(checkpoint.manifest(partial)) != digest:
            raise CheckpointInvalid(
                "the copy of the model in the run directory differs from the original; check the disk"
            )
        partial.rename(base)  # `base` is always a complete copy

    def share(self, other: RunDirectory) -> None:
        """Link the files that the run in `other` prepared from the same data, if they are on this machine."""
        for name in SHARED:
            source, target, partial = other.path / name, self.path / name, self.path / f".{name}.shared"
            if source.is_dir() and not target.exists():
                shutil.rmtree(partial, ignore_errors=True)
                shutil.copytree(source, partial, copy_function=_link)
                partial.rename(target)

    @property
    def step(self) -> int:
        """The step from which the next attempt continues; 0 if there is no resume point."""
        names = (path.name.removeprefix("step-") for path in (self.path / "resume").glob("step-*"))
        return max((int(name) for name in names if name.isdecimal()), default=0)

    def settled(self) -> dict[str, Any] | None:
        """Return the hyperparameters that the trainer has chosen, or None if it has not written them yet."""
        try:
            settled = msgspec.json.decode((self.path / "settled.json").read_bytes())
        except (OSError, msgspec.DecodeError):
            return None
        return settled if isinstance(settled, dict) else None

    def events(self, attempt: int) -> Path:
        """Return the path of the event file written by an attempt's trainer."""
        return self.path / "events" / f"{attempt}.jsonl"

    def earlier_events(self, attempt: int) -> Iterator[list[TrainEvent]]:
        """Yield the events of all earlier attempts' trainers, in batches.

        The next attempt logs them again: if a worker was killed, its trainer's last events may be missing from the log.
        """
        numbers = (int(path.stem) for path in (self.path / "events").glob("*.jsonl") if path.stem.isdecimal())
        for number in sorted(n for n in numbers if n < attempt):
            file = EventFile(self.events(number))
            while events := file.read():
                yield events

    def _fetch(self, file: DataFile, blobs: BlobStore) -> None:
        path = self.inside(file.path)
        if path.exists():
            with path.open("rb") as existing:
                if hashlib.file_digest(existing, "sha256").hexdigest() == file.sha256:
                    return
        blobs.fetch(file.sha256, path)


def prune(runs: Path, keep: int, ended: Callable[[list[str]], set[str]]) -> None:
    """Remove the run directories of ended jobs, except for the newest `keep` directories.

    `ended` receives the ids of all jobs that have a directory, and returns the ids of those that have ended.
    """
    if not runs.is_dir():
        return
    paths = {path.name: path for path in runs.iterdir() if path.is_dir()}
    newest_first = sorted(ended(list(paths)), key=lambda name: paths[name].stat().st_mtime, reverse=True)
    for name in newest_first[keep:]:
        shutil.rmtree(paths[name], ignore_errors=True)


def _link(source: str, target: str) -> None:
    """Link a file, or copy it if the file system has no hard links."""
    try:
        os.link(source, target)
    except OSError:
        shutil.copyfile(source, target)


def _try_lock(descriptor: int) -> bool:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True
