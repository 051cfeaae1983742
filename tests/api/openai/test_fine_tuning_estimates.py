"""Dry runs over HTTP with the real trainer: replies, the same errors as for jobs, and no queued jobs."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import msgspec
import pytest

from app.api.openai.fine_tuning_estimates import ESTIMATE, JobEstimate
from app.errors import Overloaded
from app.settings import Settings
from tests.serving import Api, Shelf, wait_until
from tests.training.runs import table

SMALL = {"layers": 1, "width": 8, "max_steps": 20, "baseline": False}


@pytest.fixture
def api(settings: Settings) -> Iterator[Api]:
    with Api(msgspec.structs.replace(settings, threads=1, training_memory=2000)) as running:
        yield running


@pytest.fixture
def client(api: Api) -> Iterator[httpx.Client]:
    with api.client() as connected:
        connected.timeout = httpx.Timeout(600)  # a trainer has a low priority, so it is slow on a busy machine
        yield connected


def upload(client: httpx.Client, content: str) -> str:
    files = {"file": ("a.csv", content.encode())}
    return str(client.post("/v1/files", data={"purpose": "fine-tune"}, files=files).json()["id"])


def dry_run(client: httpx.Client, file_id: str, **body: Any) -> httpx.Response:
    body = {"model": "gru", "training_file": file_id, "training": SMALL} | body
    return client.post("/v1/fine_tuning/jobs", params={"dry_run": "true"}, json=body)


def test_the_example_of_the_document_has_every_field() -> None:
    assert msgspec.to_builtins(msgspec.convert(ESTIMATE, JobEstimate)) == ESTIMATE


def test_a_dry_run_answers_and_queues_nothing(client: httpx.Client, settings: Settings) -> None:
    reply = dry_run(client, file_id := upload(client, table(80)), suffix="mood")
    assert reply.status_code == 200, reply.text
    estimate = msgspec.convert(reply.json(), JobEstimate)
    assert (estimate.object, estimate.model, estimate.training_file) == ("fine_tuning.job.estimate", "gru", file_id)
    assert (estimate.plans[0].steps, estimate.plans[0].memory.limit) == (20, 2000 * 2**20)
    assert estimate.seconds > 0 and estimate.memory_bytes == estimate.plans[0].memory.total
    assert [note.kind for note in estimate.notes if note.level == "warn"] == ["few_validation_rows"]
    assert client.get("/v1/fine_tuning/jobs").json()["data"] == []
    assert list((settings.scratch_dir / "estimates").iterdir()) == []


def test_a_stream_has_the_report_on_the_data_before_the_estimate(client: httpx.Client, settings: Settings) -> None:
    body = {"model": "gru", "training_file": upload(client, table(80)), "training": SMALL}
    parameters = {"dry_run": "true", "stream": "true"}
    reply = client.post("/v1/fine_tuning/jobs", params=parameters, json=body)
    assert (reply.status_code, reply.headers["content-type"]) == (200, "text/event-stream; charset=utf-8"), reply.text
    *events, done, rest = reply.text.split("\n\n")
    assert (done, rest) == ("data: [DONE]", "")
    kinds, values = zip(*(event.removeprefix("event: ").split("\ndata: ") for event in events), strict=True)
    data, estimate = (msgspec.json.decode(value, type=JobEstimate) for value in values)
    assert kinds == ("data", "estimate") and estimate.plans and estimate.seconds > 0
    assert (data.plans, data.seconds) == ([], 0.0)
    assert (data.task, data.data, data.report, data.notes) == (
        estimate.task,
        estimate.data,
        estimate.report,
        estimate.notes,
    )
    few = client.post("/v1/fine_tuning/jobs", params=parameters, json=body | {"training_file": "file-missing"})
    assert (few.status_code, few.json()["error"]["param"]) == (400, "training_file")
    assert list((settings.scratch_dir / "estimates").iterdir()) == []


def test_faults_of_the_data_and_the_settings_are_refused(client: httpx.Client) -> None:
    def error(reply: httpx.Response) -> dict[str, Any]:
        assert reply.status_code == 400, reply.text
        return dict(reply.json()["error"])

    few = error(dry_run(client, upload(client, "text,label\nonly,one\n")))
    assert (few["code"], few["type"]) == ("invalid_training_file", "invalid_request_error")
    linear = error(dry_run(client, upload(client, table(80)), model="linear", training={"width": 8}))
    assert linear["param"] == "training.width"
    missing = error(dry_run(client, "file-missing"))
    assert missing["param"] == "training_file"


@pytest.mark.parametrize("dry", ["true", "false"])
def test_a_network_that_cannot_fit_is_refused_at_once(client: httpx.Client, dry: str) -> None:
    body = {"model": "transformer", "training_file": upload(client, table(20))}
    body |= {"training": {"layers": 256, "width": 16_384}}
    reply = client.post("/v1/fine_tuning/jobs", params={"dry_run": dry}, json=body)
    error = reply.json()["error"]
    assert (reply.status_code, error["code"], error["param"]) == (400, "insufficient_memory", "training.width")
    assert "OSTINATO_TRAINING_MEMORY" in error["message"] and "2.1 GB" in error["message"]


def test_a_version_that_cannot_be_tuned_is_refused_at_once(
    client: httpx.Client, api: Api, shelf: Shelf, monkeypatch: pytest.MonkeyPatch
) -> None:
    shelf.put("base", width=16)
    monkeypatch.setattr(api.services.jobs._creation, "_memory", 1000)
    body = {"model": "base", "training_file": upload(client, table(20))}
    error = client.post("/v1/fine_tuning/jobs", json=body).json()["error"]
    assert (error["code"], error["param"]) == ("insufficient_memory", "model")


def test_a_busy_process_says_when_to_try_again(client: httpx.Client, api: Api, monkeypatch: pytest.MonkeyPatch) -> None:
    def busy(*_: object) -> None:
        raise Overloaded("another dry run is in progress", code="dry_run_busy", retry_after=5.0)

    monkeypatch.setattr(api.services.estimates, "estimate", busy)
    reply = dry_run(client, upload(client, table(20)))
    assert (reply.status_code, reply.headers["retry-after"]) == (429, "5")


def test_the_trainer_ends_when_its_client_leaves(client: httpx.Client, settings: Settings) -> None:
    file_id, folder = upload(client, table(4000)), settings.scratch_dir / "estimates"
    with pytest.raises(httpx.ReadTimeout):
        client.post(
            "/v1/fine_tuning/jobs",
            params={"dry_run": "true"},
            json={"model": "auto", "training_file": file_id},
            timeout=httpx.Timeout(60, read=0.5),
        )
    wait_until(lambda: _empty(folder))


def _empty(folder: Path) -> bool:
    return folder.is_dir() and not list(folder.iterdir())
