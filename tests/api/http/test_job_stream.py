"""The events of a job as a stream: their order, the job object, continuation, the end, and the limit on followers."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import httpx
import pytest

from app.jobs.claims import JobClaims
from app.jobs.records import NewEvent
from app.settings import Settings
from tests.serving import Api, wait_until


@pytest.fixture
def api(settings: Settings) -> Iterator[Api]:
    with Api(settings) as running:
        yield running


@pytest.fixture
def job(api: Api) -> str:
    with api.client() as client:
        upload = {"file": ("a.csv", b"text,label\na,b\n")}
        file = client.post("/v1/files", files=upload, data={"purpose": "fine-tune"}).json()["id"]
        id_: str = client.post("/v1/fine_tuning/jobs", json={"model": "lstm", "training_file": file}).json()["id"]
        return id_


def write_steps(api: Api, job: str, first: int, last: int) -> None:
    database = api.services.database
    steps = [NewEvent(kind="m", step=i, type="metrics", message=f"Step {i}") for i in range(first, last + 1)]
    with database.transaction() as session:
        JobClaims(database).log(session, job, steps)


def events(reply: httpx.Response) -> Iterator[tuple[str, str, Any]]:
    """(type, id, data) of each event of a stream."""
    fields: dict[str, str] = {}
    for line in reply.iter_lines():
        if line:
            name, _, value = line.partition(": ")
            fields[name] = value
        elif fields:
            data = fields.get("data", "")
            yield fields.get("event", ""), fields.get("id", ""), data if data == "[DONE]" else json.loads(data)
            fields = {}


def stream(client: httpx.Client, job: str, **headers: str) -> Any:
    return client.stream("GET", f"/v1/fine_tuning/jobs/{job}/events", params={"stream": "true"}, headers=headers)


def test_events_arrive_oldest_first_then_as_they_happen_until_the_job_ends(api: Api, job: str) -> None:
    write_steps(api, job, 1, 700)  # more than one page
    with api.client() as client, stream(client, job) as reply:
        assert reply.headers["content-type"].startswith("text/event-stream")
        received = events(reply)
        messages: list[str] = []
        while "Step 700" not in messages:
            messages += [data["message"] for kind, _, data in [next(received)] if kind == ""]
        assert [m for m in messages if m.startswith("Step")] == [f"Step {i}" for i in range(1, 701)]
        write_steps(api, job, 701, 701)
        assert next(e for e in received if e[0] == "")[2]["message"] == "Step 701"
        httpx.post(f"{api.url}/v1/fine_tuning/jobs/{job}/cancel")
        rest = list(received)
        assert rest[-1][2] == "[DONE]" and rest[-2][0] == "job" and rest[-2][2]["status"] == "cancelled"
    wait_until(lambda: api.services.followers.used == 0)


def test_a_stream_continues_after_the_last_event_that_was_received(api: Api, job: str) -> None:
    write_steps(api, job, 1, 3)
    with api.client() as client:
        client.post(f"/v1/fine_tuning/jobs/{job}/cancel")
        with stream(client, job) as reply:
            second = next(id_ for _, id_, data in events(reply) if data["message"] == "Step 2")
        with stream(client, job, **{"last-event-id": second}) as reply:
            assert "Step 3" in (text := reply.read().decode()) and "Step 2" not in text


def test_a_stream_for_a_plot_contains_some_of_the_past_metrics_and_all_later_ones(api: Api, job: str) -> None:
    path, params = f"/v1/fine_tuning/jobs/{job}/events", {"stream": "true", "points": "20"}
    write_steps(api, job, 1, 700)
    with api.client() as client, client.stream("GET", path, params=params) as reply:
        received, steps = events(reply), list[str]()
        while "Step 702" not in steps:
            kind, _, data = next(received)
            if kind == "" and data["type"] == "metrics":
                steps.append(data["message"])
                if steps[-1] == "Step 700":
                    write_steps(api, job, 701, 702)
        assert steps == [*(f"Step {35 * number}" for number in range(1, 21)), "Step 701", "Step 702"]


def test_unknown_jobs_and_events_are_refused_before_the_stream(api: Api, job: str) -> None:
    with api.client() as client:
        with stream(client, "ftjob-none") as reply:
            assert reply.status_code == 404
        with stream(client, job, **{"last-event-id": "ftevent-none"}) as reply:
            assert reply.status_code == 404 and "event_not_found" in reply.read().decode()


def test_followers_are_limited(api: Api, job: str) -> None:
    api.services.followers.limit = 1
    with api.client() as client, stream(client, job) as reply:
        received = events(reply)  # kept, because httpx closes a reply whose iterator is dropped
        assert next(received)
        with stream(client, job) as second:
            assert second.status_code == 429 and int(second.headers["retry-after"]) > 0
    wait_until(lambda: api.services.followers.used == 0)
