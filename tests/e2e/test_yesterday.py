"""What an earlier version left behind, a data folder and a PostgreSQL database, in the hands of today's programs.

The fixtures and how they were made: `tests/fixtures/README.md`. Both were left by a service that was killed in the
middle of a training. The folder holds that training's resume points; with the database there are the blobs alone, as
on a worker's new disk, where a training begins again (docs/decisions/0004).
"""

from __future__ import annotations

import gzip
import json
import os
import re
import subprocess
import tarfile
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

import psycopg
import pytest

from benchmarks.postgres import Cluster
from benchmarks.service import OSTINATO, Service, checked, running
from tests.e2e.conftest import SETTINGS
from tests.yesterday import TEXTS, told_by

pytestmark = pytest.mark.e2e
FIXTURES = Path(__file__).parents[1] / "fixtures"
CLOSE = 1e-3  # between the same figures on two kinds of processors


@dataclass(frozen=True)
class Yesterday:
    """The service that has taken over. `resumable`: the step of the newest resume point, where there is one."""

    service: Service
    environment: dict[str, str]
    recorded: dict[str, Any]
    resumable: int | None
    log_bytes: int  # of what the trainers of the killed service had logged

    @property
    def interrupted(self) -> str:
        """The one job that had not ended when the record was made."""
        jobs = checked(self.service.client.get("/v1/fine_tuning/jobs", params={"limit": 100}))["data"]
        [job] = [job for job in jobs if job["id"] not in self.recorded["jobs"] and job["suffix"] != "since"]
        return str(job["id"])


@pytest.fixture(scope="module", params=["data-folder", pytest.param("postgres", marks=pytest.mark.postgres)])
def yesterday(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Yesterday]:
    folder, environment = tmp_path_factory.mktemp("yesterday"), SETTINGS | {"OSTINATO_DEVICE": "cpu"}
    if request.param == "postgres":
        server: Cluster = request.getfixturevalue("postgres_cluster")
        environment["OSTINATO_DATABASE_URL"] = restored(server, FIXTURES / "postgres-0.1.0.sql.gz")
        unpack(FIXTURES / "postgres-0.1.0-blobs.tar.xz", folder)
    else:
        unpack(FIXTURES / "data-folder-0.1.0.tar.xz", folder)
    points = sorted(folder.glob("runs/*/resume/step-*"))
    assert bool(points) == (request.param == "data-folder")
    log = points[-1].parents[1] / "trainer.log" if points else None
    recorded = json.loads((FIXTURES / f"{request.param}-0.1.0.json").read_text(encoding="utf-8"))
    with running(folder, settings=environment) as service:
        yield Yesterday(
            service,
            environment,
            recorded,
            int(points[-1].name.removeprefix("step-")) if points else None,
            log.stat().st_size if log else 0,
        )


def unpack(archive: Path, folder: Path) -> None:
    with tarfile.open(archive) as tar:
        tar.extractall(folder, filter="data")


def restored(server: Cluster, dump: Path) -> str:
    """The URL of a database of its own that holds the dump."""
    server.execute("CREATE DATABASE yesterday")
    url = server.url("yesterday")
    with psycopg.connect(url) as connection:
        connection.execute(gzip.decompress(dump.read_bytes()))
    return url


def differences(recorded: Any, told: Any, where: str = "") -> list[str]:
    """Where `told` lacks what was recorded, or has it otherwise. What it tells beyond that is no difference."""
    if isinstance(recorded, dict) and isinstance(told, dict):
        lost = [f"{where}/{key} is gone" for key in recorded.keys() - told.keys()]
        both = [key for key in recorded if key in told]
        return lost + [d for key in both for d in differences(recorded[key], told[key], f"{where}/{key}")]
    if isinstance(recorded, list) and isinstance(told, list) and len(recorded) == len(told):
        pairs = enumerate(zip(recorded, told, strict=True))
        return [d for n, (old, new) in pairs for d in differences(old, new, f"{where}/{n}")]
    same = told == (pytest.approx(recorded, abs=CLOSE) if isinstance(recorded, float) else recorded)
    return [] if same else [f"{where}: {told!r}, recorded was {recorded!r}"]


def test_all_that_was_kept_is_told_and_answers_as_it_did(yesterday: Yesterday) -> None:
    assert yesterday.recorded["models"] and yesterday.recorded["files"] and yesterday.recorded["jobs"]
    found = differences(yesterday.recorded, told_by(yesterday.service.client))
    assert not found, "\n".join(found)


def test_the_interrupted_training_goes_on(yesterday: Yesterday) -> None:
    service, job_id = yesterday.service, yesterday.interrupted
    job = service.finish(job_id, 120)
    assert (job["status"], job["error"], job["attempt"]) == ("succeeded", None, 2)
    events = service.events(job_id)
    messages = [event["message"] for event in events]
    started = messages.index("Attempt 2 started")
    before, steps = figures(events[:started]), figures(events)
    assert before and steps[-1] == job["training"]["max_steps"]
    assert {later - earlier for earlier, later in pairwise(steps)} == {steps[0]}  # each is told, and told once
    log = (service.data / "runs" / job_id / "trainer.log").read_bytes()[yesterday.log_bytes :].decode()
    first = min(map(int, re.findall(r"Metrics: step=(\d+),", log)))  # that the second attempt came to
    resumed = [message for message in messages if message.startswith("going on from step")]
    if yesterday.resumable is None:
        assert resumed == [] and first == before[0]
    else:
        assert resumed == [f"going on from step {yesterday.resumable}"] and first > yesterday.resumable
    made = job["fine_tuned_model"]
    assert made == f"clock:{1 + len(yesterday.recorded['models'].get('clock', {}).get('versions', []))}"
    reply = service.complete(made, "the clock struck two", max_tokens=20, temperature=0)
    assert reply["usage"]["completion_tokens"] == 20


def figures(events: list[dict[str, Any]]) -> list[int]:
    """The steps of which figures are told, in the order of telling."""
    return [event["data"]["step"] for event in events if event["type"] == "metrics"]


def test_what_was_kept_is_built_upon(yesterday: Yesterday) -> None:
    """A version is trained further on a file, both of yesterday, and gets another name."""
    service = yesterday.service
    version = yesterday.recorded["models"]["moods"]["versions"]["1"]
    file = yesterday.recorded["jobs"][version["job_id"]]["training_file"]
    asked = service.train(model="moods:1", training_file=file, suffix="since", training={"max_steps": 2, "threads": 1})
    done = service.finish(asked["id"], 120)
    assert (done["status"], done["error"], done["fine_tuned_model"]) == ("succeeded", None, "since:1")
    checked(service.client.put("/v1/registry/models/moods/aliases/since", json={"version": 1}))
    labels = [item["label"] for item in service.classify("moods@since", TEXTS)["data"]]
    assert labels == version["answers"]["labels"]


def test_the_store_is_whole(yesterday: Yesterday) -> None:
    command = [*OSTINATO, "fsck", "--data-dir", str(yesterday.service.data), "--json"]
    done = subprocess.run(command, capture_output=True, text=True, env=os.environ | yesterday.environment)
    assert done.returncode == 0, done.stdout + done.stderr
    report = json.loads(done.stdout)
    assert report["ok"] and report["blobs"] > 0
