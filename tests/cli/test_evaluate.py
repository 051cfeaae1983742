"""`ostinato evaluate`: its requests and the printed report."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

import pytest

from tests.cli.conftest import Run
from tests.cli.service import Service, listed

JOB: dict[str, Any] = {
    "id": "evaljob-1", "status": "queued", "version": "mood:2", "report": None, "result_files": [], "error": None,
}  # fmt: skip
PER_CLASS = {
    "bad": {"precision": 0.5, "recall": 1.0, "f1": 0.667, "support": 20},
    "good": {"precision": 1.0, "recall": 0.333, "f1": 0.5, "support": 30},
}
REPORT = {
    "metrics": {
        "rows": 50, "accuracy": 0.6, "macro_f1": 0.583, "per_class": PER_CLASS, "confusion_matrix": [[20, 0], [20, 10]],
    },
    "against": {"model": "mood:1", "metrics": {"rows": 50, "accuracy": 0.4}},
    "comparison": {"summary": "mood:2: 0.600 accuracy; mood:1 on the same rows: 0.400 (McNemar p = 1.000)"},
    "mistakes": [{
        "where": "line 3", "text": "so\nsad", "labels": ["good"], "predicted": ["bad"],
        "probabilities": {"good": 0.1, "bad": 0.9},
    }],
}  # fmt: skip
DONE = JOB | {"status": "succeeded", "report": REPORT, "result_files": ["file-9"]}


@pytest.fixture
def data(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "new.csv").write_text("text,label\na,good\n")


def model(name: str, input_: str = "tokens") -> dict[str, Any]:
    """The route of a model that refers to its second version."""
    return {f"GET /v1/models/{name}": (200, {"id": name, "version": 2, "task": "classification", "input": input_})}


@pytest.fixture
def answering(service: Service, data: None) -> Service:
    service.routes |= model("mood") | model("mood:1") | {"GET /v1/models": listed({"id": "mood"})}
    service.routes["POST /v1/files"] = (200, {"id": "file-1"})
    service.routes["POST /v1/evaluations"] = (200, JOB)
    service.routes["GET /v1/evaluations/evaljob-1"] = (200, DONE)
    service.routes["GET /v1/evaluations/evaljob-1/events"] = listed({"id": "e1", "message": "Evaluating"})
    return service


def test_the_report_is_printed(answering: Service, ostinato: Run) -> None:
    done = ostinato("evaluate", "mood", "new.csv", "--against", "mood:1", "--label-column", "label")
    assert done.status == 0
    sent = answering.sent("POST /v1/evaluations")[0].json
    assert sent == {"model": "mood", "file": "file-1", "against": "mood:1", "columns": {"label": "label"}}
    lines = [" ".join(line.split()) for line in done.out.splitlines()]
    for line in (
        "mood:2: 50 rows, accuracy 0.600, macro f1 0.583", "mood:1: 50 rows, accuracy 0.400",
        str(REPORT["comparison"]["summary"]), "good 30 1.000 0.333 0.500", "20 good bad",  # type: ignore[index]
        "line 3 good 0.100 bad 0.900 so sad", "the prediction for each row: ostinato files download file-9",
    ):  # fmt: skip
        assert line in lines
    assert lines.index("good 30 1.000 0.333 0.500") < lines.index("bad 20 0.500 1.000 0.667")


def test_a_file_that_was_uploaded_before_is_evaluated_without_an_upload(answering: Service, ostinato: Run) -> None:
    content = Path("new.csv").read_bytes()
    file = {"id": "file-5", "filename": "new.csv", "bytes": len(content), "expires_at": None, "column_roles": {}}
    answering.routes["GET /v1/files"] = listed(file | {"sha256": hashlib.sha256(content).hexdigest()})
    assert ostinato("evaluate", "mood", "new.csv").status == 0
    assert answering.sent("POST /v1/evaluations")[0].json["file"] == "file-5"
    assert not answering.sent("POST /v1/files")


def test_a_language_model_has_no_predictions_for_each_row(answering: Service, ostinato: Run, tmp_path: Path) -> None:
    report = {"task": "generation", "metrics": {"tokens": 900, "perplexity": 7.5}}
    answering.routes["GET /v1/evaluations/evaljob-1"] = (200, DONE | {"report": report})
    assert "prediction" not in ostinato("evaluate", "mood", "file-7").out
    card = {"id": "mood", "version": 2, "task": "generation", "input": "tokens"}
    answering.routes["GET /v1/models/mood"] = (200, card)
    (tmp_path / "notes.txt").write_text("plain words\n")
    for file in ("notes.txt", "file-7"):
        answering.requests.clear()
        done = ostinato("evaluate", "mood", file, "--output", "out.csv")
        reason = "an evaluation of a language model has no predictions for each row"
        assert (done.status, done.err) == (1, f"ostinato: --output: {reason}; nothing was uploaded\n")
        assert [request.method for request in answering.requests] == ["GET"] and not (tmp_path / "out.csv").exists()


def test_an_uploaded_file_is_named_by_its_id(answering: Service, ostinato: Run) -> None:
    done = ostinato("evaluate", "mood", "file-7", "--no-wait")
    assert done.out == "evaljob-1 is queued; follow it with: ostinato jobs follow evaljob-1\n"
    assert answering.sent("POST /v1/evaluations")[0].json == {"model": "mood", "file": "file-7"}
    status, created = answering.routes["POST /v1/evaluations"]
    answering.routes["POST /v1/evaluations"] = (status, created | {"jobs_before": 3})
    done = ostinato("evaluate", "mood", "file-7", "--no-wait")
    assert "is queued; 3 jobs are ahead of it; follow it with" in done.out


def test_json_is_the_ended_evaluation(answering: Service, ostinato: Run) -> None:
    assert json.loads(ostinato("evaluate", "mood", "file-7", "--json").out) == DONE


def test_metrics_of_too_few_rows_are_not_shown(answering: Service, ostinato: Run) -> None:
    per_class = {"good": {"precision": 1.0, "recall": 1.0, "f1": 1.0, "support": 1}}
    report = {"metrics": {"rows": 1, "accuracy": 1.0, "per_class": per_class}}
    answering.routes["GET /v1/evaluations/evaljob-1"] = (200, DONE | {"report": report})
    out = ostinato("evaluate", "mood", "file-7").out
    assert "mood:2: 1 row: too few for meaningful metrics" in out and "1.000" not in out


def test_a_loss_of_fewer_rows_is_marked(answering: Service, ostinato: Run) -> None:
    metrics = {"rows": 50, "accuracy": 0.6, "loss": 0.001, "loss_rows": 40}
    other = {"model": "mood:1", "metrics": metrics | {"loss_rows": 3}}
    report = {"metrics": metrics, "against": other, "comparison": {"summary": "…"}}
    answering.routes["GET /v1/evaluations/evaljob-1"] = (200, DONE | {"report": report})
    out = ostinato("evaluate", "mood", "file-7").out
    assert "mood:2: 50 rows, accuracy 0.600, loss 0.001 (on the 40 rows with labels of the version)" in out
    assert "mood:1: 50 rows, accuracy 0.600, loss on 3 rows: too few for meaningful metrics" in out


def test_a_failed_evaluation_says_why(answering: Service, ostinato: Run) -> None:
    error = {"code": "invalid_file", "message": "new.csv has no label column", "param": "file"}
    answering.routes["GET /v1/evaluations/evaljob-1"] = (200, JOB | {"status": "failed", "error": error})
    done = ostinato("evaluate", "mood", "new.csv")
    assert done.status == 1
    assert done.err.splitlines()[-1] == "evaljob-1 failed: new.csv has no label column"


@pytest.mark.parametrize(
    ("content", "input_", "message"),
    [
        ("body,label\na,good\n", "tokens", "new.csv has no column 'text'"),
        ("text,label\na,good\n", "features", "new.csv contains text, but the version expects numbers"),
        ("text,label\na,good\nb,\nc,\n", "tokens", "2 rows cannot be used"),
    ],
)
def test_a_file_that_does_not_suit_the_version_is_not_uploaded(
    answering: Service, ostinato: Run, tmp_path: Path, content: str, input_: str, message: str
) -> None:
    answering.routes |= model("mood", input_)
    (tmp_path / "new.csv").write_text(content)
    done = ostinato("evaluate", "mood", "new.csv")
    assert done.status == 1 and message in done.err
    assert done.err.endswith("nothing was uploaded\n")
    assert not answering.sent("POST /v1/files")


def test_the_file_is_read_with_the_options_of_training(answering: Service, ostinato: Run, tmp_path: Path) -> None:
    (tmp_path / "new.csv").write_bytes("text,label\na,gütig\nb,\nc,\n".encode("cp1252"))
    refused = ostinato("evaluate", "mood", "new.csv", "--encoding", "cp1252")
    assert refused.status == 1 and "these are too many rows to leave out (67 %); nothing was uploaded" in refused.err
    assert ostinato("evaluate", "mood", "new.csv", "--encoding", "utf-8", "--skip-bad-rows", "0.67").status == 1
    assert not answering.sent("POST /v1/files")
    done = ostinato("evaluate", "mood", "new.csv", "--encoding", "cp1252", "--skip-bad-rows", "0.67")
    assert done.status == 0, done.err
    assert done.out.startswith("new.csv: 1 row for classification; 1 to 1 characters, median 1\n")
    assert "warning: 2 rows that cannot be used are left out: 2 × column 'label': the label is empty" in done.out
    [sent] = answering.sent("POST /v1/evaluations")
    assert sent.json == {"model": "mood", "file": "file-1", "encoding": "cp1252", "skip_bad_rows": 0.67}


def test_rows_can_only_be_drawn_from_a_table(
    service: Service, answering: Service, ostinato: Run, tmp_path: Path
) -> None:
    service.routes |= {
        "GET /v1/models/tale": (200, {"id": "tale", "version": 1, "task": "generation", "input": "tokens"})
    }
    (tmp_path / "book.txt").write_text("some plain text\n" * 40)
    refused = ostinato("evaluate", "tale", "book.txt", "--validation-split", "0.1")
    assert refused.status == 1 and "--validation-split applies only to tables" in refused.err
    assert not answering.sent("POST /v1/files")
    assert ostinato("evaluate", "mood", "new.csv", "--validation-split", "1.5").status == 2


def test_a_checkpoint_is_checked_like_a_version(answering: Service, ostinato: Run) -> None:
    card = {"id": "ftckpt-1", "version": 0, "task": "classification", "input": "features"}
    answering.routes["GET /v1/models/ftckpt-1"] = (200, card)
    done = ostinato("evaluate", "ftckpt-1", "new.csv")
    assert done.status == 1 and "new.csv contains text, but the version expects numbers" in done.err
    assert not answering.sent("POST /v1/files")


@pytest.mark.parametrize(
    ("field", "value", "reason"),
    [
        ("input", "features", "the kind of input of waves is features, but the kind of input of mood is tokens"),
        ("task", "regression", "the task of waves is regression, but the task of mood is classification"),
    ],
)
def test_a_version_that_cannot_be_compared_is_named_before_the_upload(
    answering: Service, ostinato: Run, field: str, value: str, reason: str
) -> None:
    card = {"id": "waves", "version": 1, "task": "classification", "input": "tokens"} | {field: value}
    answering.routes["GET /v1/models/waves"] = (200, card)
    done = ostinato("evaluate", "mood", "new.csv", "--against", "waves")
    assert done.status == 1 and f"{reason}; nothing was uploaded" in done.err
    assert not answering.sent("POST /v1/files")


@pytest.mark.parametrize("arguments", [("moud",), ("mood", "--against", "moud")])
def test_a_version_that_does_not_exist_is_named_before_the_upload(
    answering: Service, ostinato: Run, arguments: tuple[str, ...]
) -> None:
    reference, *against = arguments
    answering.routes["GET /v1/models/moud"] = (404, {"error": {"message": "model not found: moud"}})
    done = ostinato("evaluate", reference, "new.csv", *against)
    assert done.status == 1 and "moud; did you mean 'mood'? Nothing was uploaded" in done.err
    assert not answering.sent("POST /v1/files")
