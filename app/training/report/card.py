"""Writes the model card, which is the README.md of a checkpoint. The model card contains only measurements and
settings.
"""

from __future__ import annotations

import math
from typing import Any

from app.checkpoint.calibration import Calibration
from app.training.data.report import warnings_of
from app.training.plan.config import Settled
from app.training.prepare.dataset import Facts
from app.training.report import trust
from app.wire.measurement import shows_calibration_error, too_few, verdict
from app.wire.trainer import TrainSpec
from app.wording import quantity
from models.config import ModelConfig

_NAMES = {"linear": "Linear model", "transformer": "Transformer"}
_COUNTS = ("conflicting", "conflicting_values", "duplicates")  # kinds of warnings that are listed as counts
_UNUSED = ("ignored_columns", "unused_split")  # kinds of warnings about data that is not used
_MOST_WARNINGS = 10
_SHOWN = {  # the metrics with their names in words, as on the console
    "accuracy": "accuracy", "macro_f1": "macro F1", "micro_f1": "micro F1", "loss": "loss", "perplexity": "perplexity",
    "bits_per_character": "bits per character", "mse": "mean squared error", "mae": "mean absolute error", "r2": "R²",
    "ece": "calibration error (ECE)",
}  # fmt: skip
_SHARES = ("accuracy", "macro_f1", "micro_f1", "ece")


def write(
    spec: TrainSpec,
    settled: Settled,
    facts: Facts,
    metrics: dict[str, Any],
    parameters: int,
    calibration: Calibration | None = None,
) -> str:
    """Return the card as Markdown.

    `metrics` contains the metrics of each held-out split; `parameters` is the number of parameters of the network.
    """
    config = settled.config
    origin = "fine-tuned from another version" if spec.model == "base" else "trained from scratch"
    lines = [
        f"# {_name(config)} for {config.task}",
        "",
        f"{_kind(config)} {parameters:,} parameters, {origin} by Ostinato.",
        "",
        "## What it does",
        "",
        _purpose(facts),
        "",
        "## How well it performs",
        "",
        *_table({name: part for name, part in metrics.items() if name != "baseline"}),
        "",
        *_baseline(metrics.get("baseline")),
        _choice(settled),
        "",
        *([] if calibration is None else trust.lines(calibration, metrics, selects=settled.metric != "last")),
        "## What it learned from",
        "",
        *_data(spec, facts, settled),
        *_warnings(facts),
        "",
        "## How it was made",
        "",
        f"Seed {spec.seed}; {settled.optimizer} with a peak learning rate of {settled.learning_rate:g} "
        f"({settled.schedule}), batches of {settled.batch_size * settled.accumulation}, {settled.precision}, "
        f"{quantity(settled.threads, 'thread')}. All settings are in `training.json`; the loss curve is in "
        "`results.csv` and `plots/loss.svg`.",
        "",
        "## Limits",
        "",
        "The model was trained only on this data, including its errors and gaps. The metrics apply only to "
        "data similar to the held-out rows.",
        "",
    ]
    return "\n".join(lines)


def _baseline(report: dict[str, Any] | None) -> list[str]:
    """Return the comparison with the baseline, as a paragraph. Shares are in per cent, as in the rest of the card."""
    if not report:
        return []
    summary, comparison = str(report["summary"]), report["comparison"]
    if comparison["metric"] in _SHARES:
        for side in ("network", "baseline"):  # the order in the sentence
            summary = summary.replace(f" {comparison[side]:.3f}", f" {comparison[side]:.1%}", 1)
    return [f"{summary}. The baseline: {report['description']}.", ""]


def _name(config: ModelConfig) -> str:
    return _NAMES.get(config.architecture, config.architecture.upper())


def _kind(config: ModelConfig) -> str:
    if config.architecture == "linear":
        return "A linear model of n-grams with"
    article = "An" if config.architecture in ("rnn", "lstm") else "A"
    return f"{article} {_name(config)} with" + (" an n-gram branch and" if config.ngram_buckets else "")


def _choice(settled: Settled) -> str:
    if settled.config.architecture == "linear" and settled.metric == "last":
        return "The weights are those of the last step."
    if settled.metric == "last":
        return (
            "The weights are those of the last step, because there are too few validation rows to choose a checkpoint."
        )
    return "The checkpoint is the one with the best result on the validation data. Test data, if any, was not used."


def _purpose(facts: Facts) -> str:
    kind = "texts" if facts.input == "tokens" else f"sequences of steps with {facts.features} numbers each"
    if facts.task == "generation":
        what = "conversations" if facts.chat_template else "text"
        return f"The model continues {what}. Tokenizer: {facts.tokenizer}, {facts.vocab_size:,} tokens."
    if facts.task == "regression":
        return f"The model predicts a number for {kind}."
    shown = ", ".join(f"`{_plain(label)}`" for label in facts.labels[:50])
    more = f" and {len(facts.labels) - 50} more" if len(facts.labels) > 50 else ""
    one = "one of" if facts.task == "classification" else "any of"
    return f"The model assigns {one} {quantity(len(facts.labels), 'label')} to {kind}: {shown}{more}."


def _table(metrics: dict[str, Any]) -> list[str]:
    parts = {name: part for name, part in metrics.items() if isinstance(part, dict)}
    names = [name for name in _SHOWN if any(name in part for part in parts.values())]
    rows = ["| | " + " | ".join(parts) + " |", "|---" * (len(parts) + 1) + "|"]
    for name in names:
        cells = (_cell(part, name) for part in parts.values())
        rows.append(f"| {_SHOWN[name]} | " + " | ".join(cells) + " |")
    counts = {name: part["rows"] for name, part in parts.items() if "rows" in part}
    if counts:
        rows.insert(2, "| rows | " + " | ".join(f"{counts[name]:,}" if name in counts else "" for name in parts) + " |")
    verdicts = [f"{name.capitalize()} on {verdict(count)}." for name, count in counts.items() if too_few(count)]
    return [*rows, "", *verdicts] if verdicts else rows


def _cell(part: dict[str, Any], name: str) -> str:
    """Return a metric of a split, or "–" if the split has too few rows or the metric is missing or not finite."""
    enough = shows_calibration_error if name == "ece" else lambda rows: not too_few(rows)
    measured = enough(part.get("rows")) and math.isfinite(part.get(name, math.nan))
    return format(part[name], ".1%" if name in _SHARES else ".4f") if measured else "–"


def _data(spec: TrainSpec, facts: Facts, settled: Settled) -> list[str]:
    lines = [f"- file `{_plain(spec.training_file.filename)}`, SHA-256 `{spec.training_file.sha256}`"]
    for name in ("rows", "characters"):
        counts = facts.report.get(name)
        if counts:
            lines.append(f"- {name}: " + ", ".join(f"{count:,} {part}" for part, count in counts.items()))
    report = facts.report
    counts = {
        "repeated rows": sum((report.get("duplicates") or {}).values()),
        "inputs with more than one label": report.get("conflicting_labels"),
        "inputs with more than one value": report.get("conflicting_values"),
    }
    lines += [f"- {count:,} {name}" for name, count in counts.items() if count]
    if settled.truncated:
        unit = "step" if facts.input == "features" else "token"
        cut = quantity(settled.truncated, "row") + (" was" if settled.truncated == 1 else " were")
        lines.append(f"- {cut} cut to {quantity(settled.config.context_length, unit)}")
    return lines


def _warnings(facts: Facts) -> list[str]:
    """Return the warnings about the data, except those that `_data` shows as counts and those about unused data."""
    kept = [text for kind, text in warnings_of(facts.report, facts.task) if kind not in (*_COUNTS, *_UNUSED)]
    kept += [remark["message"] for remark in facts.report.get("remarks") or [] if remark["level"] == "warn"]
    if not kept:
        return []
    lines = [f"- {_plain(text, 300)}" for text in kept[:_MOST_WARNINGS]]
    if (more := len(kept) - _MOST_WARNINGS) > 0:
        lines.append(f"- {quantity(more, 'more warning')}, which {'is' if more == 1 else 'are'} in `training.json`")
    return ["", "Warnings about the data:", "", *lines]


def _plain(text: str, most: int = 100) -> str:
    """Replace Markdown delimiters and unprintable characters in a user's text. Return at most `most` characters."""
    return "".join(c if c.isprintable() and c not in "`<>[]|\\" else "_" for c in text)[:most]
