"""Evaluations are jobs that share only the table, the states and the rules of training jobs."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import update

from app.db.tables import JobRow
from app.errors import InvalidRequest, NotFound
from app.files.service import Files
from app.jobs.claims import JobClaims
from app.jobs.evaluation_request import EvaluationRequest
from app.jobs.evaluations import Evaluations
from app.jobs.queue_order import HEAD_START
from app.jobs.records import EVALUATION, SUCCEEDED
from app.registry.garbage import load_references
from app.registry.records import Version
from app.registry.service import Registry
from tests.checkpoints import make_checkpoint, publish
from tests.jobs.fixtures import OWNER, Queue, claim


@pytest.fixture
def evaluations(queue: Queue, registry: Registry, files: Files) -> Evaluations:
    return Evaluations(queue.database, registry, files)


@pytest.fixture
def version(registry: Registry, tmp_path: Path) -> Version:
    return publish(registry, make_checkpoint(tmp_path / "mood"))


def _request(queue: Queue, **fields: Any) -> EvaluationRequest:
    return EvaluationRequest(**({"model": "mood", "file": queue.upload()} | fields))


def test_an_evaluation_is_a_job_of_its_own_kind(evaluations: Evaluations, queue: Queue, version: Version) -> None:
    job = evaluations.create(_request(queue), OWNER)
    assert (job.id[:8], job.kind, job.status, job.jobs_before) == ("evaljob-", EVALUATION, "queued", 0)
    assert job.base_digest == version.digest
    training = queue.create()
    assert [item.id for item in evaluations.jobs.list(OWNER).items] == [job.id]
    assert [item.id for item in queue.jobs.list(OWNER).items] == [training.id]
    for jobs, id_ in ((queue.jobs, job.id), (evaluations.jobs, training.id)):
        with pytest.raises(NotFound):
            jobs.get(id_, OWNER)
    claimed = claim(queue)
    assert claimed.id == job.id
    messages = [event.message for event in evaluations.jobs.events(job.id, OWNER).items]
    assert messages == ["Evaluation started", f"Created evaluation: {job.id}"]


def test_an_evaluation_goes_before_training_jobs_of_the_last_day(
    evaluations: Evaluations, queue: Queue, version: Version
) -> None:
    """Evaluations are short. The head start is limited, so that many evaluations cannot stop all training jobs."""
    old, urgent, later = queue.create(), queue.create(priority=1), queue.create()
    with queue.database.transaction() as session:
        session.execute(update(JobRow).where(JobRow.id == old.id).values(created_at=JobRow.created_at - HEAD_START - 9))
    first, second = (evaluations.create(_request(queue), OWNER) for _ in range(2))
    expected = [urgent.id, old.id, first.id, second.id, later.id]
    places = {job.id: jobs.get(job.id, OWNER).jobs_before for jobs, job in (
        (queue.jobs, urgent), (queue.jobs, old), (evaluations.jobs, first), (evaluations.jobs, second),
        (queue.jobs, later),
    )}  # fmt: skip
    assert places == {id_: place for place, id_ in enumerate(expected)}
    listed = {job.id: job.jobs_before for jobs in (queue.jobs, evaluations.jobs) for job in jobs.list(OWNER).items}
    assert listed == places
    assert [claim(queue).id for _ in expected] == expected


def test_options_for_reading_the_file_reach_the_trainer(
    evaluations: Evaluations, queue: Queue, version: Version
) -> None:
    options = {"encoding": "cp1250", "skip_bad_rows": 0.1, "validation_split": 0.2}
    spec = evaluations.create(_request(queue, **options), OWNER).request["spec"]
    assert {name: spec[name] for name in options} == options
    spec = evaluations.create(_request(queue), OWNER).request["spec"]
    assert (spec["encoding"], spec["skip_bad_rows"], spec["validation_split"]) == (None, 0.0, 0.0)


def test_the_hash_of_a_request_without_a_newer_field_is_that_of_earlier_releases() -> None:
    """A retry after an upgrade must find the evaluation that the first request created."""
    body = EvaluationRequest(model="mood", file="file-1").body_sha256
    earlier = b'{"model":"mood","file":"file-1","against":null,"columns":null,"encoding":null,"skip_bad_rows":null}'
    assert body == hashlib.sha256(b"evaluation" + earlier).hexdigest()
    assert body != EvaluationRequest(model="mood", file="file-1", validation_split=0.1).body_sha256


def test_an_evaluation_of_another_owner_is_not_found(evaluations: Evaluations, queue: Queue, version: Version) -> None:
    job = evaluations.create(_request(queue), OWNER)
    jobs = evaluations.jobs
    for call in (jobs.get, jobs.cancel, jobs.pause, jobs.resume, jobs.events):
        with pytest.raises(NotFound):
            call(job.id, "bob")
    assert jobs.list("bob").items == []


@pytest.mark.parametrize(
    ("fields", "param"),
    [
        ({"model": "nothing"}, "model"), ({"against": "nothing"}, "against"), ({"file": "file-none"}, "file"),
        ({"file": "x"}, "file"), ({"model": ""}, "model"), ({"model": "a\x00"}, None),
        ({"encoding": "klingon"}, "encoding"),
    ],
)  # fmt: skip
def test_references_are_checked(
    evaluations: Evaluations, queue: Queue, version: Version, fields: dict[str, Any], param: str | None
) -> None:
    with pytest.raises((InvalidRequest, NotFound)) as caught:
        evaluations.create(_request(queue, **fields), OWNER)
    assert caught.value.param == param


@pytest.mark.parametrize(
    ("fields", "reason"),
    [
        ({"task": "regression", "classes": 1}, "regression, and .* classification"),
        ({"input": "features", "features": 2, "vocab_size": 0}, "expects numbers, and .* texts"),
    ],
)
def test_versions_for_different_tasks_or_inputs_are_not_compared(
    evaluations: Evaluations, queue: Queue, registry: Registry, version: Version, tmp_path: Path,
    fields: dict[str, Any], reason: str,
) -> None:  # fmt: skip
    publish(registry, make_checkpoint(tmp_path / "other", **fields), "other")
    with pytest.raises(InvalidRequest, match=f"{reason}.*they cannot be compared") as caught:
        evaluations.create(_request(queue, against="other"), OWNER)
    assert caught.value.param == "against"


def test_versions_for_other_numbers_of_features_are_not_compared(
    evaluations: Evaluations, queue: Queue, registry: Registry, tmp_path: Path
) -> None:
    for features in (2, 3):
        path = make_checkpoint(tmp_path / str(features), input="features", features=features, vocab_size=0)
        publish(registry, path, f"steps{features}")
    with pytest.raises(InvalidRequest, match="expects 3 features per step, and steps2:1 expects 2"):
        evaluations.create(_request(queue, model="steps2", against="steps3"), OWNER)


def test_a_repeated_request_creates_one_evaluation(evaluations: Evaluations, queue: Queue, version: Version) -> None:
    request = _request(queue)
    first = evaluations.create(request, OWNER, "key")
    assert evaluations.create(request, OWNER, "key").id == first.id
    with pytest.raises(InvalidRequest) as caught:
        queue.create(idempotency_key="key")
    assert caught.value.code == "idempotency_key_reused"


def test_cancel_pause_and_resume(evaluations: Evaluations, queue: Queue, version: Version) -> None:
    job = evaluations.create(_request(queue), OWNER)
    assert evaluations.jobs.pause(job.id, OWNER).status == "paused"
    assert evaluations.jobs.resume(job.id, OWNER).status == "queued"
    assert evaluations.jobs.cancel(job.id, OWNER).status == "cancelled"


def test_both_versions_and_the_file_are_kept_until_the_end(
    evaluations: Evaluations, queue: Queue, registry: Registry, version: Version, tmp_path: Path
) -> None:
    other = publish(registry, make_checkpoint(tmp_path / "other", seed=5), "other")
    job = evaluations.create(_request(queue, against="other"), OWNER)
    for name in ("mood", "other"):
        registry.delete_version(name, 1, OWNER)
    hashes = {entry.sha256 for files in (version.files, other.files) for entry in files.values()}

    def kept() -> bool:
        with queue.database.read() as session:
            return hashes <= set(load_references(session, 1e12))

    assert kept()
    with pytest.raises(InvalidRequest):
        queue.files.delete(job.training_file, OWNER)
    evaluations.jobs.cancel(job.id, OWNER)
    assert not kept()


def test_a_version_shows_its_evaluations(evaluations: Evaluations, queue: Queue, version: Version) -> None:
    job = evaluations.create(_request(queue), OWNER)
    assert evaluations.of_version(version.digest, OWNER) == []
    claimed = claim(queue)
    with queue.database.transaction() as session:
        JobClaims(queue.database).finish(session, claimed.id, claimed.attempt, SUCCEEDED, report={"metrics": {}})
    assert [item.id for item in evaluations.of_version(version.digest, OWNER)] == [job.id]
    assert evaluations.of_version(version.digest, "bob") == []
