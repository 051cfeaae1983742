"""Samples of the traffic of the last hour, summed over the API processes of this machine.

Each process keeps its own samples in memory, and appends them to a file that the other processes read. If the file
cannot be written, for example because the disk is full, the other processes do not see the samples of this process.
"""

from __future__ import annotations

import logging
import os
import secrets
import time
from collections import Counter, deque
from collections.abc import Callable, Iterable
from contextlib import suppress
from pathlib import Path

import msgspec

PERIOD = 10  # seconds between two samples
KEPT_SECONDS = 3600
MOST_VERSIONS, MOST_LABELS = 50, 20  # maximum number of versions in a sample, and of labels of each version
MOST_CHARACTERS = 200  # longer labels are cut to this length
SUFFIX, OLD = ".traffic", ".traffic.old"
log = logging.getLogger(__name__)


class VersionTraffic(msgspec.Struct, omit_defaults=True):
    """The requests to one version, with their total duration, and its answers.

    `texts` counts the classified inputs, `labels` the answers with each of the most frequent labels, and `others` the
    answers with other labels. `confidence` is the sum of the scores of the best labels.
    """

    owner: str
    requests: int = 0
    seconds: float = 0.0
    texts: int = 0
    labels: dict[str, int] = {}
    others: int = 0
    confidence: float = 0.0

    def add(self, other: VersionTraffic) -> None:
        """Add the numbers of another sample of this version."""
        self.requests += other.requests
        self.seconds += other.seconds
        self.texts += other.texts
        self.labels = dict(Counter(self.labels) + Counter(other.labels))
        self.others += other.others
        self.confidence += other.confidence

    def bound(self) -> None:
        """Keep the most frequent labels, and count the rest as `others`."""
        ranked = Counter(self.labels).most_common()
        self.labels = {}
        for label, count in ranked[:MOST_LABELS]:
            name = label[:MOST_CHARACTERS]
            self.labels[name] = self.labels.get(name, 0) + count
        self.others += sum(count for _, count in ranked[MOST_LABELS:])


class TrafficSample(msgspec.Struct, omit_defaults=True):
    """The traffic of one period, which begins `at` seconds since the epoch.

    `counts` contains sums over all requests: replies, errors, read and generated tokens, and the requests that ran and
    waited at the end of the period. `rejected` counts the refused requests by reason.
    """

    at: int
    counts: dict[str, float] = {}
    rejected: dict[str, int] = {}
    versions: dict[str, VersionTraffic] = {}

    def add(self, other: TrafficSample) -> None:
        """Add the traffic of another process in the same period."""
        self.counts = {
            name: self.counts.get(name, 0) + other.counts.get(name, 0) for name in self.counts | other.counts
        }
        self.rejected = dict(Counter(self.rejected) + Counter(other.rejected))
        for ref, traffic in other.versions.items():
            if ref in self.versions:
                self.versions[ref].add(traffic)
            else:
                self.versions[ref] = traffic

    @property
    def empty(self) -> bool:
        """Whether nothing happened in this period."""
        return not (any(self.counts.values()) or self.rejected or self.versions)


class TrafficRing:
    """The samples of the last hour. Not thread-safe. `folder` is shared by the API processes of this machine."""

    def __init__(self, folder: Path | None, clock: Callable[[], float] = time.time) -> None:
        self._clock = clock
        self._own: deque[bytes] = deque(maxlen=KEPT_SECONDS // PERIOD)
        self._file = None if folder is None else folder / f"{os.getpid()}-{secrets.token_hex(4)}{SUFFIX}"
        self._lines, self._fails = 0, False

    def add(self, sample: TrafficSample) -> None:
        """Store a sample of this process. Writes to the disk."""
        line = msgspec.json.encode(sample)
        self._own.append(line)
        if self._file is None:
            return
        try:
            self._append(self._file, line)
        except OSError as error:
            if not self._fails:
                log.warning("other API processes do not see the traffic of this one: %s", error.strerror)
            self._fails = True
        else:
            self._fails = False

    def read(self) -> list[TrafficSample]:
        """Return the samples of all processes, oldest first. Reads from the disk."""
        since = self._clock() - KEPT_SECONDS
        merged: dict[int, TrafficSample] = {}
        for line in (*self._own, *self._others()):
            with suppress(msgspec.DecodeError):  # a line that another process is writing
                sample = msgspec.json.decode(line, type=TrafficSample)
                if sample.at < since:
                    continue
                if sample.at in merged:
                    merged[sample.at].add(sample)
                else:
                    merged[sample.at] = sample
        return [merged[at] for at in sorted(merged)]

    def _append(self, file: Path, line: bytes) -> None:
        if self._lines == 0:
            file.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            self._remove_old(file.parent)
        elif self._lines >= KEPT_SECONDS // PERIOD:
            file.replace(file.with_suffix(OLD))
            self._lines = 0
        with os.fdopen(os.open(file, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o600), "wb") as stream:
            stream.write(line + b"\n")
        self._lines += 1

    def _remove_old(self, folder: Path) -> None:
        for path in _files(folder):
            with suppress(FileNotFoundError):  # another process may have removed it
                if path.stat().st_mtime < self._clock() - KEPT_SECONDS:
                    path.unlink()

    def _others(self) -> Iterable[bytes]:
        """The lines of other processes, including those that have ended."""
        if self._file is None:
            return
        for path in _files(self._file.parent):
            if path.name.split(".")[0] != self._file.name.split(".")[0]:
                with suppress(OSError):
                    yield from path.read_bytes().splitlines()


def _files(folder: Path) -> list[Path]:
    return [*folder.glob(f"*{SUFFIX}"), *folder.glob(f"*{OLD}")]
