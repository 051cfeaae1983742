"""Creating jobs on both databases: references in requests, and repeated requests."""

from __future__ import annotations

import threading
from pathlib import Path

import pytest
from sqlalchemy import update

from app.db.tables import JobRow
from app.errors import InvalidRequest
from app.registry.service import Registry
from tests.checkpoints import make_checkpoint, publish
from tests.jobs.fixtures import OWNER, Queue, refused


def test_a_new_job_is_queued_with_its_spec(queue: Queue) -> None:
    job = queue.create(metadata={"team": "a"}, training={"epochs": 2})
    assert (job.status, job.public_status, job.attempt, job.owner) == ("queued", "queued", 0, "alice")
    assert 0 <= job.seed < 2**31
    assert job.publish_name == f"lstm-{job.id[-8:]}"
    assert job.request["training"] == {"epochs": 2.0}
    assert job.request["spec"]["seed"] == job.seed
    assert job.request["spec"]["training_file"]["path"] == "inputs/training"
    assert [event.message for event in queue.events(job)] == [f"Created fine-tuning job: {job.id}"]


def test_the_model_name_comes_from_publish_then_suffix(queue: Queue) -> None:
    assert queue.create(suffix="Very Nice").publish_name == "very-nice"
    assert queue.create(suffix="x", publish={"name": "Mood", "alias": "champion"}).publish_name == "mood"
    assert refused(queue, publish={"name": "ftckpt-1"}).param == "publish.name"
    assert refused(queue, publish={"alias": "No Alias"}).param == "publish.alias"


def test_a_name_of_another_owner_is_refused_at_once(queue: Queue, registry: Registry, tmp_path: Path) -> None:
    publish(registry, make_checkpoint(tmp_path / "c"), name="mood", owner="bob")
    error = refused(queue, suffix="mood")
    assert (error.code, error.param) == ("model_name_taken", "suffix")


def test_files_must_exist_and_belong_to_the_client(queue: Queue) -> None:
    theirs = queue.upload(owner="bob")
    for id_ in ("file-none", theirs):
        error = refused(queue, training_file=id_)
        assert (error.status, error.code, error.param) == (400, "file_not_found", "training_file")
    assert refused(queue, validation_file=theirs).param == "validation_file"


def test_fine_tuning_pins_the_version_of_the_reference(queue: Queue, registry: Registry, tmp_path: Path) -> None:
    base = publish(registry, make_checkpoint(tmp_path / "a"))
    job = queue.create(model="mood")
    publish(registry, make_checkpoint(tmp_path / "b", seed=1))
    assert queue.get(job).base_digest == base.digest
    assert (job.request["spec"]["model"], job.request["base"]["reference"]) == ("base", "mood:1")
    assert refused(queue, model="mood", training={"width": 16}).param == "training.width"
    assert refused(queue, model="mood", owner="bob").code == "model_not_found"
    assert "lstm" in refused(queue, model="lstmm").message


def test_an_idempotency_key_makes_one_job(queue: Queue) -> None:
    file = queue.upload()
    first = queue.create(training_file=file, idempotency_key="k")
    assert queue.create(training_file=file, idempotency_key="k").id == first.id
    assert refused(queue, training_file=file, suffix="x", idempotency_key="k").code == "idempotency_key_reused"
    other = queue.upload(owner="bob")
    assert queue.create("bob", training_file=other, idempotency_key="k").id != first.id


def test_simultaneous_requests_with_one_key_make_one_job(queue: Queue) -> None:
    file = queue.upload()
    ids: list[str] = []
    threads = [
        threading.Thread(target=lambda: ids.append(queue.create(training_file=file, idempotency_key="k").id))
        for _ in range(4)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(ids) == 4
    assert len(set(ids)) == 1


def test_a_retry_by_the_client_returns_the_job_of_the_first_request(queue: Queue) -> None:
    file = queue.upload()
    first = queue.create(training_file=file)
    assert queue.create(training_file=file, retry_count=1).id == first.id
    assert queue.create(training_file=file).id != first.id
    assert queue.create(training_file=file, suffix="other", retry_count=1).id != first.id
    with queue.database.transaction() as session:
        session.execute(update(JobRow).values(created_at=JobRow.created_at - 3600))
    assert queue.create(training_file=file, retry_count=1).id != first.id


def test_column_roles_of_the_validation_file_must_be_those_of_the_job(queue: Queue) -> None:
    """Both files are read with the column roles of the job, so other roles of the second file would have no effect."""

    def upload(column: str) -> str:
        return queue.files.create(OWNER, "a.csv", "fine-tune", iter([b"{}"]), roles={"text": column}).id

    training, validation = upload("body"), upload("words")
    with pytest.raises(InvalidRequest) as caught:
        queue.create(training_file=training, validation_file=validation)
    assert caught.value.param == "validation_file"
    assert "validation_file was uploaded with columns[text]='words', which has no effect" in caught.value.message
    assert queue.create(training_file=training, validation_file=upload("body"))
    assert queue.create(training_file=training, validation_file=validation, columns={"text": "words"})
