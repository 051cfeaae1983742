"""The notes at the start of a training: what the data is, what may be wrong with it, and what was settled."""

from __future__ import annotations

from collections import Counter
from typing import Any

from app.training.events import Events
from app.training.plan.config import Settled
from app.training.prepare.dataset import Dataset
from app.wording import counted


def announce(events: Events, dataset: Dataset, settled: Settled) -> None:
    """Emit the opening notes, all of step 0."""
    report = dataset.facts.report | {"truncated": settled.truncated}
    counts = report.get("rows") or report.get("characters") or {}
    sizes = ", ".join(f"{count:,} {split}" for split, count in counts.items())
    events.note("data_report", 0, f"data: {sizes} {'rows' if 'rows' in report else 'characters'}", **report)
    _announce_remarks(events, report.get("remarks") or [])
    for kind, message in _warnings(report, settled):
        events.note(kind, 0, message, "warn")
    shown = {name: value for name, value in settled.to_dict().items() if name not in ("digests", "class_weights")}
    events.note("settled", 0, _summary(settled), **shown)


def _announce_remarks(events: Events, remarks: list[dict[str, Any]]) -> None:
    """Emit one note for each remark. Notes are unique by kind, so a repeated kind is numbered."""
    kinds: Counter[str] = Counter()
    for remark in remarks:
        kind = remark["kind"]
        kinds[kind] += 1
        name = kind if kinds[kind] == 1 else f"{kind}_{kinds[kind]}"
        events.note(name, 0, remark["message"], remark["level"], where=remark["where"], count=remark["count"])


def _summary(settled: Settled) -> str:
    model = settled.config
    end = counted(settled.total_steps, "step") if settled.total_steps else f"{settled.max_seconds:g} seconds"
    return (
        f"{model.architecture}: {counted(model.layers, 'layer')} of {model.width}, context {model.context_length}, "
        f"{end} of {settled.batch_size * settled.accumulation}, learning rate {settled.learning_rate:g}, "
        f"{counted(settled.threads, 'thread')}, {settled.precision}"
    )


def _warnings(report: dict[str, Any], settled: Settled) -> list[tuple[str, str]]:
    """(kind, message) of each."""
    leaks = dict(report.get("leaks") or {})
    test_leaks = leaks.pop("test_in_validation", 0)
    unit = "steps" if settled.config.input == "features" else "tokens"
    counted = {
        "conflicting": (report.get("conflicting_labels"), "inputs occur with more than one label"),
        "conflicting_values": (report.get("conflicting_values"), "inputs occur with more than one value"),
        "empty": (report.get("empty"), "rows without a text are left out"),
        "duplicates": (sum((report.get("duplicates") or {}).values()), "rows repeat another row of their split"),
        "leaks": (sum(leaks.values()), "held-out rows are in the train rows too"),
        "test_leaks": (test_leaks, "test rows are in the validation rows too"),
        "truncated": (settled.truncated, f"rows are cut to {settled.config.context_length} {unit}"),
    }
    warnings = [(kind, f"{count:,} {message}") for kind, (count, message) in counted.items() if count]
    if dropped := report.get("dropped"):
        kinds = "; ".join(f"{count:,} × {kind}" for kind, count in dropped["counts"].items())
        warnings.append(("dropped", f"{dropped['rows']:,} rows that cannot be used are left out: {kinds}"))
    if ignored := report.get("ignored_columns"):
        names, task = ", ".join(map(repr, ignored[:20])), settled.config.task
        message = f"these columns are not used for {task}: {names}; `columns` in the request says what a column holds"
        warnings.append(("ignored_columns", message))
    if share := report.get("unused_split"):
        message = f"validation_split {share:g} has no effect: the data itself says which rows are held out"
        warnings.append(("unused_split", message))
    if settled.max_seconds:
        message = "with max_seconds, the training ends by the clock, so the same request may give different weights"
        warnings.append(("time_limit", message))
    return warnings
