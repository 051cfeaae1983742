"""Evaluations in the trainer: the report, the predictions, and the same result after kills."""

from __future__ import annotations

import csv
import json
import os
import shutil
import signal
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest

from app.training.run.evaluation import EvaluationSession
from app.training.run.preparation import Machine
from app.wire.trainer import Done, Evaluated, EvaluationSpec, Note, Phase, Stopped, TrainEvent, TrainFailed
from app.wire.training_options import Columns
from tests.training import runs

FEW = {"max_steps": 12}


@pytest.fixture(scope="module")
def versions(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Checkpoints of small training runs, by name."""
    folder = tmp_path_factory.mktemp("versions")
    values = "text,value\n" + "".join(f"{text},{len(text)}\n" for text, _ in runs.sentences(240))
    plans = {
        "gru": ("t.csv", runs.table(), "gru"),
        "rnn": ("t.csv", runs.table(), "rnn"),
        "value": ("t.csv", values, "gru"),
        "tale": ("t.txt", runs.book(), "gru"),
    }
    checkpoints = {}
    for name, (file, content, model) in plans.items():
        run = runs.make(folder / name, file, content, model=model, training=FEW)
        assert isinstance(runs.train(run)[-1], Done)
        checkpoints[name] = run / "checkpoint"
    return checkpoints


def make(
    run: Path,
    name: str,
    content: str | bytes,
    own: Path,
    against: Path | None = None,
    *,
    encoding: str | None = None,
    skip_bad_rows: float = 0.0,
    validation_split: float = 0.0,
    **columns: str,
) -> Path:
    """A run directory for an evaluation, as the worker creates it."""
    file = runs.put(run, name, content)
    shutil.copytree(own, run / "base")
    if against is not None:
        shutil.copytree(against, run / "against")
    spec = EvaluationSpec("mood:1", file, None if against is None else "mood:2", Columns(**columns))
    options = {"encoding": encoding, "skip_bad_rows": skip_bad_rows, "validation_split": validation_split}
    spec = msgspec.structs.replace(spec, **options)
    (run / "evaluation.json").write_bytes(msgspec.json.encode(spec))
    return run


def evaluate(run: Path, stopping: bool = False) -> list[TrainEvent]:
    heard = runs.Heard()
    EvaluationSession(run, heard, lambda: stopping, Machine(threads=1, device="cpu")).attempt()
    return heard.events


def report_of(events: list[TrainEvent]) -> dict[str, Any]:
    assert isinstance(events[-1], Evaluated), events[-1]
    return events[-1].report


def rows_of(run: Path) -> list[dict[str, str]]:
    with (run / "predictions.csv").open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def test_metrics_are_those_of_the_training_run(versions: dict[str, Path], tmp_path: Path) -> None:
    """The evaluation uses the test rows of the training run in another order."""
    lines = [f"{text},{label},{('train', 'val', 'test')[n % 3]}" for n, (text, label) in enumerate(runs.sentences(240))]
    table = "text,label,split\n" + "\n".join(lines) + "\n"
    run = runs.make(tmp_path / "training", "t.csv", table, model="gru", training=FEW)
    done = runs.train(run)[-1]
    assert isinstance(done, Done)
    turned = "\n".join(["text,label,split", *reversed(lines)]) + "\n"
    report = report_of(evaluate(make(tmp_path / "evaluation", "t.csv", turned, run / "checkpoint")))
    expected = dict(done.metrics["test"])
    assert (report["split"], report["rows_sha256"]) == ("test", expected.pop("rows_sha256"))
    for name in ("ece", "ece_uncalibrated", "sets_90", "sets_95"):  # metrics of the calibration itself
        del expected[name]
    assert report["metrics"].keys() == expected.keys()
    for name, value in expected.items():
        assert report["metrics"][name] == (pytest.approx(value) if isinstance(value, float) else value), name


def test_predictions_and_mistakes_have_their_texts(versions: dict[str, Path], tmp_path: Path) -> None:
    table = 'text,label\nlovely fox,bad\n"dark, ""cruel"" rain",bad\nlovely home,good\n'
    run = make(tmp_path, "t.csv", table, versions["gru"])
    report = report_of(evaluate(run))
    rows = rows_of(run)
    assert [(row["row"], row["text"], row["label"]) for row in rows] == [
        ("line 2", "lovely fox", "bad"), ("line 3", 'dark, "cruel" rain', "bad"), ("line 4", "lovely home", "good"),
    ]  # fmt: skip
    for row in rows:
        assert row["correct"] == str(int(row["label"] == row["predicted"]))
        assert float(row[f"probability_{row['predicted']}"]) == float(row["probability"]) >= 0.5
        assert float(row["probability_bad"]) + float(row["probability_good"]) == pytest.approx(1.0, abs=1e-5)
    wrong = [row for row in rows if row["correct"] == "0"]
    wrong.sort(key=lambda row: float(row[f"probability_{row['label']}"]))
    assert [mistake["where"] for mistake in report["mistakes"]] == [row["row"] for row in wrong]
    assert report["mistakes"][0]["text"] == wrong[0]["text"]
    assert report["mistakes"][0]["score"] == pytest.approx(float(wrong[0]["probability"]), abs=1e-5)
    calibration = json.loads((versions["gru"] / "calibration.json").read_text())
    scores = [level["score"] for level in calibration["risk"]]
    answered = [np.mean([float(row["probability"]) >= score for row in rows]) for score in scores]
    assert [(each["score"], each["answered"]) for each in report["thresholds"]] == list(
        zip(scores, answered, strict=True)
    )
    assert report["metrics"]["accuracy"] == pytest.approx(1 - len(wrong) / 3)


def test_two_versions_are_compared_on_the_same_rows(versions: dict[str, Path], tmp_path: Path) -> None:
    run = make(tmp_path, "t.csv", runs.table(60), versions["gru"], versions["rnn"])
    report = report_of(evaluate(run))
    rows = rows_of(run)
    right = [[row[name] == "1" for row in rows] for name in ("correct", "against_correct")]
    comparison = report["comparison"]
    assert comparison["model"] == report["metrics"]["accuracy"] == pytest.approx(sum(right[0]) / 60)
    assert comparison["against"] == report["against"]["metrics"]["accuracy"] == pytest.approx(sum(right[1]) / 60)
    assert comparison["test"] == "McNemar" and 0 < comparison["p"] <= 1
    assert comparison["summary"].startswith(f"mood:1: {comparison['model']:.3f} accuracy; mood:2 on the same rows: ")


def test_two_versions_are_not_compared_on_a_handful_of_rows(versions: dict[str, Path], tmp_path: Path) -> None:
    report = report_of(evaluate(make(tmp_path, "t.csv", runs.table(2), versions["gru"], versions["rnn"])))
    assert report["comparison"]["summary"] == "mood:1 and mood:2 on 2 rows: too few for meaningful metrics"


def test_rows_with_an_unknown_label_count_as_wrong(versions: dict[str, Path], tmp_path: Path) -> None:
    events = evaluate(make(tmp_path, "t.csv", runs.table(20) + "a dull one,dull\n", versions["gru"]))
    report = report_of(events)
    assert report["unknown_labels"] == ["dull"]
    assert report["metrics"]["per_class"]["dull"] == {"precision": 0.0, "recall": 0.0, "f1": 0.0, "support": 1}
    assert report["metrics"]["accuracy"] <= 20 / 21
    assert json.dumps(report["metrics"]["loss"], allow_nan=False)
    [note] = [note for note in events if isinstance(note, Note) and note.kind == "unknown_labels"]
    assert note.level == "warn" and note.message in report["warnings"]
    reason = "mood:1 does not have these labels, so their rows count as wrong: dull"
    assert note.message == f"{reason}; the loss covers only the other 20 of 21 rows"


def test_a_second_version_without_some_labels_is_named(tmp_path: Path) -> None:
    table = runs.table(60) + "a dull one,dull\nno sun,dull\n" * 5
    checkpoints = []
    for name, content in (("whole", table), ("fewer", runs.table(60))):
        run = runs.make(tmp_path / name, "t.csv", content, model="rnn", training={"max_steps": 2})
        assert isinstance(runs.train(run)[-1], Done)
        checkpoints.append(run / "checkpoint")
    events = evaluate(make(tmp_path / "both", "t.csv", table, *checkpoints))
    report = report_of(events)
    noted = {note.kind: note.message for note in events if isinstance(note, Note) and note.level == "warn"}
    reason = "mood:2 does not have these labels, so their rows count as wrong: dull"
    assert noted["unknown_labels_against"] == f"{reason}; the loss covers only the other 60 of 70 rows"
    assert "unknown_labels" not in noted and noted["unknown_labels_against"] in report["warnings"]
    assert report["against"]["metrics"]["loss_rows"] == 60 and "loss_rows" not in report["metrics"]
    assert report["against"]["unknown_labels"] == ["dull"]


def test_an_unknown_label_that_differs_only_in_spelling_is_told(versions: dict[str, Path], tmp_path: Path) -> None:
    events = evaluate(make(tmp_path, "t.csv", runs.table(20) + "one,GOOD \ntwo,dull\n", versions["gru"]))
    [note] = [note for note in events if isinstance(note, Note) and note.kind == "unknown_labels"]
    assert "so their rows count as wrong: GOOD, dull" in note.message
    assert "the loss covers only the other 20 of 22 rows. " in note.message
    assert note.message.endswith("only in case, spaces, hyphens, quotes or the like, so write 'GOOD' as 'good'")


def test_a_file_without_any_label_of_the_version_is_refused(versions: dict[str, Path], tmp_path: Path) -> None:
    events = evaluate(make(tmp_path, "t.csv", "text,label\none,Good\ntwo,BAD\n", versions["gru"]))
    failed = events[-1]
    assert isinstance(failed, TrainFailed)
    assert "has none of the version's labels ('bad', 'good'): its labels are 'BAD', 'Good'" in failed.message
    assert "write 'BAD' as 'bad', 'Good' as 'good'" in failed.message


def warnings_of(events: list[TrainEvent]) -> dict[str, str]:
    """The warnings about evaluated rows that the versions were trained on, by kind. The report contains them, too."""
    notes = [note for note in events if isinstance(note, Note) and note.kind.startswith("trained_on")]
    assert all(note.level == "warn" for note in notes)
    assert report_of(events)["warnings"] == [note.message for note in notes]
    return {note.kind: note.message for note in notes}


def test_a_version_is_not_evaluated_on_its_training_file_without_a_warning(
    versions: dict[str, Path], tmp_path: Path
) -> None:
    events = evaluate(make(tmp_path / "same", "copy.csv", runs.table(), versions["gru"], versions["rnn"]))
    noted = warnings_of(events)
    assert noted["trained_on"].startswith("copy.csv is the file that mood:1 was trained on (it has the same SHA-256)")
    assert "that mood:2 was trained on" in noted["trained_on_against"]
    tale = warnings_of(evaluate(make(tmp_path / "tale", "t.txt", runs.book(), versions["tale"])))
    assert list(tale) == ["trained_on"]
    other = "text,label\n" + "".join(f"unseen number {n},{('good', 'bad')[n % 2]}\n" for n in range(30))
    assert not warnings_of(evaluate(make(tmp_path / "other", "copy.csv", other, versions["gru"])))


def test_rows_that_a_version_was_trained_on_are_recognised_in_another_file(tmp_path: Path) -> None:
    parts: dict[str, list[str]] = {"train": [], "val": [], "test": []}
    for number, (text, label) in enumerate(runs.sentences(240)):
        parts[("train", "val", "test")[number % 3]].append(f"{text},{label}")
    table = "".join(f"{line},{part}\n" for part, lines in parts.items() for line in lines)
    run = runs.make(tmp_path / "training", "t.csv", "text,label,split\n" + table, model="gru", training=FEW)
    assert isinstance(runs.train(run)[-1], Done)
    noted = {}
    for part, lines in parts.items():
        content = "\n".join(["text,label", *reversed(lines)]) + "\n"
        noted[part] = warnings_of(evaluate(make(tmp_path / part, "part.csv", content, run / "checkpoint")))
    assert noted["train"]["trained_on"].startswith("the evaluated rows of part.csv are the training rows of mood:1")
    assert noted["val"]["trained_on"].startswith("the evaluated rows of part.csv are the validation rows of mood:1")
    assert noted["test"] == {}
    mixed = [*parts["train"][:7], *parts["test"][:40]]
    some = warnings_of(
        evaluate(make(tmp_path / "some", "m.csv", "\n".join(["text,label", *mixed]), run / "checkpoint"))
    )
    assert some["trained_on"].startswith("7 of the 47 evaluated rows of m.csv have inputs that mood:1 was trained on")
    # Of the training file itself, only the test rows are evaluated.
    marked = make(tmp_path / "marked", "t.csv", "text,label,split\n" + table, run / "checkpoint")
    assert not warnings_of(evaluate(marked))


def test_the_rows_that_training_held_out_can_be_evaluated(versions: dict[str, Path], tmp_path: Path) -> None:
    run = make(tmp_path / "own", "t.csv", runs.table(), versions["gru"], validation_split=0.1)
    events = evaluate(run)
    assert report_of(events)["split"] == "validation"
    assert warnings_of(events)["trained_on"].startswith("the evaluated rows of t.csv are the validation rows of mood:1")
    trained = json.loads((versions["gru"] / "metrics.json").read_text())["validation"]
    assert len(rows_of(run)) == trained["rows"]
    tale = evaluate(make(tmp_path / "tale", "t.txt", runs.book(), versions["tale"], validation_split=0.1))[-1]
    assert isinstance(tale, TrainFailed) and tale.param == "validation_split"
    same = "text,label\n" + "the same,good\n" * 9
    alike = evaluate(make(tmp_path / "same", "t.csv", same, versions["gru"], validation_split=0.1))[-1]
    assert isinstance(alike, TrainFailed) and "too few distinct inputs" in alike.message


LISTED = "text,labels\n" + "".join(
    f"{t},{label}{'|long' * (n % 3)}\n" for n, (t, label) in enumerate(runs.sentences(120))
)
FLAWED = runs.table(120) + "no label,\n" * 3
STEPS = "".join(f'{{"features": [[{n % 7}, {n}], [1, {n % 5}]], "label": "{"ab"[n % 2]}"}}\n' for n in range(120))
ANSWERS = "".join(f'{{"prompt": "{text}", "completion": "{label}"}}\n' for text, label in runs.sentences(120))


@pytest.mark.parametrize(
    ("name", "content", "task", "skip_bad_rows"),
    [
        ("t.csv", LISTED, "multilabel", 0.0), ("t.csv", FLAWED, "classification", 0.1),
        ("t.jsonl", STEPS, "classification", 0.0), ("t.jsonl", ANSWERS, "generation", 0.0),
        ("t.csv", "text,value\n" + "".join(f"{t},{len(t)}\n" for t, _ in runs.sentences(120)), "regression", 0.0),
    ],
)  # fmt: skip
def test_the_same_rows_are_drawn_as_in_training(
    tmp_path: Path, name: str, content: str, task: str, skip_bad_rows: float
) -> None:
    options = {"max_steps": 2, "skip_bad_rows": skip_bad_rows}
    run = runs.make(tmp_path / "training", name, content, "rnn", task=task, training=options, validation_split=0.2)
    assert isinstance(runs.train(run)[-1], Done)
    own = make(tmp_path / "own", name, content, run / "checkpoint", validation_split=0.2, skip_bad_rows=skip_bad_rows)
    trained = json.loads((run / "checkpoint/metrics.json").read_text())["validation"]
    assert report_of(evaluate(own))["rows_sha256"] == trained["rows_sha256"]


def test_regression_and_generation(versions: dict[str, Path], tmp_path: Path) -> None:
    table = "words,length\n" + "".join(f"{text},{len(text)}\n" for text, _ in runs.sentences(50))
    run = make(tmp_path / "value", "t.csv", table, versions["value"], versions["value"], text="words", value="length")
    report = report_of(evaluate(run))
    assert report["comparison"]["test"] == "paired t-test" and report["comparison"]["p"] == 1.0
    errors = [(float(row["value"]) - float(row["predicted"])) ** 2 for row in rows_of(run)]
    assert report["metrics"]["mse"] == pytest.approx(sum(errors) / 50, rel=1e-3)
    assert len(report["mistakes"]) == 50
    tale = report_of(evaluate(make(tmp_path / "tale", "t.txt", runs.book(100), versions["tale"], versions["tale"])))
    assert tale["metrics"]["bits_per_character"] == tale["against"]["metrics"]["bits_per_character"] > 0


def test_a_version_of_a_plain_table_is_evaluated_on_such_a_table(tmp_path: Path) -> None:
    table = "area,rooms,price\n" + "".join(f"{40 + n % 90},{n % 5},{20.5 * n}\n" for n in range(120))
    columns = {"value": "price"}
    run = runs.make(tmp_path / "training", "t.csv", table, "gru", columns=columns, training=FEW)
    assert isinstance(runs.train(run)[-1], Done)
    own = make(tmp_path / "own", "t.csv", table, run / "checkpoint", value="price")
    assert report_of(evaluate(own))["metrics"]["rows"] == len(rows_of(own)) == 120
    turned = "\n".join(",".join(reversed(line.split(","))) for line in table.splitlines())
    listed = make(tmp_path / "listed", "t.csv", turned, run / "checkpoint", value="price", features="area,rooms")
    report_of(evaluate(listed))
    assert rows_of(listed) == rows_of(own)


@pytest.mark.parametrize(
    ("name", "content", "reason"),
    [
        ("t.txt", "some plain text " * 40, "is plain text"),
        ("t.csv", "text\na\nb\n", "label"),
        ("t.jsonl", '{"features": [[1, 2]], "label": "good"}\n', "contains numbers, but the version expects text"),
    ],
)
def test_a_file_that_does_not_suit_the_version(
    versions: dict[str, Path], tmp_path: Path, name: str, content: str, reason: str
) -> None:
    last = evaluate(make(tmp_path, name, content, versions["gru"]))[-1]
    assert isinstance(last, TrainFailed)
    assert reason in last.message and "fine-tune" not in last.message
    assert last.code == "invalid_file"


def test_rows_that_cannot_be_used_are_left_out_as_in_training(versions: dict[str, Path], tmp_path: Path) -> None:
    table = runs.table(40) + "no label,\nneither,\n"
    last = evaluate(make(tmp_path / "all", "t.csv", table, versions["gru"]))[-1]
    assert isinstance(last, TrainFailed)
    assert "set skip_bad_rows to 0.048 or more" in last.message and "training." not in last.message
    run = make(tmp_path / "some", "t.csv", table, versions["gru"], versions["rnn"], skip_bad_rows=0.05)
    events = evaluate(run)
    report = report_of(events)
    assert report["metrics"]["rows"] == len(rows_of(run)) == 40 and report["against"]["metrics"]["rows"] == 40
    [note] = [event for event in events if isinstance(event, Note) and event.kind == "dropped"]
    assert note.level == "warn" and note.message.startswith("2 rows that cannot be used are left out: ")
    assert report["warnings"][0] == note.message


def test_the_encoding_of_an_evaluation_file_can_be_set(versions: dict[str, Path], tmp_path: Path) -> None:
    table = "text,label\nžluťoučký kůň,good\nhezký den,bad\n".encode("cp1250")
    run = make(tmp_path / "set", "t.csv", table, versions["gru"], encoding="cp1250")
    report_of(evaluate(run))
    assert [row["text"] for row in rows_of(run)] == ["žluťoučký kůň", "hezký den"]
    last = evaluate(make(tmp_path / "wrong", "t.csv", table, versions["gru"], encoding="utf-8"))[-1]
    assert isinstance(last, TrainFailed) and "training." not in last.message


def test_text_without_rows_has_none_to_leave_out(versions: dict[str, Path], tmp_path: Path) -> None:
    last = evaluate(make(tmp_path, "t.txt", runs.book(100), versions["tale"], skip_bad_rows=0.5))[-1]
    assert isinstance(last, TrainFailed) and last.param == "skip_bad_rows" and "plain text" in last.message


def test_a_stopped_evaluation_can_be_repeated(versions: dict[str, Path], tmp_path: Path) -> None:
    run = make(tmp_path, "t.csv", runs.table(60), versions["gru"])
    assert evaluate(run, stopping=True)[-1] == Stopped(0)
    first = evaluate(run)[-1]
    assert isinstance(first, Evaluated)
    assert evaluate(run) == [first]  # it is not computed again


def test_a_killed_evaluation_gives_the_same_report(versions: dict[str, Path], tmp_path: Path) -> None:
    whole = make(tmp_path / "whole", "t.csv", runs.table(60), versions["gru"], versions["rnn"])
    expected = report_of(evaluate(whole))
    run = make(tmp_path / "killed", "t.csv", runs.table(60), versions["gru"], versions["rnn"])
    with runs.trainer(run) as process:
        for event in runs.events(process):
            if isinstance(event, Phase) and event.phase == "evaluating":
                os.killpg(process.pid, signal.SIGKILL)
    assert not (run / "evaluated.json").exists()
    with runs.trainer(run) as process:
        assert report_of(list(runs.events(process))) == expected
    assert (run / "predictions.csv").read_bytes() == (whole / "predictions.csv").read_bytes()
