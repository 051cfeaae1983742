"""Creating batches: the rules for requests, repeated requests, owners and files."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from app.errors import InvalidRequest, NotFound
from app.jobs import batch_request
from app.jobs.records import BATCH_LANE, Job
from app.jobs.service import wrong_state
from app.worker.resources import Resources
from tests.jobs.batch_fixtures import BatchQueue, queue_of
from tests.jobs.fixtures import Queue


@pytest.fixture
def batches(resources: Resources) -> BatchQueue:
    return queue_of(resources)


@pytest.mark.parametrize(
    "fields, param",
    [
        ({"endpoint": "/v1/images"}, "endpoint"),
        ({"completion_window": "48h"}, "completion_window"),
        ({"input_file_id": "../x"}, "input_file_id"),
        ({"input_file_id": "file-" + "0" * 24}, "input_file_id"),
        ({"metadata": {"": "x"}}, "metadata"),
        ({"metadata": {str(i): "" for i in range(17)}}, "metadata"),
        ({"metadata": {"a": "\0"}}, None),
        ({"output_expires_after": {"seconds": 60, "anchor": "created_at"}}, "output_expires_after"),
        ({"output_expires_after": {"seconds": 3600, "anchor": "now"}}, "output_expires_after.anchor"),
        ({"idempotency_key": ""}, "Idempotency-Key"),
    ],
)
def test_invalid_requests_are_refused(batches: BatchQueue, fields: dict[str, Any], param: str | None) -> None:
    with pytest.raises(InvalidRequest) as refused:
        batches.create(**fields)
    assert refused.value.param == param


def test_the_file_must_have_the_purpose_and_the_size_of_a_batch(
    batches: BatchQueue, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(InvalidRequest, match="purpose 'fine-tune'") as refused:
        batches.create(input_file_id=batches.upload(b"{}", purpose="fine-tune"))
    assert refused.value.code == "invalid_file_purpose"
    monkeypatch.setattr(batch_request, "MOST_BYTES", 10)
    with pytest.raises(InvalidRequest, match="at most 10"):
        batches.create(input_file_id=batches.upload(b"x" * 11))


def test_a_repeated_request_returns_the_first_batch(batches: BatchQueue) -> None:
    file = batches.upload(b"{}")
    first = batches.create(input_file_id=file, idempotency_key="k")
    assert batches.create(input_file_id=file, idempotency_key="k").id == first.id
    assert batches.create(input_file_id=file, retry_count=1).id == first.id
    assert batches.create(input_file_id=file).id != first.id
    with pytest.raises(InvalidRequest) as refused:
        batches.create(input_file_id=batches.upload(b"{ }"), idempotency_key="k")
    assert refused.value.code == "idempotency_key_reused"


def test_batches_belong_to_their_owners_and_hold_their_files(batches: BatchQueue, queue: Queue) -> None:
    job = batches.create()
    assert batches.batches.jobs.list("alice").items[0].id == job.id
    assert not batches.batches.jobs.list("bob").items and not queue.jobs.list("alice").items
    for principal, jobs in (("bob", batches.batches.jobs), ("alice", queue.jobs)):
        with pytest.raises(NotFound):
            jobs.get(job.id, principal)
    with pytest.raises(NotFound):
        batches.batches.jobs.cancel(job.id, "bob")
    with pytest.raises(InvalidRequest) as refused:
        batches.files.delete(job.training_file, "alice")
    assert refused.value.code == "file_in_use"
    batches.batches.jobs.cancel(job.id, "alice")
    batches.files.delete(job.training_file, "alice")


def test_batches_do_not_count_as_jobs_before_a_training(batches: BatchQueue, queue: Queue) -> None:
    batches.create()
    assert queue.create().jobs_before == 0
    [listed] = queue.jobs.list("alice").items
    assert listed.jobs_before == 0


def test_a_cancelled_batch_that_is_given_back_waits_for_an_attempt_that_stores_its_answers(
    batches: BatchQueue, resources: Resources
) -> None:
    def claim() -> Job | None:
        with resources.database.transaction() as session:
            return resources.jobs.claim(session, "w", 100.0, 3, BATCH_LANE)

    job = batches.create()
    assert claim() is not None
    batches.batches.jobs.cancel(job.id, job.owner)
    with resources.database.transaction() as session:
        assert resources.jobs.requeue(session, job.id, 1, lost=False) == "queued"
    assert batches.status(job) == "cancelling"
    again = claim()
    assert again is not None and (again.id, again.attempt, again.cancel_requested) == (job.id, 2, True)


def test_errors_about_a_batch_speak_of_batches(batches: BatchQueue, queue: Queue) -> None:
    with pytest.raises(NotFound, match=r"there is no batch 'batch-x'; GET /v1/batches lists your batches"):
        batches.batches.jobs.get("batch-x", "alice")
    job = batches.create()
    batches.batches.jobs.cancel(job.id, job.owner)
    with pytest.raises(InvalidRequest, match=f"{job.id} is already cancelled"):
        batches.batches.jobs.cancel(job.id, job.owner)
    done = replace(batches.get(job), status="succeeded")
    assert wrong_state(done, "cannot be cancelled").message == f"{job.id} is completed and cannot be cancelled"
