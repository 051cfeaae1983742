"""`ostinato batches`: create, list, show and cancel."""

from __future__ import annotations

import os
import threading
from pathlib import Path
from typing import Any

import pytest

from app.api.openai.batch_objects import EXAMPLE
from tests.cli.conftest import Run
from tests.cli.service import Service
from tests.jobs.batch_fixtures import ENDPOINT, line_of

BATCH = EXAMPLE | {"id": "batch-1", "status": "in_progress", "output_file_id": "file-2"}
BATCH["request_counts"] = {"total": 9, "completed": 4, "failed": 1}


def test_batches_are_created_listed_shown_and_cancelled(service: Service, ostinato: Run, tmp_path: Any) -> None:
    (tmp_path / "requests.jsonl").write_text(line_of(1, {}))
    failed = BATCH | {"status": "failed", "errors": {"data": [{"line": 3, "message": "url is missing"}]}}
    service.routes |= {
        "POST /v1/files": (200, {"id": "file-1"}),
        "POST /v1/batches": (200, BATCH),
        "GET /v1/batches": (200, {"data": [BATCH], "has_more": False}),
        "GET /v1/batches/batch-1": [(200, BATCH), (200, failed)],
        "POST /v1/batches/batch-1/cancel": (200, BATCH | {"status": "cancelling"}),
    }
    created = ostinato("batches", "create", "requests.jsonl", "--endpoint", "/v1/embeddings")
    assert created.out == "created batch-1; see its progress with: ostinato batches show batch-1\n"
    [sent] = [request for request in service.requests if request.path == "/v1/batches"]
    assert sent.json == {"input_file_id": "file-1", "endpoint": "/v1/embeddings", "completion_window": "24h"}
    listed = ostinato("batches").out
    assert all(text in listed for text in ("batch-1", "in_progress", "4 of 9, 1 failed"))
    assert "file-2" in ostinato("batches", "show", "batch-1").out
    assert "line 3: url is missing" in ostinato("batches", "show", "batch-1").out
    cancelled = ostinato("batches", "cancel", "batch-1").out
    assert cancelled == "batch-1 is cancelling; see the answers so far with: ostinato batches show batch-1\n"


def create(ostinato: Run, *options: str) -> Any:
    return ostinato("batches", "create", "requests.jsonl", "--endpoint", ENDPOINT, *options)


def test_a_file_is_checked_before_it_is_uploaded(service: Service, ostinato: Run, tmp_path: Path) -> None:
    lines = [line_of(1, {}), "{\n", line_of(1, {}), line_of(2, {}, method="GET"), '{"url": "x"}\n']
    (tmp_path / "requests.jsonl").write_text("".join(lines))
    done = create(ostinato)
    *faults, last = done.err.splitlines()
    assert [fault.partition(": ")[0] for fault in faults] == [f"requests.jsonl, line {n}" for n in (2, 3, 4, 5)]
    assert "line 1 has the same custom_id, 'r1'" in faults[1] and "method must be POST, not 'GET'" in faults[2]
    assert last == "ostinato: 4 lines of requests.jsonl cannot be used; nothing was uploaded"
    assert done.status == 1 and not service.requests


def test_a_single_fault_is_the_error(service: Service, ostinato: Run, tmp_path: Path) -> None:
    (tmp_path / "requests.jsonl").write_text(line_of(1, {}, url="/v1/classify"))
    assert create(ostinato).err == (
        "ostinato: requests.jsonl, line 1: url must be /v1/embeddings, the endpoint of the batch, not "
        "'/v1/classify'; for requests to /v1/classify, use --endpoint /v1/classify; nothing was uploaded\n"
    )
    (tmp_path / "requests.jsonl").write_text("\n")
    assert create(ostinato).err == "ostinato: requests.jsonl: the file contains no requests; nothing was uploaded\n"
    assert not service.requests


def test_many_faults_are_reported_up_to_a_bound(service: Service, ostinato: Run, tmp_path: Path) -> None:
    (tmp_path / "requests.jsonl").write_text("{\n" * 300)
    faults = create(ostinato).err.splitlines()
    assert len(faults) == 101
    assert faults[-1] == ("ostinato: at least 100 lines of requests.jsonl cannot be used; nothing was uploaded")


def test_requests_for_another_endpoint_lead_to_the_option(service: Service, ostinato: Run, tmp_path: Path) -> None:
    (tmp_path / "requests.jsonl").write_text("".join(line_of(n, {}, url="/v1/classify") for n in range(2)))
    assert create(ostinato).err.splitlines()[-1] == (
        "ostinato: 2 lines of requests.jsonl cannot be used; for requests to /v1/classify, use --endpoint "
        "/v1/classify; nothing was uploaded"
    )
    done = ostinato("batches", "create", "requests.jsonl", "--endpoint", "/v1/clasify")
    assert done.err.startswith("ostinato: --endpoint /v1/clasify: must be /v1/chat/completions, ")
    assert "did you mean '/v1/classify'?" in done.err and not service.requests


def test_a_file_that_is_too_large_is_refused(
    service: Service, ostinato: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("app.cli.batches.MOST_BYTES", 10)
    (tmp_path / "requests.jsonl").write_text(line_of(1, {}))
    size = len(line_of(1, {}))
    assert create(ostinato).err == f"ostinato: requests.jsonl has {size} bytes, but a batch can have at most 10\n"
    assert not service.requests


def test_requests_may_come_from_a_pipe(service: Service, ostinato: Run, tmp_path: Path) -> None:
    service.routes |= {"POST /v1/files": (200, {"id": "file-1"}), "POST /v1/batches": (200, BATCH)}
    os.mkfifo(tmp_path / "requests.jsonl")
    writer = threading.Thread(target=(tmp_path / "requests.jsonl").write_text, args=(line_of(1, {}),))
    writer.start()
    assert create(ostinato).status == 0
    writer.join()
    assert b"/v1/embeddings" in service.sent("POST /v1/files")[0].body


def test_the_files_of_a_batch_come_with_the_commands_to_download_them(service: Service, ostinato: Run) -> None:
    done = BATCH | {"status": "completed", "error_file_id": "file-3"}
    service.routes["GET /v1/batches/batch-1"] = [(200, BATCH), (200, done)]
    assert "file-2" not in ostinato("batches", "show", "batch-1").out.splitlines()[-1]
    assert ostinato("batches", "show", "batch-1").out.splitlines()[-2:] == [
        "download the answers: ostinato files download file-2 --output batch-1-answers.jsonl",
        "download the errors: ostinato files download file-3 --output batch-1-errors.jsonl",
    ]


def test_errors_of_the_service_name_commands(service: Service, ostinato: Run) -> None:
    missing = {"message": "there is no batch 'batch-1'; GET /v1/batches lists your batches", "code": "job_not_found"}
    service.routes["POST /v1/batches/batch-1/cancel"] = (404, {"error": missing})
    done = ostinato("batches", "cancel", "batch-1")
    assert done.err == "ostinato: there is no batch 'batch-1'; `ostinato batches` lists your batches\n"
