"""The spool of a batch: a file to which the batch program appends each answer once.

A record is one line: a checksum, the index of the request, 1 for a success or 0 for an error, and the line of the
output file. If a program is killed, it may leave an incomplete last record. The next program removes that record and
answers the request again. A complete record is never written again, so no request has two answers. The lock on the
run directory ensures that only one program writes.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path
from types import TracebackType
from typing import NamedTuple, Self
from zlib import crc32


class SpooledAnswer(NamedTuple):
    """The position of an answer's line in the spool, without the line ending, and whether the answer is a success."""

    offset: int
    size: int
    success: bool


class SpoolReader:
    """Reads a spool while it grows. `answers` maps the indexes of requests to their answers."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.answers: dict[int, SpooledAnswer] = {}
        self.completed = self.failed = 0
        self.end = 0  # the offset of the end of the last complete record

    def read(self) -> Self:
        """Read the records that have been added. The file need not exist yet."""
        try:
            file = self.path.open("rb")
        except FileNotFoundError:
            return self
        with file:
            file.seek(self.end)
            while (record := file.readline()) and (parsed := _parse(record)) is not None:
                index, success, size = parsed
                self._add(index, SpooledAnswer(self.end + len(record) - 1 - size, size, success))
                self.end += len(record)
        return self

    def in_order(self, total: int) -> Iterator[tuple[bool, bytes] | None]:
        """Yield the answers to the first `total` requests in order: (success, line), or None if there is no answer."""
        with contextlib.ExitStack() as stack:
            file = stack.enter_context(self.path.open("rb")) if self.answers else None
            for index in range(total):
                answer = self.answers.get(index)
                if file is None or answer is None:
                    yield None
                    continue
                file.seek(answer.offset)
                yield answer.success, file.read(answer.size)

    def _add(self, index: int, answer: SpooledAnswer) -> None:
        if index not in self.answers:
            self.answers[index] = answer
            self.completed += answer.success
            self.failed += not answer.success


class Spool:
    """Appends answers. The caller must hold the lock on the run directory."""

    def __init__(self, path: Path) -> None:
        """Open the spool, and remove an incomplete record at its end. `answered` contains the indexes found in the
        spool, and `size` is the spool's size in bytes.
        """
        reader = SpoolReader(path).read()
        self.answered_indices = set(reader.answers)
        self.size = reader.end
        self._file = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600)
        os.ftruncate(self._file, reader.end)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            self.sync()
        finally:
            os.close(self._file)

    def append(self, index: int, success: bool, line: bytes) -> None:
        """Append the answer to a request that has none yet. `line` must not contain a line feed."""
        assert index not in self.answered_indices and b"\n" not in line
        record = memoryview(_format(index, success, line))
        self.size += len(record)
        while record:  # a write to a nearly full disk may write only part of the data
            record = record[os.write(self._file, record) :]
        self.answered_indices.add(index)

    def sync(self) -> None:
        """Wait until the answers are on disk, so that they survive a system crash."""
        os.fsync(self._file)


def _format(index: int, success: bool, line: bytes) -> bytes:
    content = b"%d %d %s" % (index, success, line)
    return b"%08x %s\n" % (crc32(content), content)


def _parse(record: bytes) -> tuple[int, bool, int] | None:
    """Return the index, whether the answer is a success, and the size of its line; None if the record is damaged."""
    checksum, _, content = record[:-1].partition(b" ")
    if not record.endswith(b"\n") or checksum != b"%08x" % crc32(content):
        return None
    index, success, line = content.split(b" ", 2)
    return int(index), success == b"1", len(line)
