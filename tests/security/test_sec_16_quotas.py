"""SEC-16: a key uses no more than its quotas. The error names the quota, and other keys are not affected."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import msgspec
import openai
import pytest

from app.api.http.auth import PUBLIC
from app.db.usage import StorageQuotaExceeded
from app.rates import LargerThanQuota, RateLimited
from app.settings import Settings
from tests.api.rendered import is_rendered
from tests.clock import Clock
from tests.security.attacks import checkpoint, code, upload
from tests.serving import Api, Shelf

QUOTAS = {
    "asks": "requests=3",
    "reads": "tokens=40",
    "stores": "bytes=30KiB",
    "trains": "queued=1+running=1+priority=5",
    "free": "",
}
CSV = b"text,label\n" + b"some words,yes\nother words,no\n" * 20


@pytest.fixture(params=["sqlite", pytest.param("postgresql", marks=pytest.mark.postgres)])
def settings(request: pytest.FixtureRequest, settings: Settings) -> Settings:
    url = "" if request.param == "sqlite" else request.getfixturevalue("postgres_url")
    keys = ",".join(f"{name}:secret-of-{name}" for name in QUOTAS)
    quotas = ",".join(f"{name}:{quota}" for name, quota in QUOTAS.items())
    return msgspec.structs.replace(settings, database_url=url, api_keys=keys, key_quotas=quotas)


@pytest.fixture
def clock(api: Api) -> Clock:
    api.services.rates.clock = clock = Clock()
    return clock


@pytest.fixture
def clients(api: Api, clock: Clock, shelf: Shelf) -> Iterator[dict[str, httpx.Client]]:
    shelf.classifier(owner="reads")
    shelf.generator(owner="reads")
    clients = {name: api.client(f"secret-of-{name}") for name in QUOTAS}
    yield clients
    for client in clients.values():
        client.close()


def remaining(reply: httpx.Response, name: str = "tokens") -> tuple[int, int, str]:
    limit, left, reset = (reply.headers[f"x-ratelimit-{part}-{name}"] for part in ("limit", "remaining", "reset"))
    return int(limit), int(left), reset


def test_every_route_refuses_a_key_without_requests_left(clients: dict[str, httpx.Client], clock: Clock) -> None:
    asks = clients["asks"]
    assert [remaining(asks.get("/v1/models"), "requests") for _ in range(3)] == [
        (3, 2, "20s"), (3, 1, "40s"), (3, 0, "1m0s"),
    ]  # fmt: skip
    document = clients["free"].get("/openapi.json", timeout=60).json()
    routes = [(m.upper(), re.sub(r"{[^}]*}", "x", path)) for path, ms in document["paths"].items() for m in ms]
    assert len(routes) > 30
    for method, path in routes:
        reply = asks.request(method, path)
        if path in PUBLIC:
            assert reply.status_code != 429 and "x-ratelimit-limit-requests" not in reply.headers, path
            continue
        assert is_rendered(reply, RateLimited), (method, path, reply.text)
        assert (reply.headers["retry-after"], reply.headers["x-error-code"]) == ("20", "rate_limit_exceeded")
        assert "quota of 3 requests per minute; try again in 20 s" in reply.text
        assert remaining(reply, "requests") == (3, 0, "1m0s")
    assert asks.head("/v1/models").status_code == 429
    assert clients["free"].get("/v1/models").status_code == 200
    clock.now += 19.9
    refused = asks.get("/v1/models")
    assert (refused.status_code, refused.headers["retry-after"]) == (429, "1")
    clock.now += float(refused.headers["retry-after"])
    assert [asks.get("/v1/models").status_code for _ in range(2)] == [200, 429]


def test_tokens_of_inputs_count(clients: dict[str, httpx.Client], clock: Clock) -> None:
    reads, body = clients["reads"], {"model": "mood", "input": ["x" * 10, "y" * 15]}
    assert remaining(reads.post("/v1/classify", json=body)) == (40, 15, "38s")
    assert remaining(reads.post("/v1/embeddings", json={**body, "input": "x" * 5})) == (40, 10, "45s")
    for path, sent in (("/v1/classify", body), ("/models/mood", {"inputs": "x" * 25})):
        refused = reads.post(path, json=sent)
        assert is_rendered(refused, RateLimited), refused.text
        assert "quota of 40 tokens per minute" in refused.text
        assert refused.headers["retry-after"] == "23"  # 15 tokens are missing, and 2 return in 3 seconds
    clock.now += 23
    assert reads.post("/v1/classify", json=body).status_code == 200
    large = reads.post("/v1/classify", json={**body, "input": "x" * 41})
    assert is_rendered(large, LargerThanQuota) and "up to 41 tokens" in large.text
    assert "retry-after" not in large.headers


def test_tokens_to_generate_are_reserved_and_the_rest_is_returned(clients: dict[str, httpx.Client]) -> None:
    reads = clients["reads"]
    body: dict[str, Any] = {"model": "echo", "prompt": "abcd", "max_tokens": 20, "stop": "c"}
    assert reads.post("/v1/completions", json=body).json()["choices"][0]["text"] == "ab"
    reply = reads.post("/v1/completions", json={**body, "max_tokens": 3, "stop": None})
    assert remaining(reply)[1] == 40 - 4 - 3 - 4 - 3  # the stop string ends with its token, which counts
    too_many = reads.post("/v1/completions", json={**body, "n": 3})
    assert is_rendered(too_many, LargerThanQuota) and "generate fewer tokens" in too_many.text
    assert reads.post("/v1/completions", json={**body, "max_tokens": 23}).status_code == 429
    with reads.stream("POST", "/v1/completions", json={**body, "max_tokens": 22, "stream": True}) as stream:
        assert stream.status_code == 200 and remaining(stream)[1] == 0
        stream.read()
    assert remaining(reads.get("/v1/models"))[1] == 26 - 4 - 3


def test_a_generation_without_a_limit_fits_into_the_quota(clients: dict[str, httpx.Client]) -> None:
    reply = clients["reads"].post("/models/echo", json={"inputs": "abcd", "parameters": {"return_full_text": False}})
    assert (reply.status_code, len(reply.json()[0]["generated_text"])) == (
        200,
        16,
    )  # half of 40, with the prompt
    assert remaining(reply)[1] == 20


def test_clients_of_openai_see_a_rate_limit(api: Api, clients: dict[str, httpx.Client]) -> None:
    client = openai.OpenAI(base_url=f"{api.url}/v1", api_key="secret-of-reads", max_retries=0)
    client.embeddings.create(model="mood", input="x" * 30)
    with pytest.raises(openai.RateLimitError) as refused:
        client.embeddings.create(model="mood", input="x" * 30)
    assert refused.value.code == "rate_limit_exceeded" and refused.value.response.headers["retry-after"] == "30"
    client.close()


def test_two_api_processes_count_together(
    settings: Settings, api: Api, clients: dict[str, httpx.Client], clock: Clock
) -> None:
    with Api(settings) as second, second.client("secret-of-asks") as other:
        second.services.rates.clock = clock
        statuses = [client.get("/v1/models").status_code for client in (clients["asks"], other) * 2]
    assert statuses == [200, 200, 200, 429]


def send(client: httpx.Client, content: bytes) -> httpx.Response:
    return client.post("/v1/files", data={"purpose": "fine-tune"}, files={"file": ("a.csv", content)})


def test_stored_bytes(clients: dict[str, httpx.Client], api: Api, tmp_path: Path) -> None:
    stores = clients["stores"]
    first = send(stores, b"x" * 20_000)
    assert first.status_code == 200
    folder = checkpoint(tmp_path / "checkpoint")
    announced = {"purpose": "fine-tune", "filename": "a.csv", "bytes": 11_000, "mime_type": "text/csv"}
    blobs = sum(1 for _ in api.services.registry.blobs.list())
    for reply in (send(stores, b"y" * 11_000), stores.post("/v1/uploads", json=announced), upload(stores, folder)):
        assert is_rendered(reply, StorageQuotaExceeded), reply.text
        assert "30720 stored bytes" in reply.text and reply.status_code == 403
    assert sum(1 for _ in api.services.registry.blobs.list()) <= blobs + 1  # the empty blob of an upload
    assert send(stores, b"z" * 5000).status_code == 200
    assert stores.delete(f"/v1/files/{first.json()['id']}").status_code == 200
    opened = stores.post("/v1/uploads", json=announced).json()["id"]
    part = stores.post(f"/v1/uploads/{opened}/parts", files={"data": b"p" * 11_000}).json()["id"]
    assert stores.post(f"/v1/uploads/{opened}/complete", json={"part_ids": [part]}).status_code == 200
    assert upload(stores, folder, "kept").status_code == 200  # about 14 KB
    assert stores.delete("/v1/models/kept:1").status_code == 200
    assert send(clients["free"], b"x" * 100_000).status_code == 200


def test_queued_jobs(clients: dict[str, httpx.Client]) -> None:
    trains = clients["trains"]
    file = send(trains, CSV).json()["id"]
    body = {"model": "lstm", "training_file": file}
    urgent = trains.post("/v1/fine_tuning/jobs", json={**body, "priority": 6})
    assert (urgent.status_code, code(urgent), urgent.json()["error"]["param"]) == (
        403,
        "priority_not_allowed",
        "priority",
    )
    first = trains.post("/v1/fine_tuning/jobs", json={**body, "priority": 5}, headers={"idempotency-key": "one"})
    assert first.status_code == 200
    again = trains.post("/v1/fine_tuning/jobs", json={**body, "priority": 5}, headers={"idempotency-key": "one"})
    assert again.json()["id"] == first.json()["id"]  # a repeated request is not another job
    refused = trains.post("/v1/fine_tuning/jobs", json=body)
    assert (refused.status_code, code(refused)) == (429, "job_quota_exceeded")
    assert "quota of the API key 'trains' is 1 queued jobs" in refused.text
    assert (refused.headers["retry-after"], refused.headers["x-should-retry"]) == ("60", "false")
    paused = f"/v1/fine_tuning/jobs/{first.json()['id']}"
    assert trains.post(f"{paused}/pause").status_code == 200
    second = trains.post("/v1/fine_tuning/jobs", json=body).json()["id"]
    assert code(trains.post(f"{paused}/resume")) == "job_quota_exceeded"
    assert trains.get(paused).json()["status"] == "paused"
    trains.post(f"/v1/fine_tuning/jobs/{second}/cancel")
    assert trains.post(f"{paused}/resume").status_code == 200
