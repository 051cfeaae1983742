"""Evaluations with the real programs, over HTTP and on the command line."""

from __future__ import annotations

import csv
import io
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from benchmarks.service import Service, checked, wait_until

pytestmark = pytest.mark.e2e
SMALL = {"layers": 1, "width": 16, "max_steps": 30, "batch_size": 32, "learning_rate": 0.02}
ENDED = ("succeeded", "failed", "cancelled")


@pytest.fixture(scope="module")
def judge(service: Service, reviews: Path) -> str:
    """A trained version of a small network."""
    job = service.train(model="rnn", training_file=service.upload(reviews), suffix="judge", training=SMALL, seed=2)
    return str(service.finish(job["id"], 900)["fine_tuned_model"])


def _evaluation(service: Service, id_: str) -> dict[str, Any]:
    return checked(service.client.get(f"/v1/evaluations/{id_}"))


def test_versions_are_evaluated_on_a_file(service: Service, judge: str, reviews: Path) -> None:
    body = {"model": judge, "file": service.upload(reviews), "against": judge}
    created = checked(service.client.post("/v1/evaluations", json=body))
    wait_until(lambda: _evaluation(service, created["id"])["status"] in ENDED, 240, "the evaluation")
    done = _evaluation(service, created["id"])
    assert (done["status"], done["error"]) == ("succeeded", None)
    report = done["report"]
    trained = service.version(judge)["metrics"]
    assert report["rows_sha256"] == trained["test"]["rows_sha256"]
    assert report["metrics"]["accuracy"] == pytest.approx(trained["test"]["accuracy"])
    assert report["comparison"]["test"] == "McNemar"
    content = service.client.get(f"/v1/files/{done['result_files'][0]}/content").text
    assert len(list(csv.DictReader(io.StringIO(content)))) == report["metrics"]["rows"] == 100
    name, _, number = judge.partition(":")
    kept = checked(service.client.get(f"/v1/registry/models/{name}/versions/{number}/evaluations"))
    assert [item["id"] for item in kept["data"]] == [created["id"]]
    assert trained["baseline"]["comparison"]["test"] == "McNemar"
    compared = checked(service.client.get("/v1/registry/compare", params={"versions": f"{judge},{judge}"}))
    assert compared["different_rows"] == []


def test_the_command_prints_the_report(service: Service, judge: str, tmp_path: Path) -> None:
    (tmp_path / "few.csv").write_text("text,label\na lovely kind day,bad\nan awful cruel film,bad\n")
    command = [sys.executable, "-m", "app.cli", "evaluate", judge, "few.csv", "--output", "out.csv"]
    environment = {**os.environ, "OSTINATO_URL": service.url}
    done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, check=True)
    assert f"{judge}: 2 rows: too few for meaningful metrics" in done.stdout
    assert "worst mistakes".upper() in done.stdout and "a lovely kind day" in done.stdout
    assert (tmp_path / "out.csv").read_text().startswith("row,text,label,predicted,correct,probability")


def test_a_file_without_labels_fails_the_evaluation(service: Service, judge: str, tmp_path: Path) -> None:
    (tmp_path / "bare.csv").write_text("text\nsome words\nmore words\n")
    body = {"model": judge, "file": service.upload(tmp_path / "bare.csv")}
    created = checked(service.client.post("/v1/evaluations", json=body))
    wait_until(lambda: _evaluation(service, created["id"])["status"] in ENDED, 120, "the evaluation")
    done = _evaluation(service, created["id"])
    assert (done["status"], done["error"]["code"], done["error"]["param"]) == (
        "failed",
        "invalid_file",
        "columns.label",
    )
