"""The probes of a version belong to its owner, are not exported, and are collected with the version."""

from __future__ import annotations

import hashlib
import os
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from sqlalchemy import select

from app.checkpoint.directory import FileEntry
from app.db.database import Database
from app.db.tables import ProbesRow
from app.errors import NotFound
from app.registry import publishing
from app.registry.probes import Probes
from app.registry.resolving import get_version
from app.registry.service import Registry
from app.storage.blobs import BlobStore
from app.storage.errors import BlobMissing
from tests.checkpoints import make_checkpoint, publish
from tests.db.locks import is_a_transaction_waiting
from tests.serving import wait_until


@pytest.fixture
def probes(registry: Registry) -> Probes:
    return Probes(registry.database, registry.blobs)


def test_probes_are_found_by_digest_and_owner(registry: Registry, probes: Probes, tmp_path: Path) -> None:
    version = publish(registry, make_checkpoint(tmp_path / "c"))
    assert probes.load(version.digest, version.owner) == b""
    probes.store(version, b"first")
    probes.store(version, b"second")
    assert probes.load(version.digest, version.owner) == b"second"
    assert probes.load(version.digest, "somebody else") == b""


@pytest.mark.postgres
def test_probes_that_another_transaction_is_storing_are_replaced(
    postgres_database: Database, blobs: BlobStore, tmp_path: Path
) -> None:
    database = postgres_database
    registry, probes = Registry(database, blobs, tmp_path / "scratch"), Probes(database, blobs)
    version = publish(registry, make_checkpoint(tmp_path / "c"))
    entry = FileEntry(blobs.put_bytes(b"first"), 5)
    with ThreadPoolExecutor(1) as threads:
        with database.transaction() as session:
            probes.add(session, version, entry)
            session.flush()
            second = threads.submit(probes.store, version, b"second")
            wait_until(lambda: is_a_transaction_waiting(database))
        second.result(60)
    assert probes.load(version.digest, version.owner) == b"second"


def test_an_export_contains_no_probes(registry: Registry, probes: Probes, tmp_path: Path) -> None:
    version = publish(registry, make_checkpoint(tmp_path / "c"))
    before = b"".join(registry.export_tar(version).pieces)
    probes.store(version, b"a private sentence")
    stored = registry.get(version.model, version.version, version.owner)
    exported = b"".join(registry.export_tar(stored).pieces)
    assert exported == before and b"a private sentence" not in exported and "probes" not in stored.files


def test_probes_are_collected_with_their_version(registry: Registry, probes: Probes, tmp_path: Path) -> None:
    registry.grace_seconds = 0.0
    version = publish(registry, make_checkpoint(tmp_path / "c"))
    probes.store(version, b"probes")
    _age(tmp_path)
    assert registry.collect_garbage().blobs == 0 and registry.fsck().ok
    registry.delete_version(version.model, version.version, version.owner)
    assert registry.collect_garbage().blobs > 0
    assert probes.load(version.digest, version.owner) == b"" and registry.fsck().ok


def test_probes_are_deleted_with_the_last_version_that_has_them(
    registry: Registry, probes: Probes, tmp_path: Path
) -> None:
    first, second = (publish(registry, make_checkpoint(tmp_path / name)) for name in ("c", "d"))
    assert first.digest == second.digest
    probes.store(first, b"probes")
    registry.delete_version(first.model, first.version, first.owner)
    assert probes.load(first.digest, first.owner) == b"probes"
    registry.delete_version(second.model, second.version, second.owner)
    with registry.database.read() as session:
        assert session.scalars(select(ProbesRow)).all() == []


@pytest.mark.postgres
def test_probes_are_deleted_with_two_versions_that_are_deleted_at_the_same_time(
    postgres_database: Database, blobs: BlobStore, tmp_path: Path
) -> None:
    database = postgres_database
    registry, probes = Registry(database, blobs, tmp_path / "scratch"), Probes(database, blobs)
    first, second = (publish(registry, make_checkpoint(tmp_path / name), name) for name in ("one", "two"))
    assert first.digest == second.digest and first.model != second.model
    probes.store(first, b"probes")
    with ThreadPoolExecutor(1) as threads:
        with database.transaction() as session:
            publishing.delete_version(session, get_version(session, first.model, 1, lock=True), database.now(session))
            other = threads.submit(registry.delete_version, second.model, 1, second.owner)
            wait_until(lambda: is_a_transaction_waiting(database))
        other.result(60)
    with database.read() as session:
        assert session.scalars(select(ProbesRow)).all() == []


def test_no_probes_are_stored_for_a_deleted_version(registry: Registry, probes: Probes, tmp_path: Path) -> None:
    version = publish(registry, make_checkpoint(tmp_path / "c"))
    registry.delete_version(version.model, version.version, version.owner)
    with pytest.raises(NotFound):
        probes.store(version, b"probes")
    assert probes.load(version.digest, version.owner) == b""


def test_probes_whose_blob_is_missing_are_reported(registry: Registry, probes: Probes, tmp_path: Path) -> None:
    version = publish(registry, make_checkpoint(tmp_path / "c"))
    probes.store(version, b"probes")
    registry.blobs.delete(hashlib.sha256(b"probes").hexdigest())
    with pytest.raises(BlobMissing):
        probes.load(version.digest, version.owner)


def _age(tmp_path: Path) -> None:
    for path in (tmp_path / "blobs" / "sha256").rglob("*"):
        if path.is_file():
            os.utime(path, (1.0, 1.0))
