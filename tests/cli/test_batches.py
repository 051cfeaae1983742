"""`ostinato batches`: create, list, show and cancel."""

from __future__ import annotations

from typing import Any

from app.api.openai.batch_objects import EXAMPLE
from tests.cli.conftest import Run
from tests.cli.service import Service

BATCH = EXAMPLE | {"id": "batch-1", "status": "in_progress", "output_file_id": "file-2"}
BATCH["request_counts"] = {"total": 9, "completed": 4, "failed": 1}


def test_batches_are_created_listed_shown_and_cancelled(service: Service, ostinato: Run, tmp_path: Any) -> None:
    (tmp_path / "requests.jsonl").write_text("{}\n")
    failed = BATCH | {"status": "failed", "errors": {"data": [{"line": 3, "message": "url is missing"}]}}
    service.routes |= {
        "POST /v1/files": (200, {"id": "file-1"}),
        "POST /v1/batches": (200, BATCH),
        "GET /v1/batches": (200, {"data": [BATCH], "has_more": False}),
        "GET /v1/batches/batch-1": [(200, BATCH), (200, failed)],
        "POST /v1/batches/batch-1/cancel": (200, BATCH | {"status": "cancelling"}),
    }
    created = ostinato("batches", "create", "requests.jsonl", "--endpoint", "/v1/embeddings")
    assert created.out == "created batch-1\n"
    [sent] = [request for request in service.requests if request.path == "/v1/batches"]
    assert sent.json == {"input_file_id": "file-1", "endpoint": "/v1/embeddings", "completion_window": "24h"}
    listed = ostinato("batches").out
    assert all(text in listed for text in ("batch-1", "in_progress", "5 of 9, 1 failed"))
    assert "file-2" in ostinato("batches", "show", "batch-1").out
    assert "line 3: url is missing" in ostinato("batches", "show", "batch-1").out
    assert ostinato("batches", "cancel", "batch-1").out == "batch-1 is cancelling\n"
