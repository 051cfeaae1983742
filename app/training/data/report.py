"""The data report, which users see before training starts: counts, lengths, duplicates, leaks and remarks."""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from typing import Any

import numpy as np
from numpy.typing import NDArray

from app.training.data.example import SPLIT_NAMES, TEST, TRAIN, VALIDATION
from app.training.data.files import Source
from app.training.data.inputs import TextFiles
from app.training.data.label_names import in_order
from app.training.data.notes import listed_places
from app.training.data.precision import rounded_values
from app.training.data.row_sample import TRAIN_SAMPLE, row_sample
from app.training.data.scan import DataFiles, Scan
from app.training.data.usual_names import quoted
from app.wire.training_options import VALIDATION_SPLIT
from app.wording import quantity

SHORT_TEXT = 10_000  # characters; with fewer, a language model hardly learns how words are spelled


def text_report(files: TextFiles) -> dict[str, Any]:
    """Return the report on plain text: the remarks about its files."""
    return _remarks(files.training, files.validation)


def table_report(files: DataFiles, scan: Scan, validation_split: float) -> dict[str, Any]:
    """Return the report on a table: its rows, the roles of its columns, and the remarks about its files."""
    ignored = dict.fromkeys(name for layout in files.layouts for name in layout.ignored)
    report = of_rows(scan) | {"columns": files.training.roles, "ignored_columns": list(ignored)}
    if scan.has_validation_rows and files.validation is None and validation_split != VALIDATION_SPLIT:
        report["unused_split"] = validation_split
    if scan.task == "generation":
        masks = {name: scan.splits_N == code for code, name in SPLIT_NAMES.items()}
        report["characters"] = {name: int(scan.lengths_N[mask].sum()) for name, mask in masks.items() if mask.any()}
    if scan.lost_precision:
        report["lost_precision"] = scan.lost_precision
    if rounded := rounded_values(scan.values_N) if scan.task == "regression" else "":
        report["rounded_values"] = rounded
    return report | dropped_rows(scan) | _remarks(*(layout.source for layout in files.layouts))


def dropped_rows(scan: Scan) -> dict[str, Any]:
    """Return the part of the report about rows that are left out because they cannot be used. Empty if there are
    none.
    """
    if not scan.dropped.rows:
        return {}
    counts = dict(scan.dropped.counts.most_common())
    return {"dropped": {"rows": scan.dropped.rows, "counts": counts, "places": scan.dropped.places}}


def warnings_of(report: dict[str, Any], task: str | None) -> list[tuple[str, str]]:
    """Return the kind and message of each warning that follows from a report on data files."""
    leaks = dict(report.get("leaks") or {})
    test_leaks = leaks.pop("test_in_validation", 0)
    counts = {
        "conflicting": (report.get("conflicting_labels"), "input occurs", "inputs occur", "with more than one label"),
        "conflicting_values": (
            report.get("conflicting_values"), "input occurs", "inputs occur", "with more than one value",
        ),
        "duplicates": (
            sum((report.get("duplicates") or {}).values()),
            "row is a duplicate", "rows are duplicates", "of another row in the same split",
        ),
        "leaks": (sum(leaks.values()), "held-out row is", "held-out rows are", "also in the training rows"),
        "test_leaks": (test_leaks, "test row is", "test rows are", "also in the validation rows"),
    }  # fmt: skip
    warnings = [
        (kind, f"{count:,} {one if count == 1 else many} {rest}")
        for kind, (count, one, many, rest) in counts.items()
        if count
    ]
    if dropped := report.get("dropped"):
        verb = "is" if dropped["rows"] == 1 else "are"
        kinds = "; ".join(_dropped(kind, count, dropped) for kind, count in dropped["counts"].items())
        warnings.append(("dropped", f"{quantity(dropped['rows'], 'row')} that cannot be used {verb} left out: {kinds}"))
    if ignored := report.get("ignored_columns"):
        names = quoted(ignored)
        is_dialogue = not {"messages", "prompt"}.isdisjoint(report.get("columns") or ())
        way = "every answer is learned, regardless of these columns; to learn only some answers, remove the other rows"
        way = way if is_dialogue else "to use a column, assign it a role in `columns`"
        message = f"these columns are not used for {task}: {names}; {way}"
        warnings.append(("ignored_columns", message))
    characters = sum((report.get("characters") or {}).values())
    if task == "generation" and 0 < characters < SHORT_TEXT:
        message = (
            f"{quantity(characters, 'character')} {'is' if characters == 1 else 'are'} too few to learn from: the "
            f"model will mostly repeat them; use at least {SHORT_TEXT:,} characters"
        )
        warnings.append(("short_text", message))
    if lost := report.get("lost_precision"):
        more = f"; and {len(lost) - 3:,} more features" if len(lost) > 3 else ""
        warnings.append(("lost_precision", "; ".join(lost[:3]) + more))
    if rounded := report.get("rounded_values"):
        warnings.append(("rounded_values", rounded))
    if share := report.get("unused_split"):
        message = f"validation_split {share:g} has no effect: the data itself determines which rows are held out"
        warnings.append(("unused_split", message))
    return warnings


def _dropped(kind: str, count: int, dropped: dict[str, Any]) -> str:
    """Return how many rows were dropped because of one kind of fault, and the places of the first few."""
    places = dropped.get("places", {}).get(kind)
    return f"{count:,} × {kind}" + (f" ({listed_places(places, count)})" if places else "")


def _remarks(*sources: Source | None) -> dict[str, Any]:
    remarks = [remark.to_dict() for source in sources if source is not None for remark in source.remarks]
    return {"remarks": remarks} if remarks else {}


def of_rows(scan: Scan) -> dict[str, Any]:
    """Return the report on the rows of a table. `lengths` are in characters, or in steps for numeric sequences.

    `duplicates` counts the rows whose input is equal to the input of an earlier row in the same split.
    """
    masks = {name: mask for code, name in SPLIT_NAMES.items() if (mask := scan.splits_N == code).any()}
    result: dict[str, Any] = {
        "rows": {name: int(mask.sum()) for name, mask in masks.items()},
        "lengths": {name: _percentiles(scan.lengths_N[mask]) for name, mask in masks.items()},
        "empty": scan.empty,
        "duplicates": {name: _duplicates(scan.hashes_N[mask]) for name, mask in masks.items()},
        "leaks": _leaks(scan),
        "sha256": {name: digest_of_rows(scan, mask) for name, mask in masks.items()},
    }
    if TRAIN in scan.splits_N:
        result[TRAIN_SAMPLE] = row_sample(scan.hashes_N[scan.splits_N == TRAIN])
    if scan.labels:
        result["labels"] = {name: _label_counts(scan, mask) for name, mask in masks.items()}
        result["conflicting_labels"] = _conflicts(scan.hashes_N, scan.strata_N)
    elif np.ptp(scan.values_N) > 0:
        result["conflicting_values"] = _conflicts(scan.hashes_N, scan.values_N)
    return result


def digest_of_rows(scan: Scan, mask: NDArray[np.bool_]) -> str:
    """Return a SHA-256 hash of the inputs and targets of the given rows. The hash does not depend on the order of the
    rows.

    Metrics with equal digests were measured on the same rows.
    """
    names = [json.dumps(labels).encode() for labels in scan.strata]
    labels_S = np.asarray([int.from_bytes(hashlib.sha256(name).digest()[:8]) for name in names], dtype=np.uint64)
    columns = [scan.hashes_N[mask], scan.values_N[mask].view(np.uint64), labels_S[scan.strata_N[mask]]]
    rows_NK = np.stack(columns, 1)[np.lexsort(columns)]
    return hashlib.sha256(rows_NK.astype("<u8").tobytes()).hexdigest()


def _percentiles(lengths: NDArray[np.int64]) -> dict[str, int]:
    points = {"min": 0, "median": 50, "p90": 90, "p99": 99, "max": 100}
    return {name: int(np.percentile(lengths, point)) for name, point in points.items()}


def _duplicates(hashes: NDArray[np.uint64]) -> int:
    return len(hashes) - len(np.unique(hashes))


def _leaks(scan: Scan) -> dict[str, int]:
    """Count the held-out rows whose inputs also occur in another split, separately for each kind of leak."""
    train, validation, test = (scan.hashes_N[scan.splits_N == code] for code in (TRAIN, VALIDATION, TEST))
    leaks = {"validation": int(np.isin(validation, train).sum())}
    if len(test):
        leaks["test"] = int(np.isin(test, train).sum())
        leaks["test_in_validation"] = int(np.isin(test, validation).sum())
    return leaks


def _label_counts(scan: Scan, mask: NDArray[np.bool_]) -> dict[str, int]:
    counts: Counter[str] = Counter()
    for stratum, number in zip(*np.unique(scan.strata_N[mask], return_counts=True), strict=True):
        counts.update(dict.fromkeys(scan.strata[int(stratum)], int(number)))
    return {label: counts[label] for label in in_order(counts)}


def _conflicts(hashes_N: NDArray[np.uint64], targets_N: NDArray[Any]) -> int:
    """Count the distinct inputs that have more than one target."""
    order_N = np.lexsort((targets_N, hashes_N))
    hashes_N, targets_N = hashes_N[order_N], targets_N[order_N]
    differ_N = (hashes_N[1:] == hashes_N[:-1]) & (targets_N[1:] != targets_N[:-1])
    return len(np.unique(hashes_N[1:][differ_N]))
