"""Training jobs, through OpenAI's client. No worker runs, so jobs stay queued."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import httpx
import openai
import pytest
from sqlalchemy import update

from app.db.tables import JobRow
from app.jobs.claims import JobClaims
from app.jobs.records import TRAINING_LANE, NewEvent
from app.settings import Settings
from tests.api.clients import sdk
from tests.serving import Api, Shelf

EVERY_FIELD = {
    "id", "object", "created_at", "finished_at", "error", "fine_tuned_model", "hyperparameters", "model",
    "organization_id", "result_files", "seed", "status", "trained_tokens", "training_file", "validation_file",
    "estimated_finish", "integrations", "metadata", "method", "task", "phase", "progress", "attempt", "priority",
    "started_at", "columns", "validation_split", "publish", "training", "suffix", "user_provided_suffix",
    "jobs_before", "parent_id", "trials", "reason",
}  # fmt: skip


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
    return client.files.create(file=("a.csv", b"text,label\na,b\n"), purpose="fine-tune").id


def test_create_and_retrieve(client: openai.OpenAI, file_id: str) -> None:
    job = client.fine_tuning.jobs.create(
        model="lstm",
        training_file=file_id,
        suffix="My Reviews",
        seed=7,
        metadata={"team": "support"},
        extra_body={
            "task": "classification",
            "training": {"epochs": 3, "width": 64},
            "columns": {"text": "body"},
            "publish": {"alias": "champion"},
        },
    )
    fields = job.to_dict()
    assert set(fields) == EVERY_FIELD
    assert job.id.startswith("ftjob-") and job.object == "fine_tuning.job" and job.status == "queued"
    assert (job.model, job.training_file, job.validation_file, job.seed) == ("lstm", file_id, None, 7)
    assert (job.finished_at, job.error, job.fine_tuned_model, job.trained_tokens) == (None, None, None, None)
    assert job.result_files == [] and job.metadata == {"team": "support"}
    assert job.hyperparameters.n_epochs == 3
    assert fields["hyperparameters"]["batch_size"] == fields["hyperparameters"]["learning_rate_multiplier"] == "auto"
    assert fields["hyperparameters"]["width"] == 64
    assert fields["method"]["supervised"]["hyperparameters"] == fields["hyperparameters"]
    assert fields["publish"] == {"name": "my-reviews", "alias": "champion", "expected_version": None}
    assert (fields["task"], fields["phase"], fields["progress"]) == ("classification", "waiting", 0.0)
    assert fields["columns"] == {"text": "body"} and isinstance(fields["created_at"], int)
    assert fields["jobs_before"] == 0
    assert client.fine_tuning.jobs.retrieve(job.id).to_dict() == fields


def test_hyperparameters_in_openais_fields(client: openai.OpenAI, file_id: str) -> None:
    method: Any = {"type": "supervised", "supervised": {"hyperparameters": {"n_epochs": 4, "batch_size": "auto"}}}
    job = client.fine_tuning.jobs.create(model="gru", training_file=file_id, method=method)
    assert job.hyperparameters.n_epochs == 4
    old: Any = {"n_epochs": 2, "learning_rate_multiplier": 0.5}
    job = client.fine_tuning.jobs.create(model="gru", training_file=file_id, hyperparameters=old)
    assert (job.hyperparameters.n_epochs, job.hyperparameters.learning_rate_multiplier) == (2, 0.5)
    assert isinstance(job.seed, int)


def test_a_version_can_be_fine_tuned(client: openai.OpenAI, file_id: str, shelf: Shelf) -> None:
    shelf.classifier("mood")
    job = client.fine_tuning.jobs.create(model="mood:1", training_file=file_id)
    assert job.model == "mood:1"
    with pytest.raises(openai.NotFoundError) as caught:
        client.fine_tuning.jobs.create(model="mood:2", training_file=file_id)
    assert (caught.value.code, caught.value.param) == ("model_not_found", "model")


def test_a_later_error_names_the_option_as_it_was_sent(client: openai.OpenAI, file_id: str, shelf: Shelf) -> None:
    """The dimensions of the base version are known only when the job is created."""
    shelf.classifier("mood")
    for options in ({"hyperparameters": {"width": 999}}, {"method": {"supervised": {"hyperparameters": {"width": 9}}}}):
        with pytest.raises(openai.BadRequestError) as caught:
            client.fine_tuning.jobs.create(model="mood:1", training_file=file_id, extra_body=options)
        place = "hyperparameters" if "hyperparameters" in options else "method.supervised.hyperparameters"
        assert caught.value.param == f"{place}.width" and f"{place}.width is 8 in" in str(caught.value)


def test_pages_and_metadata(client: openai.OpenAI, api: Api, file_id: str) -> None:
    def make(**metadata: str) -> str:
        job = client.fine_tuning.jobs.create(model="rnn", training_file=file_id, metadata=metadata or None)
        return job.id

    plain, one, both = make(), make(a="b"), make(a="b", c="d e&f=g")
    jobs = client.fine_tuning.jobs
    assert [job.id for job in jobs.list()] == [job.id for job in jobs.list(limit=1)]
    assert {job.id for job in jobs.list(limit=2)} == {plain, one, both}
    assert {job.id for job in jobs.list(metadata={"a": "b"})} == {one, both}
    assert [job.id for job in jobs.list(metadata={"a": "b", "c": "d e&f=g"})] == [both]
    assert list(jobs.list(metadata={"a": "x"})) == []
    assert [job.id for job in jobs.list(extra_query={"metadata": "null"})] == [plain]
    page = jobs.list(limit=2)
    assert page.has_more and len(page.data) == 2
    with pytest.raises(openai.BadRequestError) as caught:
        jobs.list(extra_query={"metadata": "some"})
    assert caught.value.param == "metadata"
    with pytest.raises(openai.BadRequestError):
        jobs.list(limit=0)
    with pytest.raises(openai.NotFoundError):
        jobs.list(after="ftjob-unknown")


def test_cancel_pause_resume(client: openai.OpenAI, file_id: str) -> None:
    jobs = client.fine_tuning.jobs
    job = jobs.create(model="rnn", training_file=file_id)
    assert jobs.pause(job.id).status == "paused"
    with pytest.raises(openai.BadRequestError) as caught:
        jobs.pause(job.id)
    assert caught.value.code == "invalid_job_state"
    assert jobs.resume(job.id).status == "queued"
    with pytest.raises(openai.BadRequestError):
        jobs.resume(job.id)
    ended = jobs.cancel(job.id)
    assert ended.status == "cancelled" and ended.finished_at
    with pytest.raises(openai.BadRequestError):
        jobs.cancel(job.id)
    assert client.files.delete(file_id).deleted


def test_the_job_of_a_lost_worker_is_queued_again(client: openai.OpenAI, api: Api, file_id: str) -> None:
    job = client.fine_tuning.jobs.create(model="rnn", training_file=file_id)
    database = api.services.database
    with database.transaction() as session:
        JobClaims(database).claim(session, "w", 100.0, 3, TRAINING_LANE)
        session.execute(update(JobRow).values(phase="training", estimated_finish=9e9))
    assert client.fine_tuning.jobs.retrieve(job.id).status == "running"
    with database.transaction() as session:
        session.execute(update(JobRow).values(lease_until=1.0))
    job = client.fine_tuning.jobs.retrieve(job.id)
    assert (job.status, job.phase, job.estimated_finish) == ("queued", "waiting", None)  # type: ignore[attr-defined]
    assert [job.status for job in client.fine_tuning.jobs.list()] == ["queued"]
    assert client.fine_tuning.jobs.cancel(job.id).status == "cancelled"


def test_a_file_in_use_cannot_be_deleted(client: openai.OpenAI, file_id: str) -> None:
    client.fine_tuning.jobs.create(model="rnn", training_file=file_id)
    with pytest.raises(openai.BadRequestError) as caught:
        client.files.delete(file_id)
    assert caught.value.code == "file_in_use"


def test_events_and_checkpoints(client: openai.OpenAI, api: Api, file_id: str) -> None:
    job = client.fine_tuning.jobs.create(model="rnn", training_file=file_id)
    claims, database = JobClaims(api.services.database), api.services.database
    with database.transaction() as session:
        events = [
            NewEvent(kind="metrics", step=i, type="metrics", message=f"Step {i}", data={"step": i, "train_loss": 0.5})
            for i in range(1, 6)
        ]
        claims.log(session, job.id, events)
    page = client.fine_tuning.jobs.list_events(job.id, limit=2)
    assert page.has_more and [event.message for event in page.data] == ["Step 5", "Step 4"]
    event = page.data[0]
    assert set(event.to_dict()) == {"id", "object", "created_at", "level", "message", "type", "data"}
    assert (event.object, event.type, event.level) == ("fine_tuning.job.event", "metrics", "info")
    assert event.data == {"step": 5, "train_loss": 0.5}
    steps = [e.message for e in client.fine_tuning.jobs.list_events(job.id, limit=2) if e.type == "metrics"]
    assert steps == [f"Step {i}" for i in (5, 4, 3, 2, 1)]
    assert list(client.fine_tuning.jobs.checkpoints.list(job.id)) == []
    for call in (client.fine_tuning.jobs.list_events, client.fine_tuning.jobs.checkpoints.list):
        with pytest.raises(openai.NotFoundError) as caught:
            call("ftjob-unknown")
        assert caught.value.code == "job_not_found"


def test_checkpoint_objects(client: openai.OpenAI, api: Api, file_id: str) -> None:
    from app.db.tables import JobCheckpointRow

    job = client.fine_tuning.jobs.create(model="rnn", training_file=file_id)
    with api.services.database.transaction() as session:
        for step in (10, 20):
            session.add(
                JobCheckpointRow(
                    id=f"ftckpt-{step}", job_id=job.id, owner="local", step=step, digest="0" * 64, files={}, config={},
                    metrics={"valid_loss": 0.25, "macro_f1": 0.5}, created_at=1.5,
                )
            )  # fmt: skip
    page = client.fine_tuning.jobs.checkpoints.list(job.id, limit=1)
    assert page.has_more
    latest = page.data[0]
    assert (latest.id, latest.step_number, latest.fine_tuning_job_id) == ("ftckpt-20", 20, job.id)
    assert latest.object == "fine_tuning.job.checkpoint" and latest.fine_tuned_model_checkpoint == "ftckpt-20"
    assert latest.metrics.valid_loss == 0.25 and latest.metrics.train_loss is None and latest.metrics.step == 20
    assert latest.metrics.macro_f1 == 0.5  # type: ignore[attr-defined]
    assert [c.id for c in client.fine_tuning.jobs.checkpoints.list(job.id, limit=1)] == ["ftckpt-20", "ftckpt-10"]


def test_a_repeated_request_creates_no_second_job(api: Api, client: openai.OpenAI, file_id: str) -> None:
    body = {"model": "rnn", "training_file": file_id, "seed": 1}

    def post(body: dict[str, Any], **headers: str) -> httpx.Response:
        return http.post("/v1/fine_tuning/jobs", json=body, headers=headers)

    with api.client() as http:
        first = post(body, **{"Idempotency-Key": "k1"}).json()["id"]
        assert post(body, **{"Idempotency-Key": "k1"}).json()["id"] == first
        other = post(body | {"seed": 2}, **{"Idempotency-Key": "k1"})
        assert other.status_code == 400 and other.json()["error"]["code"] == "idempotency_key_reused"
        again = post(body).json()["id"]
        assert again != first
        assert post(body, **{"x-stainless-retry-count": "1"}).json()["id"] in (again, first)
        assert post(body, **{"x-stainless-retry-count": "0"}).json()["id"] not in (again, first)
        assert post(body, **{"x-stainless-retry-count": "many"}).status_code == 200


BAD: list[tuple[dict[str, Any], str]] = [
    ({"model": None}, "model"),
    ({"training_file": "file-none"}, "training_file"),
    ({"training_file": 3}, "training_file"),
    ({"epochs": 3}, "epochs"),
    ({"training": {"epoch": 3}}, "training.epoch"),
    ({"training": {"epochs": "many"}}, "training.epochs"),
    ({"training": {"layers": 0}}, "training.layers"),
    ({"task": "guessing"}, "task"),
    ({"method": {"type": "dpo"}}, "method.type"),
    ({"seed": -1}, "seed"),
    ({"suffix": "x" * 65}, "suffix"),
    ({"metadata": {"k": "v" * 513}}, "metadata.k"),
]


@pytest.mark.parametrize(("change", "param"), BAD)
def test_bad_requests(api: Api, file_id: str, change: dict[str, Any], param: str) -> None:
    with api.client() as http:
        reply = http.post("/v1/fine_tuning/jobs", json={"model": "rnn", "training_file": file_id} | change)
        assert reply.status_code == 400, reply.text
        assert reply.json()["error"]["param"] == param
        assert http.get("/v1/fine_tuning/jobs").json()["data"] == []


def test_bodies_that_are_not_json_objects(api: Api) -> None:
    with api.client() as http:
        for content in (b"", b"[1]", b"{", b"\xff", b'"x"', b"[" * 100_000):
            reply = http.post("/v1/fine_tuning/jobs", content=content, headers={"content-type": "application/json"})
            assert reply.status_code == 400 and reply.json()["error"]["message"]
        reply = http.post(
            "/v1/fine_tuning/jobs", content=b"{}", headers={"content-type": "application/x-python-pickle"}
        )
        assert reply.status_code == 415


@pytest.mark.parametrize(("epochs", "shown"), [(3, "3"), (3.0, "3"), (2.5, "3"), (0.2, "1")])
def test_n_epochs_is_a_whole_number(api: Api, client: openai.OpenAI, file_id: str, epochs: float, shown: str) -> None:
    """Typed clients expect an integer, so `n_epochs` is rounded up. `training.epochs` contains the requested value."""
    body: Any = {"training": {"epochs": epochs}}
    job = client.fine_tuning.jobs.create(model="gru", training_file=file_id, extra_body=body)
    with api.client() as http:
        text = http.get(f"/v1/fine_tuning/jobs/{job.id}").text
    assert f'"n_epochs":{shown},' in text and f'"epochs":{float(epochs)}' in text
