"""`ostinato jobs`: lists, one job, and the actions on it."""

from __future__ import annotations

import json

from tests.cli.conftest import Run
from tests.cli.service import Service, listed

JOB = {"id": "ftjob-1", "status": "running", "phase": "training", "progress": 0.25, "model": "lstm", "created_at": 0,
       "training_file": "file-1", "hyperparameters": {"epochs": 3}}  # fmt: skip


def test_jobs_are_listed_page_by_page(service: Service, ostinato: Run) -> None:
    pages = [(200, {"data": [{**JOB, "id": f"ftjob-{i}"} for i in range(100)], "has_more": True}), listed(JOB)]
    service.routes["GET /v1/fine_tuning/jobs"] = pages
    jobs = json.loads(ostinato("jobs", "list", "--limit", "200", "--json").out)
    assert len(jobs) == 101
    assert "after=ftjob-99" in service.requests[1].query


def test_a_job_is_shown_cancelled_paused_and_resumed(service: Service, ostinato: Run) -> None:
    service.routes["GET /v1/fine_tuning/jobs/ftjob-1"] = (200, JOB)
    assert "running (training)" in ostinato("jobs", "show", "ftjob-1").out
    for verb, status in (("cancel", "cancelled"), ("pause", "paused"), ("resume", "queued")):
        service.routes[f"POST /v1/fine_tuning/jobs/ftjob-1/{verb}"] = (200, {**JOB, "status": status})
        assert ostinato("jobs", verb, "ftjob-1").out == f"ftjob-1 is {status}\n"
