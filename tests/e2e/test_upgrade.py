"""A data folder and a PostgreSQL database from an earlier version work with the current programs.

`tests/fixtures/README.md` describes how the fixtures were made. Both services were killed during a training run. The
data folder contains the resume points of that run. The fixture of the database has only the blobs, so its training run
starts again, as on a worker with a new disk (docs/decisions/0004).
"""

from __future__ import annotations

import gzip
import json
import os
import re
import sqlite3
import subprocess
import tarfile
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

import psycopg
import pytest

from benchmarks.postgres import Cluster
from benchmarks.service import OSTINATO, Service, checked, running
from tests.e2e.conftest import SETTINGS
from tests.inventory import TEXTS, inventory

pytestmark = pytest.mark.e2e
FIXTURES = Path(__file__).parents[1] / "fixtures"
CLOSE = 1e-3  # tolerance between two kinds of processors
EXPIRE = "UPDATE jobs SET lease_until = 0 WHERE lease_until IS NOT NULL"  # independent of this machine's clock


@dataclass(frozen=True)
class Upgraded:
    """The current service with the data of an earlier version. `resumable` is the step of the newest resume point."""

    service: Service
    environment: dict[str, str]
    recorded: dict[str, Any]
    resumable: int | None
    log_bytes: int  # size of the trainer log that the killed service left

    @property
    def interrupted(self) -> str:
        """The one job that was still running when the inventory was recorded."""
        jobs = checked(self.service.client.get("/v1/fine_tuning/jobs", params={"limit": 100}))["data"]
        [job] = [job for job in jobs if job["id"] not in self.recorded["jobs"] and job["suffix"] != "since"]
        return str(job["id"])


@pytest.fixture(scope="module", params=["data-folder", pytest.param("postgres", marks=pytest.mark.postgres)])
def upgraded(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Upgraded]:
    folder, environment = tmp_path_factory.mktemp("upgraded"), SETTINGS | {"OSTINATO_DEVICE": "cpu"}
    if request.param == "postgres":
        server: Cluster = request.getfixturevalue("postgres_cluster")
        environment["OSTINATO_DATABASE_URL"] = restored(server, FIXTURES / "postgres-0.1.0.sql.gz")
        unpack(FIXTURES / "postgres-0.1.0-blobs.tar.xz", folder)
    else:
        unpack(FIXTURES / "data-folder-0.1.0.tar.xz", folder)
        with closing(sqlite3.connect(folder / "ostinato.db")) as database, database:
            database.execute(EXPIRE)
    points = sorted(folder.glob("runs/*/resume/step-*"))
    assert bool(points) == (request.param == "data-folder")
    log = points[-1].parents[1] / "trainer.log" if points else None
    recorded = json.loads((FIXTURES / f"{request.param}-0.1.0.json").read_text(encoding="utf-8"))
    with running(folder, settings=environment) as service:
        yield Upgraded(
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
    """Restore the dump into a new database; return its URL."""
    server.execute("CREATE DATABASE upgraded")
    url = server.url("upgraded")
    with psycopg.connect(url) as connection:
        connection.execute(gzip.decompress(dump.read_bytes()))
        connection.execute("SET search_path TO public")  # the dump empties it
        connection.execute(EXPIRE)
    return url


def differences(recorded: Any, current: Any, where: str = "") -> list[str]:
    """List the recorded values that are missing or different in `current`. Additional values are not listed."""
    if isinstance(recorded, dict) and isinstance(current, dict):
        lost = [f"{where}/{key} is gone" for key in recorded.keys() - current.keys()]
        both = [key for key in recorded if key in current]
        return lost + [d for key in both for d in differences(recorded[key], current[key], f"{where}/{key}")]
    if isinstance(recorded, list) and isinstance(current, list) and len(recorded) == len(current):
        pairs = enumerate(zip(recorded, current, strict=True))
        return [d for n, (old, new) in pairs for d in differences(old, new, f"{where}/{n}")]
    same = current == (pytest.approx(recorded, abs=CLOSE) if isinstance(recorded, float) else recorded)
    return [] if same else [f"{where}: {current!r}, recorded was {recorded!r}"]


def test_everything_is_listed_and_answers_as_before(upgraded: Upgraded) -> None:
    assert upgraded.recorded["models"] and upgraded.recorded["files"] and upgraded.recorded["jobs"]
    changes = differences(upgraded.recorded, inventory(upgraded.service.client))
    assert not changes, "\n".join(changes)


def test_the_interrupted_training_continues(upgraded: Upgraded) -> None:
    service, job_id = upgraded.service, upgraded.interrupted
    job = service.finish(job_id, 900)
    assert (job["status"], job["error"], job["attempt"]) == ("succeeded", None, 2)
    events = service.events(job_id)
    messages = [event["message"] for event in events]
    started = messages.index("Attempt 2 started")
    before, steps = figures(events[:started]), figures(events)
    assert before and steps[-1] == job["training"]["max_steps"]
    assert {later - earlier for earlier, later in pairwise(steps)} == {steps[0]}  # none missing, none twice
    log = (service.data / "runs" / job_id / "trainer.log").read_bytes()[upgraded.log_bytes :].decode()
    first = min(map(int, re.findall(r"Metrics: step=(\d+),", log)))  # of the second attempt
    resumed = [message for message in messages if message.startswith("continuing from step")]
    if upgraded.resumable is None:
        assert resumed == [] and first == before[0]
    else:
        assert resumed == [f"continuing from step {upgraded.resumable}"] and first > upgraded.resumable
    made = job["fine_tuned_model"]
    assert made == f"clock:{1 + len(upgraded.recorded['models'].get('clock', {}).get('versions', []))}"
    reply = service.complete(made, "the clock struck two", max_tokens=20, temperature=0)
    assert reply["usage"]["completion_tokens"] == 20


def figures(events: list[dict[str, Any]]) -> list[int]:
    """The steps of the metrics events, in their order."""
    return [event["data"]["step"] for event in events if event["type"] == "metrics"]


def test_a_version_can_be_fine_tuned(upgraded: Upgraded) -> None:
    """Fine-tune a recorded version on a recorded file, then move a new alias to the version."""
    service = upgraded.service
    version = upgraded.recorded["models"]["moods"]["versions"]["1"]
    file = upgraded.recorded["jobs"][version["job_id"]]["training_file"]
    job = service.train(model="moods:1", training_file=file, suffix="since", training={"max_steps": 2, "threads": 1})
    done = service.finish(job["id"], 900)
    assert (done["status"], done["error"], done["fine_tuned_model"]) == ("succeeded", None, "since:1")
    checked(service.client.put("/v1/registry/models/moods/aliases/since", json={"version": 1}))
    labels = [item["label"] for item in service.classify("moods@since", TEXTS)["data"]]
    assert labels == version["answers"]["labels"]


def test_fsck_finds_every_blob(upgraded: Upgraded) -> None:
    command = [*OSTINATO, "fsck", "--data-dir", str(upgraded.service.data), "--json"]
    done = subprocess.run(command, capture_output=True, text=True, env=os.environ | upgraded.environment)
    assert done.returncode == 0, done.stdout + done.stderr
    report = json.loads(done.stdout)
    assert report["ok"] and report["blobs"] > 0
