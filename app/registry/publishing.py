"""Adds versions to models by storing a checkpoint's files and inserting a row. Also marks versions as deleted."""

from __future__ import annotations

import shutil
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sqlalchemy import delete
from sqlalchemy.orm import Session

from app.checkpoint.adapter import ADAPTER, check_merged
from app.checkpoint.directory import WEIGHTS, Checkpoint, Manifest, digest, manifest, read
from app.checkpoint.finiteness import check_finite
from app.db.ownership import claim_blobs
from app.db.tables import ModelRow, ProbesRow, VersionRow
from app.errors import CheckpointInvalid, Conflict, InvalidRequest
from app.registry import metrics, repository
from app.registry.records import Version, visible
from app.storage.blobs import BlobStore
from app.wording import quantity

LEFTOVER_SECONDS = 86_400.0  # an unpacked archive older than this was left by a killed program


@dataclass(frozen=True, slots=True)
class Publication:
    """A checkpoint to publish as the next version of `name`. NaN and infinite `metrics` are stored as null."""

    name: str
    owner: str
    files: Manifest
    checkpoint: Checkpoint
    metrics: dict[str, Any]
    job_id: str | None = None


def upload_files(blobs: BlobStore, directory: Path) -> Manifest:
    """Validate a checkpoint directory, including the values of its weights, and store its files.

    Raises CheckpointInvalid if the directory is not a valid checkpoint, or Conflict if a file changes while it is read.
    """
    files = manifest(directory)
    adapter = read(directory).adapter
    if adapter is not None and files[WEIGHTS].sha256 != adapter.weights:
        raise CheckpointInvalid(f"{WEIGHTS} differs from the weights of the base on which the adapter was trained")
    for name in (WEIGHTS, ADAPTER):
        if name in files:
            check_finite(directory / name)
    if adapter is not None:
        check_merged(directory, WEIGHTS, adapter)
    for path, entry in files.items():
        if blobs.put_file(directory / path) != entry.sha256:
            raise Conflict(f"{path} changed while it was being read; try again")
    return files


def hold_files(session: Session, blobs: BlobStore, files: Manifest) -> None:
    """Protect stored files from garbage collection until the transaction ends.

    Raises Unavailable if one of the files has already been deleted.
    """
    claim_blobs(session, (entry.sha256 for entry in files.values()), blobs.exists)


def add_version(session: Session, publication: Publication, now: float) -> tuple[ModelRow, VersionRow]:
    """Insert a model's next version, and the model itself if it is new.

    Raises InvalidRequest (`model_name_taken`) if another principal owns the name.
    """
    name, checkpoint = publication.name, publication.checkpoint
    repository.add_model(session, name, publication.owner, now)
    number = repository.take_number(session, name)
    model = repository.find_model(session, name, lock=True)
    # The model may have existed before, with another owner. If so, the error rolls back the new number.
    if model is None or not visible(model.owner, publication.owner):
        raise InvalidRequest(
            f"the name {name!r} is already taken; choose another name", code="model_name_taken", param="name"
        )
    labels = {"labels": checkpoint.labels} if checkpoint.labels else {}
    version = VersionRow(
        model=name,
        version=number,
        owner=model.owner,
        status=repository.READY,
        task=checkpoint.config.task,
        architecture=checkpoint.config.architecture,
        digest=digest(publication.files),
        files=repository.dump_manifest(publication.files),
        config=checkpoint.raw_config | labels,
        parameters=checkpoint.parameters,
        metrics=metrics.reduce(publication.metrics),
        job_id=publication.job_id,
        created_at=now,
    )
    session.add(version)
    session.flush()
    return model, version


def delete_version(session: Session, row: VersionRow, now: float) -> Version:
    """Mark a version as deleted, unless it is already deleted. The caller must hold the lock on the model's row.

    Raises InvalidRequest (`version_in_use`) if an alias points to it, or if it is the base of an adapter.
    """
    version = repository.load_version(session, row)
    if version.aliases:
        raise InvalidRequest(
            f"{version.ref} is in use; first move or delete each alias that points to it: {', '.join(version.aliases)}",
            code="version_in_use",
        )
    if row.status != repository.DELETED:
        # Another transaction may be deleting a version of another model with the same content.
        repository.lock_digest(session, row.digest)
        _check_adapters(session, row, version)
        row.status, row.deleted_at = repository.DELETED, now
        session.flush()
        _delete_probes(session, row)
    return repository.load_version(session, row)


def _check_adapters(session: Session, row: VersionRow, version: Version) -> None:
    """Raise InvalidRequest if the owner has adapters of a version, but no other version with the same content."""
    if repository.count_ready(session, row.digest, row.owner) > 1:
        return
    if adapters := repository.find_adapters(session, row.digest, row.owner):
        count, names = quantity(len(adapters), "adapter"), ", ".join(adapters[:20])
        message = f"{version.ref} is the base of {count}, which must be deleted first: {names}"
        raise InvalidRequest(message, code="version_in_use")


def _delete_probes(session: Session, row: VersionRow) -> None:
    """Delete the probes of a deleted version, unless its owner has another version with the same content.

    The caller must hold the lock on the digest.
    """
    if not repository.has_version(session, row.digest, row.owner):
        session.execute(delete(ProbesRow).where(ProbesRow.digest == row.digest, ProbesRow.owner == row.owner))


@contextmanager
def scratch_folder(root: Path) -> Iterator[Path]:
    """Create a temporary private folder under `root`. Also remove folders that killed programs left in `root`."""
    root.mkdir(mode=0o700, parents=True, exist_ok=True)
    for leftover in root.iterdir():
        with suppress(FileNotFoundError):  # another process has removed it
            if time.time() - leftover.stat().st_mtime > LEFTOVER_SECONDS:
                shutil.rmtree(leftover, ignore_errors=True)
    with tempfile.TemporaryDirectory(prefix="import-", dir=root) as folder:  # mode 0700
        yield Path(folder)
