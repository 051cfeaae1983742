"""Garbage collection deletes only unreferenced blobs, and `fsck` finds missing and damaged blobs."""

from __future__ import annotations

import os
import threading
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import update

from app.checkpoint.directory import digest, manifest, read
from app.db.tables import AliasRow, JobCheckpointRow, JobRow, VersionRow
from app.errors import Unavailable
from app.files.service import Files
from app.registry import garbage
from app.registry.repository import dump_manifest
from app.registry.service import Registry
from tests.checkpoints import make_checkpoint, publish


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return make_checkpoint(tmp_path / "checkpoint")


def age(tmp_path: Path) -> None:
    """Set the modification time of every blob to long ago."""
    for path in (tmp_path / "blobs" / "sha256").rglob("*"):
        if path.is_file():
            os.utime(path, (1.0, 1.0))


def add_job(registry: Registry, status: str, **changes: Any) -> None:
    values: dict[str, Any] = {
        "id": "ftjob-1",
        "owner": "alice",
        "status": status,
        "phase": "",
        "body_sha256": "",
        "request": {},
        "model": "lstm",
        "training_file": "file-1",
        "seed": 1,
        "publish_name": "x",
        "created_at": 0.0,
    }
    with registry.database.transaction() as session:
        session.add(JobRow(**(values | changes)))


def stored(registry: Registry) -> set[str]:
    return {blob.sha256 for blob in registry.blobs.list()}


def test_new_and_referenced_blobs_are_kept(registry: Registry, files: Files, folder: Path, tmp_path: Path) -> None:
    registry.blobs.put_bytes(b"orphan")
    assert registry.collect_garbage().blobs == 0
    version = publish(registry, folder)
    file = files.create("alice", "a.csv", "fine-tune", iter([b"x"]))
    age(tmp_path)
    dry_run = registry.collect_garbage(dry_run=True)
    assert (dry_run.blobs, dry_run.bytes, dry_run.dry_run) == (1, 6, True)
    before = stored(registry)
    collected = registry.collect_garbage()
    assert (collected.blobs, collected.bytes, collected.kept) == (1, 6, len(before) - 1)
    assert stored(registry) == {entry.sha256 for entry in version.files.values()} | {file.sha256}
    assert registry.fsck().ok


def test_the_blobs_of_deleted_versions_are_deleted_after_the_grace_time(
    registry: Registry, folder: Path, tmp_path: Path
) -> None:
    publish(registry, folder)
    registry.delete_version("mood", 1, "alice")
    age(tmp_path)
    assert registry.collect_garbage().blobs == 0
    with registry.database.transaction() as session:
        session.execute(update(VersionRow).values(deleted_at=1.0))
    assert registry.collect_garbage().blobs > 0
    assert stored(registry) == set()
    assert registry.fsck().ok


def test_blobs_that_another_version_shares_are_kept(registry: Registry, folder: Path, tmp_path: Path) -> None:
    publish(registry, folder)
    publish(registry, folder)
    registry.delete_version("mood", 1, "alice")
    age(tmp_path)
    registry.grace_seconds = 0.0
    assert registry.collect_garbage().blobs == 0


def test_the_base_of_an_unfinished_job_is_kept(registry: Registry, folder: Path, tmp_path: Path) -> None:
    version = publish(registry, folder)
    registry.delete_version("mood", 1, "alice")
    add_job(registry, "running", base_digest=version.digest, request={"base": {"files": dump_manifest(version.files)}})
    age(tmp_path)
    registry.grace_seconds = 0.0
    assert registry.collect_garbage().blobs == 0
    with registry.database.transaction() as session:
        session.execute(update(JobRow).values(status="succeeded"))
    assert registry.collect_garbage().blobs > 0


def test_checkpoints_of_jobs_are_kept_and_can_be_resolved(registry: Registry, folder: Path, tmp_path: Path) -> None:
    add_job(registry, "running")
    files = registry.upload_files(folder)
    with registry.database.transaction() as session:
        registry.hold_files(session, files)
        session.add(
            JobCheckpointRow(
                id="ftckpt-1",
                job_id="ftjob-1",
                owner="alice",
                step=10,
                digest=digest(files),
                files=dump_manifest(files),
                config={"task": "classification", "architecture": "lstm"},
                metrics={},
                created_at=0.0,
            )
        )
    age(tmp_path)
    assert registry.collect_garbage().blobs == 0
    checkpoint = registry.resolve("ftckpt-1", "alice")
    assert (checkpoint.ref, checkpoint.version, checkpoint.job_id, checkpoint.files) == (
        "ftckpt-1",
        0,
        "ftjob-1",
        manifest(folder),
    )


def test_without_a_grace_time_only_new_uploads_are_kept(registry: Registry, folder: Path) -> None:
    registry.grace_seconds = 0.0
    publish(registry, folder)
    registry.delete_version("mood", 1, "alice")
    orphan = registry.blobs.put_bytes(b"new")
    assert registry.collect_garbage().blobs > 0
    assert stored(registry) == {orphan}


def test_a_new_upload_of_the_files_of_a_version_deleted_long_ago_is_kept(registry: Registry, folder: Path) -> None:
    """The collection reads only the manifests of versions that were deleted within the last hour."""
    registry.grace_seconds = 0.0
    publish(registry, folder)
    registry.delete_version("mood", 1, "alice")
    with registry.database.transaction() as session:
        session.execute(update(VersionRow).values(deleted_at=1.0))
    files = registry.upload_files(folder)
    assert registry.collect_garbage().blobs == 0
    assert stored(registry) == {entry.sha256 for entry in files.values()}


def test_a_collection_during_publications_loses_nothing(
    registry: Registry, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without a grace period, a collection runs at different points of a publication.

    Either the publication fails, or its version has all its files.
    """
    monkeypatch.setattr(garbage, "UPLOAD_SECONDS", 0.0)
    registry.grace_seconds = 0.0
    starts, stopped, published = threading.Semaphore(0), threading.Event(), 0

    def collect() -> None:
        while starts.acquire() and not stopped.is_set():
            registry.collect_garbage()

    collector = threading.Thread(target=collect)
    collector.start()
    try:
        for seed in range(18):
            directory = make_checkpoint(tmp_path / str(seed), seed=seed)
            if seed % 3 == 1:
                starts.release()
            files = registry.upload_files(directory)
            if seed % 3 == 2:
                starts.release()
            try:
                with registry.database.transaction() as session:
                    registry.publish(
                        session, name="mood", owner="alice", files=files, checkpoint=read(directory), metrics={}
                    )
                published += 1
            except Unavailable:  # the collection came first
                continue
    finally:
        stopped.set()
        starts.release()
        collector.join()
    assert published > 0
    assert len(registry.versions("mood", "alice").items) == published
    assert registry.fsck().ok


def test_fsck_finds_damage_losses_and_dangling_aliases(
    registry: Registry, files: Files, folder: Path, tmp_path: Path
) -> None:
    version = publish(registry, folder, alias="champion")
    file = files.create("alice", "a.csv", "fine-tune", iter([b"x"]))
    orphan = registry.blobs.put_bytes(b"orphan")
    weights, labels = version.files["model.safetensors"].sha256, version.files["labels.json"].sha256
    path = tmp_path / "blobs" / "sha256" / weights[:2] / weights
    path.write_bytes(bytes(path.stat().st_size))
    registry.blobs.delete(labels)
    registry.blobs.delete(file.sha256)
    with registry.database.transaction() as session:
        session.execute(update(AliasRow).values(version=9))
    report = registry.fsck()
    assert not report.ok
    assert report.corrupt == {weights: ["mood:1 model.safetensors"]}
    assert report.missing == {labels: ["mood:1 labels.json"], file.sha256: [file.id]}
    assert report.dangling_aliases == ["mood@champion"]
    assert (report.orphans, report.orphan_bytes) == (1, 6)
    assert orphan not in report.missing
    assert registry.fsck(deep=False).corrupt == {}


def test_interrupted_uploads_are_removed(registry: Registry, tmp_path: Path) -> None:
    leftover = tmp_path / "blobs" / "incoming" / "ostinato-x"
    leftover.write_bytes(b"half")
    os.utime(leftover, (1.0, 1.0))
    assert registry.collect_garbage(dry_run=True).unfinished_uploads == 0
    assert registry.collect_garbage().unfinished_uploads == 1
