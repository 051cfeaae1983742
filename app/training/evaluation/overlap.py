"""Recognises evaluated rows that the version was trained on, by the hashes in the version's `training.json`."""

from __future__ import annotations

from typing import Any

from app.training.base import BaseCheckpoint
from app.training.evaluation.held_out import HeldOut
from app.wire.trainer import DataFile


def overlap(base: BaseCheckpoint, reference: str, held_out: HeldOut, file: DataFile) -> str:
    """Return a warning if the rows of `file` were used to train the version, or "" if they are not known to be.

    Compares the hash of the evaluated rows with those of the version's splits and, if the whole file is evaluated, the
    hash of the file with those of the version's files. Rows that only partly coincide are not recognised, because a
    version stores no hashes of single rows. Imported versions store no hashes at all.
    """
    data = _object(base.training, "data")
    splits = _object(_object(data, "report"), "sha256")
    rows = f"the evaluated rows of {file.filename} are"
    chosen = "which may have chosen its checkpoint, so these metrics may be better than those on new data"
    learned = "so these metrics do not show how well the version performs on new data"
    if held_out.sha256 == splits.get("train"):
        return f"{rows} the training rows of {reference}, {learned}"
    if held_out.sha256 == splits.get("validation"):
        return f"{rows} the validation rows of {reference}, {chosen}"
    if held_out.split is None and file.sha256 == data.get("training_file"):
        return f"{file.filename} is the file that {reference} was trained on (it has the same SHA-256), {learned}"
    return ""


def _object(values: dict[str, Any], key: str) -> dict[str, Any]:
    """Return an object of a JSON object, or an empty one. Nothing checks the content of an uploaded training.json."""
    value = values.get(key)
    return value if isinstance(value, dict) else {}
