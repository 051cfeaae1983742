"""The worker's loop, in this process, with a fake trainer that is a real child process."""

from __future__ import annotations

from dataclasses import replace

import msgspec
import pytest
from sqlalchemy.orm import Session

from app import telemetry
from app.jobs.records import TRAINING_LANE
from app.worker import worker as module
from app.worker.resources import Resources
from app.worker.worker import Worker
from tests.jobs.fixtures import Queue, until
from tests.worker.running import LONG, reached, working


def test_log_lines_carry_the_id_of_the_request_that_created_the_job(
    queue: Queue, resources: Resources, caplog: pytest.LogCaptureFixture
) -> None:
    with telemetry.about("-odd:1"):
        job = queue.create(plan={"steps": 1})
    caplog.handler.addFilter(telemetry._AddIds())
    with caplog.at_level("INFO"):
        assert Worker(resources).step()
    assert queue.get(job).status == "succeeded" and queue.get(job).request_id == "-odd:1"
    records = [r for r in caplog.records if r.name == "app.worker.worker"]
    assert records and {(r.request_id, r.job_id) for r in records} == {("-odd:1", job.id)}  # type: ignore[attr-defined]
    assert f"subject -odd:1 {job.id}" in (resources.runs / job.id / "trainer.log").read_text()


def test_a_worker_that_stops_gives_its_job_back_at_once(queue: Queue, resources: Resources) -> None:
    job = queue.create(plan=LONG)
    with working(resources):
        until(reached(queue, job))
    queued = queue.get(job)
    assert (queued.status, queued.lease_until, queued.attempt, queued.losses) == ("queued", None, 1, 0)


def test_old_run_directories_are_removed(queue: Queue, resources: Resources) -> None:
    resources = replace(resources, settings=msgspec.structs.replace(resources.settings, keep_runs=1))
    jobs = [queue.create() for _ in range(3)]
    for _ in jobs:
        assert Worker(resources).step()
    assert [path.name for path in resources.runs.iterdir()] == [jobs[-1].id]


def claims(resources: Resources, monkeypatch: pytest.MonkeyPatch) -> list[bool]:
    """Record the result of each query that asks whether a job can be claimed."""
    results: list[bool] = []
    claimable = resources.jobs.claimable

    def query(session: Session, kinds: tuple[str, ...]) -> bool:
        results.append(claimable(session, kinds))
        return results[-1]

    monkeypatch.setattr(resources.jobs, "claimable", query)
    return results


def test_an_idle_worker_asks_again_only_after_a_commit(
    queue: Queue, resources: Resources, monkeypatch: pytest.MonkeyPatch
) -> None:
    queries, worker = claims(resources, monkeypatch), Worker(resources)
    assert not any(worker.step() for _ in range(3))
    if resources.database.dialect == "sqlite":  # other tests commit to the same PostgreSQL server
        assert queries == [False]
    job = queue.create(plan={"steps": 1})
    assert worker.step() and queue.get(job).status == "succeeded"


def test_a_worker_keeps_asking_while_a_lease_may_expire(
    queue: Queue, resources: Resources, monkeypatch: pytest.MonkeyPatch
) -> None:
    queue.create(plan={"steps": 1})
    with queue.database.transaction() as session:
        job = resources.jobs.claim(session, "lost", 0.2, 3, TRAINING_LANE)
    queries, worker = claims(resources, monkeypatch), Worker(resources)
    assert job is not None
    until(worker.step)  # nothing is committed in between
    assert queries[-1] and queue.get(job).status == "succeeded"


def test_stopping_ends_a_rest_at_once(resources: Resources, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "IDLE_SECONDS", 3600.0)
    with working(resources):
        pass
