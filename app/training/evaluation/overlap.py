"""Recognises evaluated rows that the version was trained on, by the hashes in the version's `training.json`."""

from __future__ import annotations

from typing import Any

from app.training.base import BaseCheckpoint
from app.training.data.row_sample import TRAIN_SAMPLE, count_trained
from app.training.evaluation.held_out import HeldOut
from app.wire.trainer import DataFile


def overlap(base: BaseCheckpoint, reference: str, held_out: HeldOut, file: DataFile) -> str:
    """Return a warning if evaluated rows are known to be training or validation rows of the version, otherwise "".

    Compares the hash of the evaluated rows with the hashes of the version's splits. If the whole file is evaluated,
    also compares the hash of the file with the hash of the version's training file. If only some of the inputs are
    among the version's training rows, their number is determined from a sample of the training rows' hashes. Imported
    versions do not store hashes.
    """
    data = _object(base.training, "data")
    splits = _object(_object(data, "report"), "sha256")
    rows = f"the evaluated rows of {file.filename} are"
    optimistic = "so these metrics may be better than those on new data"
    chosen = f"which may have been used to choose its checkpoint, {optimistic}"
    learned = "so these metrics do not show how well the version performs on new data"
    if held_out.sha256 == splits.get("train"):
        return f"{rows} the training rows of {reference}, {learned}"
    if held_out.sha256 == splits.get("validation"):
        return f"{rows} the validation rows of {reference}, {chosen}"
    if held_out.split is None and file.sha256 == data.get("training_file"):
        return f"{file.filename} is the file that {reference} was trained on (it has the same SHA-256), {learned}"
    count, is_exact = count_trained(_object(data, "report").get(TRAIN_SAMPLE), held_out.hashes_N)
    if count:
        total = len(held_out.hashes_N)
        share = f"{count:,} of the {total:,}" if is_exact else f"about {count:,} of the {total:,}"
        return f"{share} evaluated rows of {file.filename} have inputs that {reference} was trained on, {optimistic}"
    return ""


def _object(values: dict[str, Any], key: str) -> dict[str, Any]:
    """Return the object under `key`, or {} if there is none. The content of an uploaded file is not checked."""
    value = values.get(key)
    return value if isinstance(value, dict) else {}
