"""Tar archives of checkpoints: valid archives, rejected archives (SEC-09), and identical exports."""

from __future__ import annotations

import gzip
import io
import struct
import tarfile
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from app.checkpoint.directory import manifest
from app.errors import CheckpointInvalid, Conflict, InvalidRequest, OstinatoError, TooLarge
from app.registry.archive import ArchiveInvalid, unpack
from app.registry.service import Registry
from tests.checkpoints import make_checkpoint, write_weights

LIMIT = 2**20


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    directory = make_checkpoint(tmp_path / "checkpoint")
    (directory / "plots").mkdir()
    (directory / "plots" / "loss.svg").write_text("<svg/>")
    (directory / "metrics.json").write_text('{"test": {"accuracy": 0.75}}')
    return directory


@pytest.fixture
def target(tmp_path: Path) -> Path:
    directory = tmp_path / "outer" / "target"
    directory.mkdir(parents=True)
    return directory


def tar(folder: Path, mode: str = "w", format_: int = tarfile.PAX_FORMAT) -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode=mode, format=format_) as archive:  # type: ignore[call-overload]
        archive.add(folder, arcname=".")
    return buffer.getvalue()


def members(*infos: tarfile.TarInfo, data: bytes = b"", format_: int = tarfile.PAX_FORMAT) -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w", format=format_) as archive:
        for info in infos:
            archive.addfile(info, io.BytesIO(data) if info.isreg() else None)
    return buffer.getvalue()


def member(name: str, kind: bytes = tarfile.REGTYPE, size: int = 0, link: str = "") -> tarfile.TarInfo:
    info = tarfile.TarInfo(name)
    info.type, info.size, info.linkname = kind, size, link
    return info


def pieces(data: bytes, size: int = 1000) -> Iterator[bytes]:
    return (data[i : i + size] for i in range(0, len(data), size))


@pytest.mark.parametrize("mode", ["w", "w:gz"])
@pytest.mark.parametrize("format_", [tarfile.USTAR_FORMAT, tarfile.GNU_FORMAT, tarfile.PAX_FORMAT])
@pytest.mark.parametrize("size", [1, 511, 10**9])
def test_archives_of_common_formats_are_read(folder: Path, target: Path, mode: str, format_: int, size: int) -> None:
    unpack(pieces(tar(folder, mode, format_), size), target, LIMIT)
    assert manifest(target) == manifest(folder)


HOSTILE = {
    "parent": members(member("../config.json")),
    "parent inside": members(member("plots/../../x.png")),
    "absolute": members(member("/etc/config.json")),
    "backslash": members(member("..\\config.json")),
    "symbolic link": members(member("config.json", tarfile.SYMTYPE, link="/etc/passwd")),
    "linked folder": members(member("plots", tarfile.SYMTYPE, link="/tmp"), member("plots/a.png")),
    "hard link": members(member("config.json", tarfile.LNKTYPE, link="/etc/passwd")),
    "device": members(member("config.json", tarfile.CHRTYPE)),
    "block device": members(member("config.json", tarfile.BLKTYPE)),
    "pipe": members(member("config.json", tarfile.FIFOTYPE)),
    "unknown kind": members(member("config.json", b"Z")),
    "sparse": members(member("config.json", tarfile.GNUTYPE_SPARSE), format_=tarfile.GNU_FORMAT),
    "pickle": members(member("model.pt")),
    "twice": members(member("config.json"), member("config.json")),
    "case collision": members(member("README.md"), member("readme.md")),
    "dotted twice": members(member("config.json"), member("./config.json")),
    "foreign folder": members(member("code", tarfile.DIRTYPE)),
    "many members": members(*(member("plots", tarfile.DIRTYPE) for _ in range(300))),
    "long name": members(member("a" * 5000), format_=tarfile.GNU_FORMAT),
    "huge extended header": members(member("a" * 500_000)),
    "empty": b"",
    "no member": members(),
    "noise": bytes(range(256)) * 8,
    "half a header": bytes(100) + b"x",
    "damaged gzip": b"\x1f\x8b" + bytes(1000),
    "data after the end": members(member("config.json")) + b"x",
    "cut": members(member("config.json", size=2000), data=bytes(2000))[:1500],
}


@pytest.mark.parametrize("data", HOSTILE.values(), ids=HOSTILE.keys())
def test_sec_09_hostile_archives_are_refused(target: Path, data: bytes) -> None:
    with pytest.raises(ArchiveInvalid):
        unpack(pieces(data), target, LIMIT)
    assert [p for p in target.parent.rglob("*") if p.is_file() and target not in p.parents] == []


def test_an_error_names_what_does_not_belong_in_a_checkpoint(target: Path) -> None:
    with pytest.raises(ArchiveInvalid, match=r"'model.pt' does not belong in a checkpoint; remove it and create the"):
        unpack(pieces(members(member("model.pt"))), target, LIMIT)


def test_sec_09_bombs_are_refused(target: Path) -> None:
    zeros = gzip.compress(members(member("results.csv", size=50 * LIMIT), data=bytes(50 * LIMIT)))
    with pytest.raises(TooLarge):
        unpack(pieces(zeros), target, LIMIT)
    with pytest.raises(TooLarge):
        unpack(pieces(gzip.compress(bytes(64 * LIMIT))[:-8] * 1), target, 100)
    assert sum(p.stat().st_size for p in target.rglob("*")) <= LIMIT


def test_sec_09_memory_is_not_allocated_by_the_size_in_a_header(target: Path) -> None:
    info = member("model.safetensors", size=7 * 2**30)
    with pytest.raises(TooLarge):
        unpack(iter([info.tobuf(tarfile.GNU_FORMAT)]), target, LIMIT)
    info.size = 2**62
    with pytest.raises(OstinatoError):
        unpack(iter([info.tobuf(tarfile.PAX_FORMAT)]), target, LIMIT)


def test_sec_09_an_endless_tail_is_refused(target: Path) -> None:
    def endless() -> Iterator[bytes]:
        yield members(member("config.json"))
        while True:
            yield bytes(2**20)

    with pytest.raises(OstinatoError):
        unpack(endless(), target, 2**40)


@settings(max_examples=200)
@given(where=st.integers(0, 10_000), value=st.integers(0, 255))
def test_sec_09_a_changed_byte_writes_nothing_outside(where: int, value: int) -> None:
    data = bytearray(members(member("config.json", size=3), member("plots/a.png", size=3), data=b"abc"))
    data[where % len(data)] = value
    with tempfile.TemporaryDirectory() as folder:
        target = Path(folder) / "target"
        target.mkdir()
        try:
            unpack(pieces(bytes(data)), target, LIMIT)
        except InvalidRequest:
            pass
        except TooLarge:
            pass
        assert {str(p.relative_to(folder)) for p in Path(folder).rglob("*") if p.is_file()} <= {
            "target/config.json",
            "target/plots/a.png",
            *(f"target/plots/{chr(c)}.png" for c in range(32, 127)),
        }


def test_an_export_contains_what_was_imported(registry: Registry, folder: Path, target: Path) -> None:
    version = registry.import_tar(pieces(tar(folder)), name="mood", principal="alice", limit=LIMIT, alias="champion")
    assert (version.ref, version.metrics, version.aliases) == ("mood:1", {"test": {"accuracy": 0.75}}, ("champion",))
    assert version.files == manifest(folder)
    exported = registry.export_tar(version)
    data = b"".join(exported.pieces)
    assert len(data) == exported.size
    assert data == b"".join(registry.export_tar(version).pieces)
    unpack(iter([data]), target, LIMIT)
    assert manifest(target) == manifest(folder)
    again = registry.import_tar(iter([data]), name="mood", principal="alice", limit=LIMIT)
    assert (again.ref, again.digest) == ("mood:2", version.digest)


def test_a_bad_import_registers_nothing(registry: Registry, folder: Path) -> None:
    with pytest.raises(InvalidRequest):
        registry.import_tar(iter([tar(folder)]), name="../x", principal="alice", limit=LIMIT)
    with pytest.raises(TooLarge):
        registry.import_tar(iter([tar(folder)]), name="mood", principal="alice", limit=2000)
    (folder / "config.json").write_text("{}")
    with pytest.raises(CheckpointInvalid):
        registry.import_tar(iter([tar(folder)]), name="mood", principal="alice", limit=LIMIT)
    make_checkpoint(folder)
    with pytest.raises(Conflict):
        registry.import_tar(
            iter([tar(folder)]), name="mood", principal="alice", limit=LIMIT, alias="champion", expected_version=3
        )
    (folder / "metrics.json").write_text("[1]")
    with pytest.raises(CheckpointInvalid):
        registry.import_tar(iter([tar(folder)]), name="mood", principal="alice", limit=LIMIT)
    assert registry.list("alice").items == []


def test_weights_that_are_not_finite_are_not_registered(registry: Registry, folder: Path) -> None:
    """This applies to imports and to training runs. Otherwise, the first request would fail."""
    write_weights(folder, struct.pack("<4f", 1.0, 2.0, float("nan"), 3.0))
    with pytest.raises(CheckpointInvalid, match=r"NaN or infinite.*'body\."):
        registry.import_tar(iter([tar(folder)]), name="mood", principal="alice", limit=LIMIT)
    with pytest.raises(CheckpointInvalid, match="NaN or infinite"):
        registry.upload_files(folder)
    assert registry.list("alice").items == []


def test_deeply_nested_metrics_are_refused(registry: Registry, folder: Path) -> None:
    (folder / "metrics.json").write_text('{"a":' * 40 + "1" + "}" * 40)
    with pytest.raises(CheckpointInvalid, match="nested"):
        registry.import_tar(iter([tar(folder)]), name="mood", principal="alice", limit=LIMIT)
