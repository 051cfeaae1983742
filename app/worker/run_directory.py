"""The directory of a run: where it lies, what the worker puts in, what the trainers have said, when it goes.

    run.json       the protocol.TrainSpec, the same for every attempt     inputs/   the data files, checked by hash
    base/          the checkpoint to fine-tune, where there is one        trainer.log   the trainers' own log lines
    events/<n>     what the trainer of attempt n has said                 lock   held open by the living trainer

The rest is the trainer's. Knows blobs and files; knows no job state.
"""

from __future__ import annotations

import fcntl
import hashlib
import logging
import os
import shutil
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import msgspec

from app.checkpoint import directory as checkpoint
from app.checkpoint.directory import FileEntry
from app.errors import CheckpointInvalid
from app.storage.blobs import BlobStore
from app.storage.local_cache import LocalCache
from app.wire.trainer import DataFile, TrainEvent, TrainSpec

log = logging.getLogger(__name__)
READ_BYTES = 2**20
LOCK_POLL_SECONDS = 0.05


class RunBusy(Exception):
    """Another trainer still lives in the directory."""


class RunDirectory:
    """One run's place on this machine's disk. It outlives attempts, workers and this object."""

    def __init__(self, runs: Path, job_id: str) -> None:
        self.path = runs / job_id
        self.path.mkdir(mode=0o700, parents=True, exist_ok=True)
        (self.path / "events").mkdir(exist_ok=True)

    @property
    def log(self) -> Path:
        return self.path / "trainer.log"

    def inside(self, relative: str) -> Path:
        """A path that the trainer named. Raises CheckpointInvalid for one outside the run."""
        path = (self.path / relative).resolve()
        if not path.is_relative_to(self.path.resolve()):
            raise CheckpointInvalid(f"the trainer named {relative!r}, which lies outside its run")
        return path

    def lock(self, patience: float, check: Callable[[], None]) -> int:
        """The lock of the directory, as a descriptor for the trainer to hold: it is free when the trainer is gone.

        The worker closes its own end once the trainer runs, so that a frozen worker locks nobody out. Raises RunBusy
        where another trainer is still there after `patience` seconds; `check` is called while waiting and may raise.
        """
        descriptor = os.open(self.path / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            end = time.monotonic() + patience
            while not _locked(descriptor):
                check()
                if time.monotonic() > end:
                    raise RunBusy("an earlier trainer of the job still runs")
                time.sleep(LOCK_POLL_SECONDS)
        except BaseException:
            os.close(descriptor)
            raise
        return descriptor

    def fill(self, spec: TrainSpec, blobs: BlobStore) -> None:
        """Put the files and `run.json` in, where they are not there yet."""
        (self.path / "inputs").mkdir(exist_ok=True)
        for file in (spec.training_file, spec.validation_file):
            if file is not None:
                self._fetch(file, blobs)
        if not (self.path / "run.json").exists():
            checkpoint.write_json(self.path / "run.json", msgspec.to_builtins(spec))

    def fill_base(self, digest: str, files: Mapping[str, FileEntry], cache: LocalCache) -> None:
        """Copy the checkpoint to fine-tune, and check the copy."""
        base, aside = self.path / "base", self.path / ".base"
        if base.exists() and checkpoint.digest(checkpoint.manifest(base)) == digest:
            return
        for old in (base, aside):
            shutil.rmtree(old, ignore_errors=True)
        shutil.copytree(cache.checkpoint(digest, files), aside)
        if checkpoint.digest(checkpoint.manifest(aside)) != digest:
            raise CheckpointInvalid("the copy of the model to fine-tune differs from the original; is the disk sound?")
        aside.rename(base)

    def settled(self) -> dict[str, Any] | None:
        """What the trainer has chosen by itself, once it has."""
        try:
            found = msgspec.json.decode((self.path / "settled.json").read_bytes())
        except (OSError, msgspec.DecodeError):
            return None
        return found if isinstance(found, dict) else None

    def events(self, attempt: int) -> Path:
        return self.path / "events" / f"{attempt}.jsonl"

    def earlier_events(self, attempt: int) -> Iterator[list[TrainEvent]]:
        """In pieces, what earlier trainers have said: a lost worker may not have written all of it down."""
        said = (int(p.stem) for p in (self.path / "events").glob("*.jsonl") if p.stem.isdecimal())
        for number in sorted(n for n in said if n < attempt):
            said_then = EventFile(self.events(number))
            while found := said_then.read():
                yield found

    def _fetch(self, file: DataFile, blobs: BlobStore) -> None:
        path = self.inside(file.path)
        if path.exists():
            with path.open("rb") as there:
                if hashlib.file_digest(there, "sha256").hexdigest() == file.sha256:
                    return
        blobs.fetch(file.sha256, path)


class EventFile:
    """Reads a growing file of JSON lines, each whole line once."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._offset = 0
        self._decoder: msgspec.json.Decoder[TrainEvent] = msgspec.json.Decoder(TrainEvent)

    def read(self) -> list[TrainEvent]:
        """The next events, some of them if there are many; none where nothing new has been said."""
        found: list[TrainEvent] = []
        size = READ_BYTES
        while not found:
            chunk = self._chunk(size)
            whole, newline, _ = chunk.rpartition(b"\n")
            if newline:
                self._offset += len(whole) + 1
                found = [event for line in whole.split(b"\n") if (event := self._decode(line)) is not None]
            elif len(chunk) < size:
                break
            else:
                size *= 2  # one very long line
        return found

    def _chunk(self, size: int) -> bytes:
        try:
            with self._path.open("rb") as file:
                file.seek(self._offset)
                return file.read(size)
        except FileNotFoundError:
            return b""

    def _decode(self, line: bytes) -> TrainEvent | None:
        try:
            return self._decoder.decode(line)
        except msgspec.MsgspecError as error:
            log.warning("a line of %s is no event and is passed over: %s", self._path.name, error)
            return None


def prune(runs: Path, keep: int, over: Callable[[list[str]], set[str]]) -> None:
    """Remove the oldest directories of jobs that are `over` (asked with ids), but for the `keep` newest of them."""
    if not runs.is_dir():
        return
    present = {path.name: path for path in runs.iterdir() if path.is_dir()}
    ended = sorted(over(list(present)), key=lambda name: present[name].stat().st_mtime, reverse=True)
    for name in ended[keep:]:
        shutil.rmtree(present[name], ignore_errors=True)


def _locked(descriptor: int) -> bool:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True
