"""The data report is in an event before the training, and afterwards in the model card and the plots."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from app.checkpoint import directory as checkpoint
from app.wire.trainer import Done, Note
from tests.training import runs

SMALL = {"width": 16, "layers": 1, "max_steps": 2, "batch_size": 16}


def train_report(run: Path) -> tuple[dict[str, Any], dict[str, str]]:
    """Train a run; return its data report, and its warnings by kind."""
    events = runs.train(run)
    assert isinstance(events[-1], Done), events[-1]
    notes = [event for event in events if isinstance(event, Note)]
    report = next(note.data for note in notes if note.kind == "data_report")
    return report, {note.kind: note.message for note in notes if note.level == "warn"}


def test_labelled_rows_are_counted_by_split(tmp_path: Path) -> None:
    rows = [f"{text},{label},train,{n}" for n, (text, label) in enumerate(runs.sentences(40))]
    first = rows[0].split(",")[0]
    extra = [
        "twice said,good,train,x",
        "twice said,bad,train,x",
        f"{first},good,test,x",
        f"{first},good,val,x",
        "held,bad,val,x",
        "held,bad,test,x",
        "held,bad,test,x",
        rows[1],
        " ,bad,train,x",
    ]
    content = "\n".join(["text,label,split,id", *rows, *extra])
    run = runs.make(tmp_path, "rows.csv", content, training={**SMALL, "context_length": 4})
    report, warnings = train_report(run)
    assert report["rows"] == {"train": 43, "validation": 2, "test": 3}
    assert report["duplicates"] == {"train": 2, "validation": 0, "test": 1}
    assert report["leaks"] == {"validation": 1, "test": 1, "test_in_validation": 3}
    assert (report["conflicting_labels"], report["empty"], report["ignored_columns"]) == (1, 1, ["id"])
    assert report["truncated"] > 0
    assert warnings["leaks"].startswith("2 held-out rows")
    assert warnings["test_leaks"].startswith("3 test rows")
    assert "'id'" in warnings["ignored_columns"] and "for classification" in warnings["ignored_columns"]
    assert {"duplicates", "conflicting", "empty", "truncated"} <= warnings.keys()
    card = (run / "checkpoint" / "README.md").read_text()
    assert "3 repeated rows" in card and "1 inputs with more than one label" in card


def test_conflicting_values_are_counted(tmp_path: Path) -> None:
    content = "text,value\n" + "".join(f"{text},{n}\n" for n, (text, _) in enumerate(runs.sentences(30)))
    report, warnings = train_report(
        runs.make(tmp_path, "rows.csv", content + "same,1\nsame,1\nodd,1\nodd,2\n", training=SMALL)
    )
    assert report["conflicting_values"] == 1 and "one value" in warnings["conflicting_values"]


def test_lengths_are_counted_by_split(tmp_path: Path) -> None:
    rows = [{"features": [[n, 1]] * (1 + n % 3), "label": "ab"[n % 2]} for n in range(30)]
    run = runs.make(tmp_path, "rows.jsonl", "\n".join(map(json.dumps, rows)), training=SMALL)
    report, _ = train_report(run)
    histogram = report["length_histogram"]
    assert (histogram["unit"], histogram["edges"]) == ("steps", [0, 1, 2, 3, 4])
    assert [sum(pair) for pair in zip(*histogram["counts"].values(), strict=True)] == [0, 10, 10, 10]
    assert {name: sum(counts) for name, counts in histogram["counts"].items()} == report["rows"]
    assert "tokens" not in report


def test_a_plain_text_is_counted_in_characters_and_lines(tmp_path: Path) -> None:
    text = "".join(f"{text}\n" for text, _ in runs.sentences(200)) + "no end"
    run = runs.make(tmp_path, "book.txt", text, training={**SMALL, "tokenizer": "char", "context_length": 16})
    report, _ = train_report(run)
    assert sum(report["characters"].values()) == len(text)
    assert sum(report["lines"].values()) in (201, 202)  # the cut may fall inside a line
    assert report["distinct_characters"] == len(set(text)) <= report["distinct_tokens"] + 3
    assert report["tokens"] == report["characters"]  # all characters are in the vocabulary
    assert report["length_histogram"]["unit"] == "characters per line"
    assert sum(report["length_histogram"]["counts"]["train"]) == report["lines"]["train"]
    assert (run / "checkpoint" / "plots" / "lengths.svg").exists()


def test_documents_and_completions_are_counted(tmp_path: Path) -> None:
    texts = [text for text, _ in runs.sentences(40)]
    run = runs.make(tmp_path / "a", "a.jsonl", "\n".join(json.dumps({"text": t}) for t in texts), "gru", training=SMALL)
    report, _ = train_report(run)
    assert sum(report["characters"].values()) == sum(map(len, texts))
    assert {name: sum(counts) for name, counts in report["length_histogram"]["counts"].items()} == report["rows"]
    rows = [{"prompt": "" if n % 2 else text, "completion": f" {text}"} for n, text in enumerate(texts)]
    run = runs.make(tmp_path / "b", "b.jsonl", "\n".join(map(json.dumps, rows)), "gru", training=SMALL)
    report, _ = train_report(run)
    assert report["empty"] == 0 and sum(report["rows"].values()) == 40
    assert (run / "checkpoint" / "plots" / "lengths.svg").exists()


@pytest.mark.parametrize("labels", [45, 510])
def test_many_labels_are_plotted_without_names(labels: int, tmp_path: Path) -> None:
    """Hundreds of labels are not plotted, because the file with their confusion matrix would be too large."""
    content = "text,label\n" + "".join(f"word{n % labels} {n},label{n % labels}\n" for n in range(labels * 5))
    run = runs.make(tmp_path, "rows.csv", content, "gru", training={**SMALL, "vocab_size": 300})
    train_report(run)
    stored = set(checkpoint.manifest(run / "checkpoint"))
    assert ("plots/confusion_validation.svg" in stored) == (labels == 45)
    if labels == 45:
        assert "label44" not in (run / "checkpoint" / "plots" / "confusion_validation.svg").read_text()
    files = ("metrics.json", "training.json")
    full, short = (json.loads((run / "checkpoint" / name).read_text()) for name in files)
    assert len(full["validation"]["per_class"]) == labels
    assert short["metrics"]["validation"].keys() == full["validation"].keys() - {"per_class", "confusion_matrix"}


def test_a_validation_split_without_effect_is_reported(tmp_path: Path) -> None:
    rows = [f"{text},{label},{('train', 'val')[n % 4 > 2]}" for n, (text, label) in enumerate(runs.sentences(40))]
    content = "\n".join(["text,label,split", *rows])
    for place, share, expected in (("a", 0.3, True), ("b", 0.1, False)):
        run = runs.make(tmp_path / place, "rows.csv", content, training=SMALL, validation_split=share)
        assert ("unused_split" in train_report(run)[1]) == expected


def test_truncated_numeric_rows_are_reported(tmp_path: Path) -> None:
    rows = [{"features": [[n + t] for t in range(9)], "label": "ab"[n % 2]} for n in range(20)]
    content = "\n".join(map(json.dumps, rows))
    run = runs.make(tmp_path, "a.jsonl", content, "gru", training=SMALL | {"context_length": 4})
    assert train_report(run)[1]["truncated"].endswith("rows are cut to 4 steps")
    assert "rows were cut to 4 steps" in (run / "checkpoint" / "README.md").read_text()
