"""A request id appears in the logs of all programs, so that an operator can search for it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from benchmarks.service import Service, checked, wait_until

pytestmark = pytest.mark.e2e
SMALL = {"max_steps": 3, "width": 16, "layers": 1}


def lines(path: Path) -> list[dict[str, Any]]:
    """The lines of a log, each a JSON object."""
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


def programs(service: Service, request_id: str) -> set[str]:
    return {line["program"] for line in lines(service.data / "up.log") if line.get("request_id") == request_id}


def test_a_request_id_is_in_the_logs_of_all_programs(service: Service, tale: Path) -> None:
    service.client.headers["x-request-id"] = "grep-for-the-job"
    job = service.train(model="gru", training_file=service.upload(tale), suffix="logged", training=SMALL)
    service.client.headers["x-request-id"] = "grep-for-the-text"
    assert service.finish(job["id"], 900)["status"] == "succeeded"
    body = {"model": "logged", "prompt": "the", "max_tokens": 3}
    checked(service.client.post("/v1/completions", json=body))
    del service.client.headers["x-request-id"]
    wait_until(lambda: programs(service, "grep-for-the-text") == {"api", "engine"}, 60, "the lines of API and engine")
    wait_until(lambda: programs(service, "grep-for-the-job") == {"api", "worker"}, 60, "the lines of API and worker")
    about_job = [line for line in lines(service.data / "up.log") if line.get("job_id") == job["id"]]
    assert {line["request_id"] for line in about_job} == {"grep-for-the-job"}
    trainer = lines(service.data / "runs" / job["id"] / "trainer.log")
    assert trainer and {(t["program"], t.get("request_id"), t.get("job_id")) for t in trainer} == {
        ("trainer", "grep-for-the-job", job["id"])
    }
