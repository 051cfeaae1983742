"""Previews of uploaded files: their first rows, as the trainer reads them.

A separate program reads the file, because the content may be malicious, and reading it may need much memory. Each API
process generates only one preview at a time.
"""

from __future__ import annotations

import contextlib
import itertools
import logging
import os
import shutil
import subprocess
import sys
import tempfile
import threading
import time
import zlib
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import msgspec

from app.errors import EngineFailed, InvalidRequest, Overloaded
from app.files.records import StoredFile
from app.files.service import Files
from app.runs.trainer import environment
from app.wire.preview import Preview

log = logging.getLogger(__name__)
PROGRAM = (sys.executable, "-m", "app.training.run.preview")
HEAD = 4 * 2**20  # number of bytes of a text that are read, after decompression
LARGEST = 256 * 2**20  # maximum size in bytes of a binary file, which can be read only as a whole
SECONDS = 20.0  # time limit for the program
WAIT_SECONDS = 2.0  # maximum wait for other previews; longer waits would occupy the threads that other routes need
RETRY_SECONDS = 2.0
OLD_SECONDS = 600.0  # an older folder was left behind, because no preview takes that long
GZIP, BINARY = b"\x1f\x8b", (b"PAR1", b"PK\x03\x04")  # parquet; zip, which Excel workbooks use
UNPACK = 31  # zlib's `wbits` for the gzip format


class Previews:
    """Generates previews; one instance per process. Thread-safe."""

    def __init__(
        self, files: Files, folder: Path, program: Sequence[str] = PROGRAM, env: Mapping[str, str] | None = None
    ) -> None:
        """`folder` is where the content is stored while the program reads it."""
        self._files, self._folder, self._program = files, folder, tuple(program)
        self._env = environment(os.environ if env is None else env)
        self._turn = threading.Lock()

    def preview(self, id_: str, principal: str) -> Preview:
        """Return the first rows of a file.

        Raises NotFound, Overloaded if other previews take long, and InvalidRequest (`no_preview`) for a file that is
        too large, or that the program cannot read within its limits.
        """
        file, pieces = self._files.content(id_, principal)
        if not self._turn.acquire(timeout=WAIT_SECONDS):
            raise Overloaded(
                "other previews are in progress; try again", code="preview_busy", retry_after=RETRY_SECONDS
            )
        try:
            self._folder.mkdir(parents=True, exist_ok=True)
            self._sweep()
            with tempfile.TemporaryDirectory(dir=self._folder) as folder:
                path = Path(folder) / "content"
                _copy(file, pieces, path)
                return self._run(file, path)
        finally:
            self._turn.release()

    def _sweep(self) -> None:
        """Remove the folders left behind by killed processes."""
        for path in self._folder.iterdir():
            with contextlib.suppress(OSError):
                if time.time() - path.stat().st_mtime > OLD_SECONDS:
                    shutil.rmtree(path)

    def _run(self, file: StoredFile, path: Path) -> Preview:
        command = [*self._program, str(path), file.filename, (file.format or "").removesuffix(".gz")]
        try:
            done = subprocess.run(command, capture_output=True, timeout=SECONDS, env=self._env, check=False)
        except subprocess.TimeoutExpired:
            raise _refusal("it takes too long to read") from None
        if done.returncode < 0 or b"MemoryError" in done.stderr:
            raise _refusal("it needs too much memory or time to read")
        try:
            return msgspec.json.decode(done.stdout, type=Preview)
        except msgspec.DecodeError:
            log.error("the preview program ended with code %d: %s", done.returncode, done.stderr[-2000:])
            raise EngineFailed("the preview ended unexpectedly; see the service's log", code="preview_failed") from None


def _copy(file: StoredFile, pieces: Iterator[bytes], path: Path) -> None:
    """Write the beginning of a text, decompressed, or the whole content of a binary file."""
    head = next(pieces, b"")
    try:
        start = next(_unpacked(iter([head]))) if head.startswith(GZIP) else head
        if not start.startswith(BINARY):
            path.write_bytes(_beginning(itertools.chain([head], pieces)))
            return
    except zlib.error:
        raise _refusal("its gzip data is damaged") from None
    if file.bytes > LARGEST:
        raise _refusal(f"it is larger than {LARGEST >> 20} MiB, and this format can be read only as a whole")
    with path.open("wb") as target:
        target.write(head)
        target.writelines(pieces)


def _beginning(pieces: Iterator[bytes]) -> bytes:
    """Return up to `HEAD` bytes of a text after decompression; if the text is longer, only whole lines."""
    head = next(pieces, b"")
    whole = itertools.chain([head], pieces)
    text = b""
    for piece in _unpacked(whole) if head.startswith(GZIP) else whole:
        text += piece
        if len(text) > HEAD:
            lines, _, rest = text[:HEAD].rpartition(b"\n")
            return lines or rest
    return text


def _unpacked(pieces: Iterator[bytes]) -> Iterator[bytes]:
    """Yield decompressed pieces of gzip data, which may consist of several members. Raises zlib.error.

    Reads at most `HEAD` bytes of compressed data and one piece more, because members may be empty.
    """
    unpacker, read = zlib.decompressobj(UNPACK), 0
    for piece in pieces:
        rest = piece
        while rest:
            if unpacker.eof:
                unpacker, rest = zlib.decompressobj(UNPACK), rest.lstrip(b"\0")  # zeros may follow a member
            yield unpacker.decompress(rest, HEAD + 1)
            rest = unpacker.unconsumed_tail or unpacker.unused_data
        read += len(piece)
        if read > HEAD:
            return


def _refusal(reason: str) -> InvalidRequest:
    return InvalidRequest(f"the file has no preview: {reason}", code="no_preview", param="file_id")
