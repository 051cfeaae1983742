"""Prepares local data files for upload: copies pipes to files, and runs the trainer's checks."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec

from app.cli.output import print_json, warn
from app.cli.wording import in_own_words, option_for, with_outcome
from app.errors import InvalidRequest
from app.wire.measurement import SELECTING_ROWS, consequences, too_few
from app.wire.training_options import VALIDATION_SPLIT, Columns
from app.wire.training_rules import linear_complaint
from app.wording import quantity

if TYPE_CHECKING:
    from app.training.data.checking import DataReport
    from app.training.data.faults import BadRows
    from app.training.failures import BadData

_MOST_LEFT_OUT = 0.5  # the largest share of faulty rows for which error messages suggest leaving them out
LABELS = "labels"  # kind of the remark that states the number of rows of each label


@contextmanager
def as_regular_files(paths: dict[str, Path]) -> Iterator[dict[str, Path]]:
    """Yield `paths`, with each pipe replaced by a temporary file, because a pipe can be read only once.

    Raises InvalidRequest if a file cannot be read.
    """
    with ExitStack() as stack:
        yield {field: _regular(path, stack) for field, path in paths.items()}


def _regular(path: Path, stack: ExitStack) -> Path:
    from app.client import name_of  # loads httpx

    try:
        with path.open("rb") as stream:
            if path.is_file():
                return path
            folder = stack.enter_context(tempfile.TemporaryDirectory(prefix="ostinato-"))
            copy = Path(folder) / name_of(path)
            with copy.open("wb") as file:
                shutil.copyfileobj(stream, file)
            return copy
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or error
        raise InvalidRequest(f"cannot read {path}: {reason}") from None


def check_data(paths: dict[str, Path], request: dict[str, Any], as_json: bool) -> list[str]:
    """Run the trainer's checks on the data files and print the result. Returns the checks' messages.

    `paths` contains only local files; `request` contains the ids of files that were uploaded before. With `as_json`,
    prints only warnings, to standard error. If the data cannot be used, prints the first faulty rows, one per line, and
    raises InvalidRequest.
    """
    from app.training.data.checking import check_files  # loads numpy and pyarrow

    if "training_file" not in paths:
        return _check_validation(paths.get("validation_file"), request, as_json)
    uploaded = "validation_file" in request
    training = request.get("training", {})
    result = check_files(
        paths["training_file"],
        paths.get("validation_file"),
        task=request.get("task"),
        columns=msgspec.convert(request.get("columns", {}), Columns),
        validation_split=request.get("validation_split", VALIDATION_SPLIT),
        skip_bad_rows=_skipped_share(training, alone=uploaded),
        encoding=training.get("encoding"),
    )
    if uploaded and "rows" in result.report:  # no rows of the training file are held out
        result.report["rows"] = {"train": sum(result.report["rows"].values())}
    messages = _show_training(paths["training_file"].name, result, training, as_json)
    _check_model(result, request.get("model"))
    return messages


def check_evaluation(path: Path, card: dict[str, Any], request: dict[str, Any], as_json: bool) -> None:
    """Run the checks of an evaluation on all rows of a local file, and print the result, as `check_data` does.

    `card` describes the version to evaluate.
    """
    from app.training.data.checking import check_held_out  # loads numpy and pyarrow

    columns = msgspec.convert(request.get("columns", {}), Columns)
    share, encoding = request.get("skip_bad_rows", 0.0), request.get("encoding")
    result = check_held_out(path, card["task"], card["input"], columns, share, encoding, card.get("labels", ()))
    if request.get("validation_split") and result.error is None and "rows" not in result.report:
        raise InvalidRequest("--validation-split applies only to tables, but this is plain text; nothing was uploaded")
    if "rows" in result.report:  # the evaluation chooses the split
        result.report["rows"] = {"": sum(result.report["rows"].values())}
    _show(path.name, result, _messages(result), as_json)


def _show_training(name: str, result: DataReport, training: dict[str, Any], as_json: bool) -> list[str]:
    messages = _messages(result) + _few_rows(result, selects=bool(training.get("patience")))
    return _show(name, result, messages, as_json)


def _show(name: str, result: DataReport, messages: list[tuple[str, str]], as_json: bool) -> list[str]:
    """Print the result of checking a file, and return its messages. Raises InvalidRequest if there is an error."""
    if result.error is None and not as_json:
        print(f"{name}: {_sizes(result)}")
    for level, message in messages:
        line = ("warning: " if level == "warn" else "") + in_own_words(message)
        if not as_json:
            print(line, flush=True)
        elif level == "warn":
            warn(line)
    if result.error is not None:
        raise refusal(result.error, as_json=as_json)
    return [message for _, message in messages]


def _check_model(result: DataReport, model: str | None) -> None:
    """Raise InvalidRequest if the architecture cannot be trained on the data."""
    complaint = linear_complaint(result.task, numbers=result.unit == "steps") if model == "linear" else None
    if complaint:
        raise InvalidRequest(f"{complaint}; nothing was uploaded", param="model")


def _check_validation(path: Path | None, request: dict[str, Any], as_json: bool) -> list[str]:
    """Check a validation file whose training file was uploaded before. Prints and returns the same as `check_data`."""
    if path is None:
        return []
    from app.training.data.checking import check_validation  # loads numpy and pyarrow

    training, columns = request.get("training", {}), msgspec.convert(request.get("columns", {}), Columns)
    skipped = _skipped_share(training, alone=True)
    result = check_validation(path, request.get("task"), columns, skipped, training.get("encoding"))
    return _show_training(path.name, result, training, as_json)


def _skipped_share(training: dict[str, Any], *, alone: bool) -> float:
    """The share of rows that may be left out of both files. If only one file is checked (`alone`), returns 0 or 1."""
    share = float(training.get("skip_bad_rows", 0.0))
    return 1.0 if alone and share else share


def _sizes(result: DataReport) -> str:
    """The size of the data and the input lengths: "24 rows for classification (22 train, 2 validation); …"."""
    if "rows" not in result.report:
        characters = result.report["characters"]
        parts = ", ".join(f"{count:,} in the {split} file" for split, count in characters.items())
        return f"plain text for generation, {quantity(sum(characters.values()), 'character')}" + (
            f" ({parts})" if len(characters) > 1 else ""
        )
    rows = result.report["rows"]
    splits = ", ".join(f"{count:,} {split}" for split, count in rows.items() if split)
    lengths = result.report["lengths"].values()
    shortest, longest = min(split["min"] for split in lengths), max(split["max"] for split in lengths)
    median = next(iter(lengths))["median"]
    size = quantity(sum(rows.values()), "row")
    size += f" for {result.task}" + f" ({splits})" * bool(splits)
    return f"{size}; {shortest:,} to {longest:,} {result.unit}, median {median:,}"


def _messages(result: DataReport) -> list[tuple[str, str]]:
    """Return all remarks and warnings as (level, message) pairs. The remark about the label counts comes first."""
    remarks = sorted(result.report.get("remarks") or [], key=lambda remark: remark["kind"] != LABELS)
    messages = [(remark["level"], remark["message"]) for remark in remarks]
    return messages + [("warn", message) for _, message in result.warnings]


def _few_rows(result: DataReport, *, selects: bool) -> list[tuple[str, str]]:
    """Return the level and text of the trainer's note about too few validation rows, or nothing if there are enough."""
    rows = (result.report.get("rows") or {}).get("validation")
    if result.task == "generation" or not rows:
        return []
    few = consequences(rows, selects=selects or rows >= SELECTING_ROWS)
    return [("warn" if too_few(rows) else "info", few)] * bool(few)


def refusal(error: BadData, *, outcome: str = "nothing was uploaded", as_json: bool = False) -> InvalidRequest:
    """Return the error for unusable data. For `BadRows`, also print the first faulty rows, one per line.

    With `as_json`, prints the first hundred faults as JSON to standard output.
    """
    from app.training.data.faults import BadRows, describe

    if as_json:
        print_json(error.to_dict() if isinstance(error, BadRows) else {"rows": 1, "faults": [describe(error)]})
    if not isinstance(error, BadRows):
        return InvalidRequest(with_outcome(f"{_option(error)}{error.message}", outcome))
    for line in error.listing().splitlines():
        warn(in_own_words(line))
    if error.may_be_left_out:
        remedy = f"Fix these rows, or leave them out with --skip-bad-rows {error.fraction}{error.basis}"
    elif error.unread:
        remedy = f"Fix these rows (the file cannot be read after {error.unread}, so later rows are not checked)"
    else:
        remedy = error.remedy + _leaving_out(error)
    return InvalidRequest(f"{quantity(error.rows, 'row')} cannot be used: {error.kinds()}. {remedy}; {outcome}")


def _leaving_out(error: BadRows) -> str:
    """Return the end of the error message for data with unusually many faulty rows: whether they can be left out."""
    share = f"{100 * error.fraction:.0f} %"
    if not error.skippable or error.fraction > _MOST_LEFT_OUT:
        return f"; these are too many rows to leave out ({share}{error.basis})"
    return f". To leave them out anyway ({share} of the rows), set --skip-bad-rows {error.fraction}{error.basis}"


def _option(error: BadData) -> str:
    """Return the option that caused an error and a colon. Returns "" if there is no option or the message names it."""
    option = option_for(error.param or "")
    is_named = option is None or str(error.param) in error.message or "has no column 'text'" in error.message
    return "" if is_named else f"{option}: "
