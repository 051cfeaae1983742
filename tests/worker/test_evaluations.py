"""The worker's part of an evaluation, with the real trainer."""

from __future__ import annotations

import sys
from dataclasses import replace
from pathlib import Path

import pytest

from app.files.service import Files
from app.jobs.evaluation_request import EvaluationRequest
from app.jobs.evaluations import Evaluations
from app.registry.service import Registry
from app.wire.trainer import Done
from app.worker.resources import Resources
from app.worker.worker import Worker
from tests.checkpoints import publish
from tests.jobs.fixtures import OWNER, Queue
from tests.training import runs

pytestmark = pytest.mark.long


@pytest.fixture
def evaluations(queue: Queue, registry: Registry, files: Files, tmp_path: Path) -> Evaluations:
    """Evaluations with two versions of the model `mood`."""
    for number in (1, 2):
        run = runs.make(tmp_path / str(number), "t.csv", runs.table(60), model="rnn", training={"max_steps": number})
        assert isinstance(runs.train(run)[-1], Done)
        publish(registry, run / "checkpoint")
    return Evaluations(queue.database, registry, files)


def test_an_evaluation_ends_with_a_report_and_a_file(
    evaluations: Evaluations, queue: Queue, resources: Resources
) -> None:
    request = EvaluationRequest(model="mood:2", file=queue.upload(runs.table(30).encode()), against="mood:1")
    job = evaluations.create(request, OWNER)
    assert Worker(replace(resources, trainer=(sys.executable, "-m", "app.training"))).step()
    done = evaluations.jobs.get(job.id, OWNER)
    assert (done.status, done.error, done.progress) == ("succeeded", None, 1.0)
    assert done.report is not None and done.base_digest is not None
    assert (done.report["metrics"]["rows"], done.report["against"]["model"]) == (30, "mood:1")
    [file_id] = done.result_files
    assert len(b"".join(queue.files.content(file_id, OWNER)[1]).splitlines()) == 31
    assert [item.id for item in evaluations.of_version(done.base_digest, OWNER)] == [job.id]
    messages = [event.message for event in evaluations.jobs.events(job.id, OWNER, limit=100).items]
    assert "Evaluating on the file" in messages and "data: 30 rows" in messages


def test_a_file_that_does_not_suit_the_version_fails_the_evaluation(
    evaluations: Evaluations, queue: Queue, resources: Resources
) -> None:
    job = evaluations.create(EvaluationRequest(model="mood", file=queue.upload(b"text\na\n")), OWNER)
    assert Worker(replace(resources, trainer=(sys.executable, "-m", "app.training"))).step()
    error = evaluations.jobs.get(job.id, OWNER).error
    assert error is not None
    assert (error["code"], error["param"]) == ("invalid_file", "columns.label")
