"""The model card: README.md of a checkpoint. Knows figures and facts; says nothing that was not measured."""

from __future__ import annotations

import math
from typing import Any

from app.training.plan.config import Settled
from app.training.prepare.dataset import Facts
from app.wire.trainer import TrainSpec

_SHOWN = ("accuracy", "macro_f1", "micro_f1", "loss", "perplexity", "bits_per_character", "mse", "mae", "r2")


def write(spec: TrainSpec, settled: Settled, facts: Facts, metrics: dict[str, Any], parameters: int) -> str:
    config = settled.config
    origin = "fine-tuned from another version" if spec.model == "base" else "trained from scratch"
    lines = [
        f"# {config.architecture.upper() if config.recurrent else 'Transformer'} for {config.task}",
        "",
        f"A {config.architecture} with {parameters:,} parameters, {origin} by Ostinato.",
        "",
        "## What it does",
        "",
        _purpose(facts),
        "",
        "## How well",
        "",
        *_table(metrics),
        "",
        "Validation chose the checkpoint that was kept; test rows, where there are any, influenced nothing.",
        "",
        "## What it learned from",
        "",
        *_data(spec, facts, settled),
        "",
        "## How it was made",
        "",
        f"Seed {spec.seed}; {settled.optimizer} with a peak learning rate of {settled.learning_rate:g} "
        f"({settled.schedule}), batches of {settled.batch_size * settled.accumulation}, {settled.precision}, "
        f"{settled.threads} thread(s). All settings are in `training.json`; the course of the loss is in "
        "`results.csv` and `plots/loss.svg`.",
        "",
        "## Limits",
        "",
        "It knows what is in its training data, with its faults and gaps, and nothing else. The figures hold for data "
        "like that which they were measured on.",
        "",
    ]
    return "\n".join(lines)


def _purpose(facts: Facts) -> str:
    kind = "texts" if facts.input == "tokens" else f"sequences of steps with {facts.features} numbers each"
    if facts.task == "generation":
        return f"It continues texts. Tokenizer: {facts.tokenizer}, {facts.vocab_size:,} tokens."
    if facts.task == "regression":
        return f"It gives a number for {kind}."
    shown = ", ".join(f"`{_plain(label)}`" for label in facts.labels[:50])
    more = f" and {len(facts.labels) - 50} more" if len(facts.labels) > 50 else ""
    one = "one of" if facts.task == "classification" else "any of"
    return f"It gives {kind} {one} {len(facts.labels)} labels: {shown}{more}."


def _table(metrics: dict[str, Any]) -> list[str]:
    parts = {name: part for name, part in metrics.items() if isinstance(part, dict)}
    names = [name for name in _SHOWN if any(name in part for part in parts.values())]
    rows = ["| | " + " | ".join(parts) + " |", "|---" * (len(parts) + 1) + "|"]
    for name in names:
        cells = (f"{part[name]:.4f}" if math.isfinite(part.get(name, math.nan)) else "" for part in parts.values())
        rows.append(f"| {name} | " + " | ".join(cells) + " |")
    return rows


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
    lines += [f"- {count:,} {said}" for said, count in counts.items() if count]
    if settled.truncated:
        unit = "steps" if facts.input == "features" else "tokens"
        lines.append(f"- {settled.truncated:,} rows were cut to {settled.config.context_length} {unit}")
    return lines


def _plain(text: str) -> str:
    """A name from outside, harmless in Markdown."""
    return "".join(c if c.isprintable() and c not in "`<>[]|\\" else "_" for c in text)[:100]
