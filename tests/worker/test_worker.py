"""The worker's loop, in this process, with a fake trainer that is a real child process."""

from __future__ import annotations

from dataclasses import replace

import msgspec
import pytest

from app import telemetry
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
