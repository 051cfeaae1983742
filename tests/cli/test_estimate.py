"""`ostinato train --estimate`: its request and its output."""

from __future__ import annotations

import copy
import hashlib
import json
from pathlib import Path
from typing import Any

import pytest

from app.api.openai.fine_tuning_estimates import ESTIMATE
from app.cli.estimate import line, spoken
from tests.cli.conftest import Run
from tests.cli.service import Service


@pytest.fixture
def data(tmp_path: Path, service: Service) -> str:
    service.routes |= {
        "POST /v1/files": (200, {"id": "file-1", "object": "file"}),
        "POST /v1/fine_tuning/jobs": (200, ESTIMATE),
    }
    path = tmp_path / "reviews.csv"
    path.write_text("text,label\n" + "".join(f"row {n},{'ab'[n % 2]}\n" for n in range(400)))
    return str(path)


def test_the_estimate_is_printed_after_the_report_on_the_data(service: Service, ostinato: Run, data: str) -> None:
    done = ostinato("train", data, "--model", "gru", "--estimate")
    assert done.status == 0, done.err
    (sent,) = service.sent("POST /v1/fine_tuning/jobs")
    assert sent.query == "dry_run=true" and sent.json == {"model": "gru", "training_file": "file-1"}
    lines = done.out.splitlines()
    assert lines[0].startswith("reviews.csv: 400 rows for classification")
    assert "uploaded reviews.csv for this estimate; it is deleted afterwards" in lines
    assert lines[-2:] == [
        "warning: 12 rows are duplicates of another row in the same split",
        "gru: 1 layer of 64, 1.9 M parameters, about 464.0 MB; up to 2,115 steps: at most about 1 min 3 s on this "
        "machine (the learning rate starts to decay after 2 consecutive evaluations without a better macro_f1)",
    ]


@pytest.mark.parametrize("status", [200, 400])
def test_a_file_that_is_uploaded_for_the_estimate_is_deleted(
    status: int, service: Service, ostinato: Run, data: str
) -> None:
    service.routes["POST /v1/fine_tuning/jobs"] = (status, ESTIMATE if status == 200 else {"error": "unusable"})
    assert ostinato("train", data, "--estimate").status == (status != 200)
    routes = [f"{request.method} {request.path}" for request in service.requests]
    assert routes[-2:] == ["POST /v1/fine_tuning/jobs", "DELETE /v1/files/file-1"]
    (sent,) = service.sent("POST /v1/files")  # if the program is killed, the file expires
    assert b'name="expires_after[seconds]"\r\n\r\n3600' in sent.body


@pytest.mark.parametrize(
    ("change", "uploads"), [({}, 0), ({"filename": "b.csv"}, 1), ({"sha256": "0" * 64}, 1), ({"expires_at": 9}, 1)]
)
def test_a_file_is_not_uploaded_twice(
    service: Service, ostinato: Run, data: str, change: dict[str, Any], uploads: int
) -> None:
    content = Path(data).read_bytes()
    file = {"id": "file-7", "filename": "reviews.csv", "bytes": len(content), "expires_at": None, "column_roles": {}}
    file |= {"sha256": hashlib.sha256(content).hexdigest()} | change
    service.routes["GET /v1/files"] = (200, {"data": [file], "has_more": False})
    done = ostinato("train", data, "--model", "gru", "--estimate")
    assert done.status == 0, done.err
    assert len(service.sent("POST /v1/files")) == uploads
    used = service.sent("POST /v1/fine_tuning/jobs")[0].json["training_file"]
    assert used == ("file-1" if uploads else "file-7") and ("already uploaded as file-7" in done.out) == (not uploads)
    assert len(service.sent("DELETE /v1/files/file-1")) == uploads and not service.sent("DELETE /v1/files/file-7")


def test_the_estimate_of_an_uploaded_file_as_json(service: Service, ostinato: Run, data: str) -> None:
    done = ostinato("train", "file-1", "--model", "gru", "--estimate", "--json")
    assert done.status == 0 and json.loads(done.out) == ESTIMATE
    assert service.sent("POST /v1/files") == []


def test_notes_that_were_printed_are_not_repeated(service: Service, ostinato: Run, data: str) -> None:
    message = "reviews.csv has 2 labels with these row counts: 'a' 200, 'b' 200"
    notes = [{"level": "info", "kind": "labels", "message": message}]
    service.routes["POST /v1/fine_tuning/jobs"] = (200, ESTIMATE | {"notes": notes})
    assert ostinato("train", data, "--estimate").out.count("these row counts") == 1


def test_an_auto_job_has_a_line_for_each_trial_and_a_sum(service: Service, ostinato: Run, data: str) -> None:
    linear: dict[str, Any] = copy.deepcopy(ESTIMATE["plans"][0])
    linear |= {"model": "linear", "architecture": "linear", "layers": None, "width": None, "ends_earlier": None}
    linear |= {"parameters": 700, "steps": 900}
    plans = {"model": "auto", "plans": [linear, ESTIMATE["plans"][0]], "seconds": 126.2, "notes": []}
    service.routes["POST /v1/fine_tuning/jobs"] = (200, ESTIMATE | plans)
    lines = ostinato("train", data, "--estimate").out.splitlines()
    assert lines[-3] == "linear: 700 parameters, about 464.0 MB; 900 steps: about 1 min 3 s on this machine"
    assert lines[-1] == "together: at most about 2 min 6 s, up to 464.0 MB"


def test_a_run_that_only_time_limits_has_no_steps() -> None:
    plan = ESTIMATE["plans"][0] | {"steps": None, "ends_earlier": None}
    assert line(plan).endswith("about 464.0 MB; about 1 min 3 s on this machine")


@pytest.mark.parametrize(("seconds", "text"), [(8.4, "8 s"), (250, "4 min 10 s"), (7530, "2 h 5 min")])
def test_times_in_words(seconds: float, text: str) -> None:
    assert spoken(seconds) == text
