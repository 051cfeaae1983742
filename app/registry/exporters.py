"""Writing a checkpoint as a tar: the same version gives the same bytes, always.

Knows the tar format and blobs; holds no more than a piece in memory.
"""

from __future__ import annotations

import tarfile
from collections.abc import Iterator
from dataclasses import dataclass

from app.checkpoint import FileEntry, Manifest
from app.errors import OstinatoError
from app.storage.blobs import BlobStore


@dataclass(frozen=True, slots=True)
class Export:
    """`size`: how many bytes `pieces` has in all."""

    size: int
    pieces: Iterator[bytes]


def export(files: Manifest, blobs: BlobStore) -> Export:
    """Raises BlobMissing before the first byte where the store has lost something."""
    for entry in files.values():
        blobs.open(entry.sha256)
    blocks = sum(1 + -(-entry.size // tarfile.BLOCKSIZE) for entry in files.values()) + 2
    return Export(blocks * tarfile.BLOCKSIZE, _pieces(files, blobs))


def _pieces(files: Manifest, blobs: BlobStore) -> Iterator[bytes]:
    for name in sorted(files):
        yield _header(name, files[name])
        size = 0
        for piece in blobs.open(files[name].sha256):
            size += len(piece)
            yield piece
        if size != files[name].size:  # the length was promised in the header
            raise OstinatoError(f"stored bytes are damaged: {name} has {size} bytes, not {files[name].size}")
        yield bytes(-size % tarfile.BLOCKSIZE)
    yield bytes(2 * tarfile.BLOCKSIZE)


def _header(name: str, entry: FileEntry) -> bytes:
    info = tarfile.TarInfo(name)  # time 0, owner 0, mode 0644
    info.size = entry.size
    return info.tobuf(tarfile.GNU_FORMAT)
