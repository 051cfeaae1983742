"""Reads and writes checkpoint directories as tar archives.

The reader accepts only regular files whose names are allowed in a checkpoint. The reader does not use Python's
`tarfile`, which supports links and sparse files and allocates buffers of any size declared in a header.
"""

from __future__ import annotations

import os
import tarfile
import zlib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from app.checkpoint.directory import FileEntry, Manifest, allowed
from app.errors import InvalidRequest, OstinatoError, TooLarge
from app.storage.blobs import BlobStore

BLOCK, CHUNK = 512, 2**20
MEMBERS_LIMIT = 256
EXTENSION_LIMIT = 64 * 1024  # maximum number of bytes in an extended header
TAIL_LIMIT = 4 * 2**20  # maximum number of bytes of padding after the end of the archive
KINDS = {b"1": "a hard link", b"2": "a symbolic link", b"3": "a device", b"4": "a device", b"6": "a pipe"}
COMMAND = "tar -C DIRECTORY -cf checkpoint.tar ."
NOT_A_TAR = f"this is not a tar archive, or it is damaged; create one with: {COMMAND}"
FOREIGN = f"does not belong in a checkpoint; remove it and create the archive again with: {COMMAND}"


class ArchiveInvalid(InvalidRequest):
    """The archive is damaged, or contains something other than a checkpoint's files."""

    code = "invalid_archive"


# --- reading ----------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class _Member:
    name: str
    size: int
    kind: bytes  # the type flag


class _Input:
    """Reads bytes from a stream of pieces, decompressing gzip. Raises TooLarge after more than `limit` bytes."""

    def __init__(self, stream: Iterable[bytes], limit: int) -> None:
        self._pieces = _decompress(iter(stream))
        self._rest = b""
        self._limit = self.left = limit

    def read(self, most: int) -> bytes:
        """Read between 1 and `most` bytes. An empty result means the end of the stream."""
        while not self._rest:
            piece = next(self._pieces, None)
            if piece is None:
                return b""
            self._rest = piece
        data, self._rest = self._rest[:most], self._rest[most:]
        self.left -= len(data)
        if self.left < 0:
            raise TooLarge(f"the archive contains more than {self._limit} bytes, the limit for uploads")
        return data

    def read_exactly(self, size: int) -> Iterator[bytes]:
        """Yield pieces that contain `size` bytes in total. Raises ArchiveInvalid if the stream ends early."""
        while size:
            piece = self.read(min(size, CHUNK))
            if not piece:
                raise ArchiveInvalid("the archive is incomplete; send it again")
            size -= len(piece)
            yield piece


def unpack(stream: Iterable[bytes], directory: Path, limit: int) -> int:
    """Unpack a tar or tar.gz archive of at most `limit` unpacked bytes into an empty, private directory.

    Returns the total size of the files. Raises ArchiveInvalid for anything that is not a regular checkpoint file, and
    TooLarge if a limit is exceeded.
    """
    source, names, total = _Input(stream, limit), set[str](), 0
    for member in _read_members(source):
        name = _check_member(member)
        if name is None:
            continue
        # Ignore case: on some file systems, README.md and readme.md are the same file.
        if name.lower() in names:
            raise ArchiveInvalid(f"the archive contains {name!a} twice")
        names.add(name.lower())
        most = min(source.left, allowed(name) or 0)
        if member.size > most:
            raise TooLarge(f"{name} has {member.size} bytes; at most {most} are allowed")
        path = directory / name
        path.parent.mkdir(mode=0o700, exist_ok=True)
        # O_EXCL and O_NOFOLLOW: never write to an existing file or through a link.
        with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o600), "wb") as file:
            for piece in source.read_exactly(member.size):
                file.write(piece)
        _skip(source, -member.size % BLOCK)
        total += member.size
    if not names:
        raise ArchiveInvalid(f"the archive contains no files; create one with: {COMMAND}")
    return total


def _read_members(source: _Input) -> Iterator[_Member]:
    """Yield the members, with extended headers applied. Read each member's data before requesting the next member."""
    extended: dict[str, str] = {}
    for _ in range(MEMBERS_LIMIT):
        block = b"".join(source.read_exactly(BLOCK))
        if not any(block):
            _drain(source)
            return
        member = _parse_header(block)
        if member.kind in (b"x", b"g", b"L"):
            if member.size > EXTENSION_LIMIT:
                raise ArchiveInvalid(f"the archive contains an extended header of more than {EXTENSION_LIMIT} bytes")
            data = b"".join(source.read_exactly(member.size))
            _skip(source, -member.size % BLOCK)
            extended |= _parse_extension(member.kind, data)
            continue
        size = _parse_decimal(extended["size"]) if "size" in extended else member.size
        yield _Member(extended.get("path", member.name), size, member.kind)
        extended = {}
    raise ArchiveInvalid(f"the archive contains more than {MEMBERS_LIMIT} members")


def _check_member(member: _Member) -> str | None:
    """Return a member's path in the checkpoint, or None for a directory, which is created along with its files."""
    name, shown = member.name.removeprefix("./"), ascii(member.name[:100])
    if member.kind == b"5":
        if member.size or name.rstrip("/") not in ("", ".", "plots"):
            raise ArchiveInvalid(f"directory {shown} {FOREIGN}")
        return None
    if member.kind not in (b"0", b"\0"):
        kind = KINDS.get(member.kind, "of an unknown type")
        raise ArchiveInvalid(f"{shown} is {kind}; an archive may contain only regular files")
    if allowed(name) is None:
        raise ArchiveInvalid(f"{shown} {FOREIGN}")
    return name


def _parse_header(block: bytes) -> _Member:
    # The checksum is the sum of all bytes of the header, in which the checksum's own field counts as eight spaces.
    if _parse_octal(block[148:156]) != sum(block[:148]) + 8 * ord(" ") + sum(block[156:]):
        raise ArchiveInvalid(NOT_A_TAR)
    name = _parse_text(block[:100])
    if block[257:263] == b"ustar\0" and (prefix := _parse_text(block[345:500])):
        name = f"{prefix}/{name}"
    return _Member(name, _parse_octal(block[124:136]), block[156:157])


def _parse_octal(field: bytes) -> int:
    text = field.strip(b" \0")
    if not text:
        return 0
    if len(text) > 12 or any(byte not in b"01234567" for byte in text):
        raise ArchiveInvalid(NOT_A_TAR)
    return int(text, 8)


def _parse_text(field: bytes) -> str:
    try:
        return field.split(b"\0", 1)[0].decode()
    except UnicodeDecodeError:
        raise ArchiveInvalid("the archive contains a name that is not valid UTF-8") from None


def _parse_extension(kind: bytes, data: bytes) -> dict[str, str]:
    """Parse `path` and `size` in an extended header: a GNU long name (kind L) or pax records (x or g)."""
    if kind == b"L":
        return {"path": _parse_text(data)}
    values = {}
    while data:
        length, _, _ = data.partition(b" ")
        size = _parse_decimal(length.decode("ascii", "replace"))
        record, data = data[:size], data[size:]
        if len(record) != size or not record.endswith(b"\n") or b"=" not in record:
            raise ArchiveInvalid("the archive contains a damaged extended header")
        key, _, value = record[len(length) + 1 : -1].partition(b"=")
        values[_parse_text(key)] = _parse_text(value)
    if any(key.startswith("GNU.sparse") for key in values):
        raise ArchiveInvalid("the archive contains a sparse file; create the archive without -S")
    # Global headers (kind g), which set values for all members, are checked like other headers and then ignored.
    return {} if kind == b"g" else {key: values[key] for key in ("path", "size") if key in values}


def _parse_decimal(text: str) -> int:
    if not (text.isascii() and text.isdigit() and 0 < len(text) <= 15):
        raise ArchiveInvalid("the archive contains a damaged extended header")
    return int(text)


def _skip(source: _Input, size: int) -> None:
    for _ in source.read_exactly(size):
        pass


def _drain(source: _Input) -> None:
    """Read the rest of the stream, so that the sender can finish.

    Raises ArchiveInvalid if the rest contains anything but padding.
    """
    left = TAIL_LIMIT
    while piece := source.read(CHUNK):
        left -= len(piece)
        if left < 0 or any(piece):
            raise ArchiveInvalid("the archive contains data after its end")


def _decompress(pieces: Iterator[bytes]) -> Iterator[bytes]:
    """Yield the pieces unchanged or, if the stream is gzip, decompressed into pieces of at most `CHUNK` bytes.

    The output of each step is limited, so a small archive cannot exhaust memory.
    """
    first = b""
    while len(first) < 2 and (piece := next(pieces, None)) is not None:
        first += piece
    if first[:2] != b"\x1f\x8b":
        yield first
        yield from pieces
        return
    decompressor, pending = zlib.decompressobj(31), first  # 31: zlib's largest window, with a gzip header
    try:
        while not decompressor.eof:
            yield decompressor.decompress(pending, CHUNK)
            pending = decompressor.unconsumed_tail
            if not pending and not decompressor.eof:
                following = next(pieces, None)
                if following is None:
                    return
                pending = following
    except zlib.error:
        raise ArchiveInvalid("the archive is damaged: its gzip data cannot be decompressed") from None


# --- writing ----------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Export:
    """An archive as a stream. `size` is the total number of bytes in `pieces`."""

    size: int
    pieces: Iterator[bytes]


def export(files: Manifest, blobs: BlobStore) -> Export:
    """Return a tar archive of the stored files. If a file is missing, raises BlobMissing before the stream begins."""
    for entry in files.values():
        blobs.open(entry.sha256)
    blocks = sum(1 + -(-entry.size // tarfile.BLOCKSIZE) for entry in files.values()) + 2
    return Export(blocks * tarfile.BLOCKSIZE, _write_members(files, blobs))


def _write_members(files: Manifest, blobs: BlobStore) -> Iterator[bytes]:
    for name in sorted(files):
        yield _make_header(name, files[name])
        size = 0
        for piece in blobs.open(files[name].sha256):
            size += len(piece)
            yield piece
        if size != files[name].size:  # the header has already been sent with another size
            raise OstinatoError(f"stored bytes are damaged: {name} has {size} bytes, not {files[name].size}")
        yield bytes(-size % tarfile.BLOCKSIZE)
    yield bytes(2 * tarfile.BLOCKSIZE)


def _make_header(name: str, entry: FileEntry) -> bytes:
    info = tarfile.TarInfo(name)  # time 0, owner 0, mode 0644
    info.size = entry.size
    return info.tobuf(tarfile.GNU_FORMAT)
