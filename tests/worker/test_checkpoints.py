"""Storing a trainer's checkpoints, even while the blob store is unavailable."""

from __future__ import annotations

from typing import Any

import pytest

from app.errors import CheckpointInvalid
from app.worker import checkpoints, job_attempt
from app.worker.resources import Resources
from app.worker.worker import Worker
from tests.jobs.fixtures import Queue
from tests.worker.running import unavailable


def test_a_checkpoint_is_stored_once_the_store_is_back(
    queue: Queue, resources: Resources, monkeypatch: pytest.MonkeyPatch
) -> None:
    job, real, calls = queue.create(plan={"steps": 6, "checkpoint_every": 3}), checkpoints.store, list[int]()

    def store(resources: Resources, lease: Any, run: Any, saved: Any) -> None:
        calls.append(saved.step)
        unavailable() if len(calls) <= 2 else real(resources, lease, run, saved)

    monkeypatch.setattr(checkpoints, "store", store)
    assert Worker(resources).step()
    done = queue.get(job)
    assert (done.status, done.attempt, len(calls)) == ("succeeded", 1, 4)
    assert [checkpoint.step for checkpoint in queue.jobs.checkpoints(job.id, "alice").items] == [6, 3]
    # in either order: the second checkpoint is tried as soon as it is saved, the first one once its delay is over
    assert sorted(event.step for event in queue.events(job) if event.kind == "checkpoint") == [3, 6]


@pytest.mark.parametrize(
    ("plan", "status"), [({}, "succeeded"), ({"diverge_at": 4, "best_step": 3}, "failed")], ids=["done", "diverged"]
)
def test_no_job_ends_before_its_checkpoints_are_stored(
    plan: dict[str, int], status: str, queue: Queue, resources: Resources, monkeypatch: pytest.MonkeyPatch
) -> None:
    job = queue.create(plan={"steps": 5, "checkpoint_every": 3} | plan)
    monkeypatch.setattr(job_attempt, "UNAVAILABLE_SECONDS", 0.0)
    with monkeypatch.context() as broken:
        broken.setattr(checkpoints, "store", unavailable)
        assert Worker(resources).step()
    queued = queue.get(job)
    assert (queued.status, queued.losses) == ("queued", 0)
    assert not [event for event in queue.events(job) if event.kind.startswith("checkpoint")]
    assert Worker(resources).step()
    assert queue.get(job).status == status
    assert [checkpoint.step for checkpoint in queue.jobs.checkpoints(job.id, "alice").items] == [3]
    assert [event.step for event in queue.events(job) if event.kind == "checkpoint"] == [3]


def test_a_checkpoint_that_cannot_be_stored_is_logged(
    queue: Queue, resources: Resources, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object) -> None:
        raise CheckpointInvalid("damaged")

    job = queue.create(plan={"steps": 6, "checkpoint_every": 3})
    monkeypatch.setattr(checkpoints, "store", refuse)
    assert Worker(resources).step()
    assert queue.get(job).status == "succeeded"
    lost = [(event.kind, event.step, event.level) for event in queue.events(job) if event.kind.startswith("checkpoint")]
    assert lost == [("checkpoint.lost", 3, "warn"), ("checkpoint.lost", 6, "warn")]
