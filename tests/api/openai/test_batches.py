"""Batches, through OpenAI's client. No worker runs, so batches stay queued."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import openai
import pytest

from app.db.tables import JobRow
from app.jobs.claims import JobClaims
from app.jobs.records import BATCH_LANE, TRAINING_LANE
from app.settings import Settings
from tests.api.clients import sdk
from tests.serving import Api


@pytest.fixture
def api(settings: Settings) -> Iterator[Api]:
    with Api(settings) as running:
        yield running


@pytest.fixture
def client(api: Api) -> Iterator[openai.OpenAI]:
    with sdk(api) as openai_client:
        yield openai_client


@pytest.fixture
def file_id(client: openai.OpenAI) -> str:
    return client.files.create(file=("a.jsonl", b"{}"), purpose="batch").id


def create(client: openai.OpenAI, file_id: str, **options: Any) -> Any:
    body: dict[str, Any] = {"input_file_id": file_id, "endpoint": "/v1/embeddings", "completion_window": "24h"}
    return client.batches.create(**(body | options))


def test_create_retrieve_list_and_cancel(client: openai.OpenAI, file_id: str) -> None:
    first = create(client, file_id, metadata={"a": "b"})
    assert (first.object, first.status, first.metadata) == ("batch", "validating", {"a": "b"})
    assert first.request_counts is not None and first.request_counts.total == 0
    assert first.expires_at == first.created_at + 86_400
    second = create(client, file_id, output_expires_after={"anchor": "created_at", "seconds": 3600})
    assert [batch.id for batch in client.batches.list(limit=1)] == [second.id, first.id]
    cancelled = client.batches.cancel(first.id)
    assert cancelled.status == "cancelled" and cancelled.cancelled_at and cancelled.cancelling_at
    assert client.batches.retrieve(first.id).to_dict() == cancelled.to_dict()
    with pytest.raises(openai.BadRequestError) as refused:
        client.batches.cancel(first.id)
    assert refused.value.code == "invalid_job_state"


def test_a_repeated_request_returns_the_same_batch(client: openai.OpenAI, file_id: str) -> None:
    headers = {"Idempotency-Key": "k"}
    assert create(client, file_id, extra_headers=headers).id == create(client, file_id, extra_headers=headers).id


def test_a_running_batch_is_cancelling_until_its_worker_has_stored_the_answers(
    client: openai.OpenAI, api: Api, file_id: str
) -> None:
    batch = create(client, file_id)
    database = api.services.database
    with database.transaction() as session:
        assert JobClaims(database).claim(session, "w", 100.0, 3, TRAINING_LANE) is None
        job = JobClaims(database).claim(session, "w", 100.0, 3, BATCH_LANE)
    assert job is not None and job.id == batch.id
    assert client.batches.cancel(batch.id).status == client.batches.cancel(batch.id).status == "cancelling"
    with database.read() as session:
        row = session.get(JobRow, batch.id)
        assert row is not None and row.status == "running"


@pytest.mark.parametrize(
    ("options", "param"),
    [
        ({"endpoint": "/v1/images/generations"}, "endpoint"),
        ({"completion_window": "1h"}, "completion_window"),
        ({"extra_body": {"window": 1}}, "window"),
        ({"output_expires_after": {"anchor": "created_at", "seconds": 1}}, "output_expires_after"),
    ],
)
def test_errors_name_their_field(client: openai.OpenAI, file_id: str, options: Any, param: str) -> None:
    with pytest.raises(openai.BadRequestError) as refused:
        create(client, file_id, **options)
    assert refused.value.param == param
    with pytest.raises(openai.NotFoundError):
        client.batches.retrieve("batch-none")
