"""The demo: six training jobs, which are queued only once and only if the registry is empty."""

from __future__ import annotations

import csv
import json
from collections import Counter
from typing import Any

import pytest

from app.client import Client
from app.demo import demo
from app.demo.trainings import TRAININGS
from tests.cli.service import Request, Service, listed

NAMES = [f"demo-{data}-{a}" for data in ("sentiment", "text") for a in ("rnn", "lstm", "transformer")]


def with_contents(service: Service, models: list[Any], jobs: list[Any]) -> Service:
    uploads = iter(range(10))

    def upload(request: Request) -> tuple[int, Any]:
        return 200, {"id": f"file-{next(uploads)}"}

    service.routes |= {
        "GET /v1/registry/models": listed(*models),
        "GET /v1/fine_tuning/jobs": listed(*jobs),
        "GET /v1/files": listed(),
        "POST /v1/files": upload,
        "POST /v1/fine_tuning/jobs": (200, {"id": "ftjob-1"}),
    }
    return service


def queued(service: Service) -> list[str]:
    with Client(service.url) as client:
        return demo.queue(client)


def test_all_six_are_queued_if_the_registry_is_empty(service: Service) -> None:
    assert queued(with_contents(service, [], [])) == NAMES
    bodies = [r.json for r in service.sent("POST /v1/fine_tuning/jobs")]
    assert [b["publish"]["name"] for b in bodies] == NAMES
    assert {b["priority"] for b in bodies} == {demo.PRIORITY} and demo.PRIORITY < 0  # a user's jobs come first
    assert [b["model"] for b in bodies] == ["rnn", "lstm", "transformer"] * 2
    assert len(service.sent("POST /v1/files")) == 2


def test_existing_jobs_are_not_queued_again(service: Service) -> None:
    jobs = [{"id": str(i), "metadata": {"demo": name}} for i, name in enumerate(NAMES[:4])]
    assert queued(with_contents(service, [], [*jobs, {"id": "x", "metadata": None}])) == NAMES[4:]
    assert len(service.sent("POST /v1/files")) == 1


def test_a_registry_in_use_is_left_alone(service: Service) -> None:
    assert queued(with_contents(service, [{"name": "mine"}], [])) == []
    assert not service.sent("POST /v1/fine_tuning/jobs")


def test_progress_is_reported_until_every_job_has_ended(
    service: Service, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def job(number: int, status: str, progress: float) -> dict[str, Any]:
        return {"id": f"j{number}", "status": status, "progress": progress, "metadata": {"demo": f"m{number}"}}

    monkeypatch.setattr(demo, "POLL", 0.0)
    others = [{"id": "x", "status": "running", "metadata": None}, job(3, "succeeded", 1.0)]
    service.routes |= {
        "GET /v1/fine_tuning/jobs": listed(job(2, "queued", 0.0), job(1, "running", 0.5), *others),
        "GET /v1/fine_tuning/jobs/j1": [(503, {"error": "restarting"}), (200, job(1, "succeeded", 1.0))],
        "GET /v1/fine_tuning/jobs/j2": [(200, job(2, "queued", 0.0)), (200, job(2, "failed", 0.1))],
    }
    with Client(service.url) as client:
        demo.watch(client)
    *reports, end = capsys.readouterr().out.splitlines()
    assert [json.loads(line.removeprefix("progress: ")) for line in reports] == [
        [["m1", "running", 0.5], ["m2", "queued", 0.0]],
        [["m1", "succeeded", 1.0], ["m2", "failed", 0.1]],
    ]
    assert end.endswith(demo.TRIAL)


def test_the_data_matches_its_notice() -> None:
    with (demo.DATA / "sentiment.csv").open(encoding="utf-8", newline="") as stream:
        rows = list(csv.DictReader(stream))
    assert Counter(row["label"] for row in rows) == {"positive": 2100, "negative": 2100}
    assert {row["split"] for row in rows} == {"train", "val", "test"}
    assert (demo.DATA / "plays.txt").stat().st_size > 1_000_000
    assert {data for _, _, data, _ in TRAININGS} == {"sentiment.csv", "plays.txt"}
    assert (demo.DATA / "NOTICE.md").exists()
