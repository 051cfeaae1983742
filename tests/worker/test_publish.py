"""The end of a job: its version, or its failure with the best checkpoint."""

from __future__ import annotations

from pathlib import Path

import pytest

from app.registry.service import Registry
from app.worker.resources import Resources
from app.worker.worker import Worker
from tests.checkpoints import make_checkpoint, publish
from tests.jobs.fixtures import Queue


@pytest.mark.parametrize("more", [{}, {"checkpoint_every": 2}])
def test_a_diverged_training_keeps_its_best_checkpoint(
    more: dict[str, int], queue: Queue, resources: Resources, registry: Registry
) -> None:
    """The best checkpoint is stored once, under its step, even if the trainer has already reported it."""
    job = queue.create(plan={"steps": 9, "diverge_at": 3, "best_step": 2} | more)
    assert Worker(resources).step()
    failed = queue.get(job)
    assert (failed.status, (failed.error or {})["code"]) == ("failed", "diverged")
    checkpoints = queue.jobs.checkpoints(job.id, "alice").items
    assert [(checkpoint.step, checkpoint.metrics) for checkpoint in checkpoints] == [(2, {"train_loss": 0.5})]
    assert registry.resolve(checkpoints[0].id, "alice").task == "classification"


def test_a_moved_alias_fails_the_job_and_keeps_the_weights(
    queue: Queue, resources: Resources, registry: Registry, tmp_path: Path
) -> None:
    job = queue.create(publish={"name": "mood", "alias": "champion", "expected_version": None})
    publish(registry, make_checkpoint(tmp_path / "c"), alias="champion")
    assert Worker(resources).step()
    failed = queue.get(job)
    assert (failed.status, (failed.error or {})["code"]) == ("failed", "alias_conflict")
    assert len(registry.versions("mood", "alice").items) == 1
    checkpoints = queue.jobs.checkpoints(job.id, "alice").items
    assert [checkpoint.step for checkpoint in checkpoints] == [5]
