"""An auto job whose workers are killed has one version, with the same weights and the same table of trials as without
kills."""

from __future__ import annotations

import random
import time
from typing import Any

import pytest

from app.worker.resources import Resources
from tests.jobs.fixtures import Queue
from tests.worker.test_conclusion import NEW, versions
from tests.worker.test_main import Programs

KILLS, SECONDS = 6, 240.0
GOOD, BAD = [0.0] * 9 + [1.0], [0.0, 1.0] * 5


@pytest.fixture
def programs(resources: Resources) -> Any:
    programs = Programs(resources)
    yield programs
    programs.stop()


def outcome(queue: Queue, resources: Resources, programs: Programs, kills: int) -> tuple[str, Any]:
    """Run an auto job while workers are killed. Returns the hash of its weights and the table of its trials."""
    of = {"rnn": {"errors": BAD}, "gru": {"errors": GOOD}}
    plan = {"steps": 20, "step_seconds": 0.02, "trials": [NEW | {"model": model} for model in of], "of": of}
    job = queue.create(plan=plan, model="auto", seed=7)
    draw, end = random.Random(kills), time.monotonic() + SECONDS
    worker = programs.worker(f"w{kills}-0", lease=1.5)
    killed = 0
    while not (row := queue.get(job)).ended:
        assert time.monotonic() < end, row
        # a random moment, because kills at any moment must be harmless
        time.sleep(draw.uniform(0.3, 1.5) if killed < kills else 0.1)
        if killed < kills:
            worker.kill()
            worker.wait()
            killed += 1
            worker = programs.worker(f"w{kills}-{killed}", lease=1.5)
    worker.terminate()
    assert (row.status, row.error) == ("succeeded", None)
    assert [v for v in versions(resources) if v[2] == job.id] == [(job.publish_name, 1, job.id)]
    assert sum(event.kind == "job.ended" for event in queue.events(job)) == 1
    version = resources.registry.resolve(f"{job.publish_name}:1", job.owner)
    return version.files["model.safetensors"].sha256, version.metrics["trials"]


def test_killed_workers_change_neither_the_weights_nor_the_table(
    queue: Queue, resources: Resources, programs: Programs
) -> None:
    assert outcome(queue, resources, programs, KILLS) == outcome(queue, resources, programs, 0)
