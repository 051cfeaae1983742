"""`/metrics` after all kinds of requests, and the headers with the times and token counts of a reply."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

import httpx
import pytest

from app import engine as engine_code
from app.api.native import metrics
from app.wire import engine as wire
from tests.api.clients import Call, gauges, leave_after_sending, post
from tests.fakes import FakeEngine
from tests.promises import IN_TIME
from tests.serving import Api, Shelf, wait_until

if TYPE_CHECKING:
    from tests.api.real import Real

NAMES = [  # as a scraper sees them
    "num_requests_running",
    "num_requests_waiting",
    "e2e_request_latency_seconds_count",
    "time_to_first_token_seconds_count",
    "inter_token_latency_seconds_count",
    "request_queue_time_seconds_count",
    "request_prefill_time_seconds_count",
    "request_decode_time_seconds_count",
    "request_inference_time_seconds_count",
    "prompt_tokens_total",
    "generation_tokens_total",
    "request_success_total",
    "iteration_tokens_total_count",
    "kv_cache_usage_perc",
    "rejected_total",
    "cancelled_total",
    "state_cache_slots",
    "state_cache_bytes",
    "state_cache_allocated_bytes",
    "prefix_cache_bytes",
    "model_load_seconds_count",
    "model_version_info",
]
GENERATE = {"model": "teller", "prompt": "abc", "max_tokens": 5, "temperature": 0, "ignore_eos": True}


def samples(client: httpx.Client, name: str, **labels: str) -> dict[str, float]:
    """The samples of a metric that have these labels, by name and label set."""
    values = {}
    for line in client.get("/metrics").text.splitlines():
        if line.startswith((f"ostinato_{name}{{", f"ostinato_{name} ")):
            series, _, number = line.rpartition(" ")
            if all(f'{key}="{label}"' in series for key, label in labels.items()):
                values[series] = float(number)
    return values


def value(client: httpx.Client, name: str, **labels: str) -> float:
    return sum(samples(client, name, **labels).values())


@pytest.fixture
def client(real: Real) -> Any:
    real.serve("teller")
    real.serve("judge", "gru", "classification")
    with real.api.client() as http:
        yield http


@pytest.fixture
def served(real: Real, client: httpx.Client, monkeypatch: pytest.MonkeyPatch) -> httpx.Client:
    """A client of a service that has answered, rejected and cancelled requests."""
    monkeypatch.setattr("app.api.native.operations.ALIASES_PATIENCE", 30.0)
    real.shelf.registry.set_alias("teller", "live", 1, "local")
    assert client.post("/v1/completions", json=GENERATE).status_code == 200
    assert client.post("/v1/classify", json={"model": "judge", "input": "abc"}).status_code == 200
    if not value(client, "cancelled_total"):
        body = {**GENERATE, "max_tokens": 100_000}
        leaver = leave_after_sending(real.api, "/v1/completions", body)
        wait_until(lambda: value(client, "num_requests_running") == 1)
        leaver.close()
        wait_until(lambda: value(client, "cancelled_total", stage="waiting") == 1)
    admission = real.api.services.inference.admission
    admission.max_requests, most = 1, admission.max_requests
    try:
        admission.requests += 1
        assert client.post("/v1/completions", json=GENERATE).status_code == 429
    finally:
        admission.requests -= 1
        admission.max_requests = most
    # engines report these with their heartbeats, four times a second
    wait_until(lambda: value(client, "iteration_tokens_total_count") and value(client, "state_cache_allocated_bytes"))
    return client


@pytest.mark.parametrize("name", NAMES)
def test_every_metric_is_present_after_requests(served: httpx.Client, name: str) -> None:
    values = samples(served, name)
    assert values, name
    if name.endswith(("_count", "_total", "_info", "_slots", "allocated_bytes")):
        assert sum(values.values()) > 0, name


def test_every_counter_of_the_engine_has_its_own_help(served: httpx.Client) -> None:
    """Checks the counters that these requests have created, and all counters in the engine's source code."""
    help_texts = [line for line in served.get("/metrics").text.splitlines() if line.startswith("# HELP")]
    assert not [line for line in help_texts if line.endswith(metrics.UNKNOWN_COUNTER)]
    sources = "".join(path.read_text() for path in Path(engine_code.__path__[0]).glob("*.py"))
    keys = set(re.findall(r'(?:\.add|count_rows)\(f?"([a-z_{}]+)"', sources)) - {"{name}_sum"}  # part of a histogram
    meanings = {key: metrics.counter_meaning(key) for key in keys}
    assert len(keys) > 20 and metrics.UNKNOWN_COUNTER not in meanings.values(), meanings
    assert len(set(meanings.values())) == len(meanings)


def test_counts_of_a_generation(client: httpx.Client) -> None:
    names = ("prompt_tokens_total", "generation_tokens_total", "time_to_first_token_seconds_count",
             "inter_token_latency_seconds_count", "e2e_request_latency_seconds_count",
             "request_decode_time_seconds_count")  # fmt: skip
    before = {name: value(client, name, model_name="teller:1") for name in names}
    sums = ("request_prefill_time_seconds_sum", "request_decode_time_seconds_sum", "request_inference_time_seconds_sum")
    before |= {name: value(client, name, model_name="teller:1") for name in sums}
    reply = client.post("/v1/completions", json={**GENERATE, "prompt": ["abc", "de"], "n": 2})
    assert reply.status_code == 200
    after = {name: value(client, name, model_name="teller:1") - was for name, was in before.items()}
    assert [after[name] for name in names] == [5, 20, 4, 16, 1, 4]  # per choice: a first token and four more
    prefill, decode, inference = (after[name] for name in sums)
    assert prefill > 0 and decode > 0 and prefill + decode == pytest.approx(inference)


def test_the_time_between_tokens_is_measured_within_a_choice(api: Api, shelf: Shelf, engine: FakeEngine) -> None:
    """With many choices, the times between tokens of different choices are not measured."""
    shelf.generator()
    engine.hold_after = 1
    body = {"model": "echo", "prompt": "ab", "max_tokens": 2, "n": 8}
    with api.client() as client:
        name = {"model_name": "echo:1"}
        sums = [value(client, f"{n}_seconds_count", **name) for n in ("time_to_first_token", "inter_token_latency")]
        call = Call(lambda: post(api, "/v1/completions", body))
        wait_until(lambda: value(client, "time_to_first_token_seconds_count", **name) == sums[0] + 8)
        assert value(client, "inter_token_latency_seconds_count", **name) == sums[1]
        engine.release()
        assert call.result().status_code == 200
        assert value(client, "inter_token_latency_seconds_count", **name) == sums[1] + 8


def test_aborting_three_requests_returns_the_gauges_to_zero(real: Real, client: httpx.Client) -> None:
    """Checks the gauges of running requests, waiting requests and the cache, like vLLM's test of aborts."""
    body = {**GENERATE, "max_tokens": 1_000_000}
    cache = ("kv_cache_usage_perc", "state_cache_bytes", "engine_running", "engine_waiting")
    leavers = [leave_after_sending(real.api, "/v1/completions", {**body, "stream": stream}) for stream in (True, False)]
    leavers.append(leave_after_sending(real.api, "/v1/completions", {**body, "n": 6}))  # more than there are slots
    wait_until(lambda: value(client, "num_requests_running") == 4 and value(client, "num_requests_waiting") == 4)
    wait_until(lambda: value(client, "kv_cache_usage_perc", model_name="teller:1") == 1)
    assert value(client, "state_cache_bytes") > 0
    wait_until(lambda: value(client, "engine_waiting") == 4)
    for leaver in leavers:
        leaver.close()
    wait_until(lambda: gauges(client) == (0, 0), 10)
    wait_until(lambda: all(value(client, name) == 0 for name in cache), 10)
    assert client.post("/v1/completions", json=GENERATE).status_code == 200


def test_prompts_that_begin_like_earlier_ones_are_counted_and_take_memory(client: httpx.Client) -> None:
    def cached(**fields: object) -> int:
        usage = client.post("/v1/completions", json={**GENERATE, "prompt": "a cold wet night " * 2, **fields}).json()
        tokens: int = usage["usage"]["prompt_tokens_details"]["cached_tokens"]
        return tokens

    hits = value(client, "engine_prefix_cache_hits_total")
    counts = [cached() for _ in range(3)]
    assert counts[-1] >= 16 and cached(cache_salt="other") == 0
    wait_until(lambda: value(client, "engine_prefix_cache_hits_total") == hits + sum(counts))
    assert value(client, "prefix_cache_bytes", model_name="teller:1") > 0


def test_replies_are_counted_by_the_template_of_their_route(api: Api) -> None:
    with api.client() as client:
        client.get("/v1/registry/models/nobody/versions")
        values = samples(client, "http_requests_total", status="404", method="GET")
    assert any('route="/v1/registry/models/{name}/versions"' in series for series in values), values


@pytest.mark.parametrize("path", ["/v1/classify", "/v1/embeddings"])
def test_a_request_is_running_while_an_engine_has_it(api: Api, shelf: Shelf, engine: FakeEngine, path: str) -> None:
    shelf.classifier()
    engine.hold()
    call = Call(lambda: post(api, path, {"model": "mood", "input": "abc"}))
    engine.wait_for(wire.Score if path == "/v1/classify" else wire.Embed)
    with api.client() as client:
        assert gauges(client) == (1, 0)
        engine.release()
        assert call.result().status_code == 200 and gauges(client) == (0, 0)


def test_a_request_is_waiting_while_its_version_loads(
    api: Api, shelf: Shelf, engine: FakeEngine, monkeypatch: pytest.MonkeyPatch
) -> None:
    shelf.classifier()
    monkeypatch.setattr(engine, "_load", lambda peer, message: None)
    call = Call(lambda: post(api, "/v1/classify", {"model": "mood", "input": "abc"}))
    engine.wait_for(wire.Load)
    with api.client() as client:
        assert gauges(client) == (0, 1)
    engine.die()
    assert call.result(IN_TIME).status_code == 503


def test_a_deleted_alias_is_not_reported(api: Api, shelf: Shelf, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("app.api.native.operations.ALIASES_PATIENCE", 30.0)
    shelf.classifier(alias="champion")
    with api.client() as client:
        assert client.post("/v1/classify", json={"model": "mood@champion", "input": "a"}).status_code == 200
        assert list(samples(client, "model_version_info").values()) == [1.0]
        shelf.registry.delete_alias("mood", "champion", "local")
        assert samples(client, "model_version_info") == {}


# --- headers ----------------------------------------------------------------------------------------------------


def times(reply: httpx.Response) -> list[float]:
    return [float(reply.headers[f"x-{name}-time"]) for name in ("queue", "inference", "total")]


@pytest.mark.parametrize("ends_by", ["length", "stop string", "stop token"])
def test_headers_of_a_completion(real: Real, client: httpx.Client, ends_by: str) -> None:
    whole = client.post("/v1/completions", json={**GENERATE, "max_tokens": 8, "return_token_ids": True}).json()
    choice = whole["choices"][0]
    body = {**GENERATE, "max_tokens": 8}
    if ends_by == "stop string":
        body["stop"] = choice["text"][-1]
    elif ends_by == "stop token":
        body["stop_token_ids"] = choice["token_ids"][-1:]
    reply = client.post("/v1/completions", json=body)
    assert reply.json()["choices"][0]["finish_reason"] == ("length" if ends_by == "length" else "stop")
    assert reply.headers["x-prompt-tokens"] == "3"
    assert int(reply.headers["x-generated-tokens"]) == reply.json()["usage"]["completion_tokens"] > 0
    queue, inference, total = times(reply)
    assert queue > 0 and inference > 0 and queue + inference <= total


def test_headers_of_a_completion_that_a_stop_string_ends(api: Api, shelf: Shelf, engine: FakeEngine) -> None:
    shelf.generator()
    body = {"model": "echo", "prompt": "one END", "max_tokens": 40, "stop": "END"}
    with api.client() as client:
        reply = client.post("/v1/completions", json=body)
        streamed = client.post("/v1/completions", json={**body, "stream": True})
    assert (reply.headers["x-queue-time"], streamed.headers["x-queue-time"]) == ("0.100", "0.100")
    assert float(reply.headers["x-inference-time"]) >= 0.15
    assert "x-inference-time" not in streamed.headers  # it is not known yet when the headers are sent
    assert json.loads(streamed.text.split("\n\n")[-3].removeprefix("data: "))["choices"][0]["finish_reason"] == "stop"


def test_headers_of_classifications_and_embeddings(client: httpx.Client) -> None:
    for path in ("/v1/classify", "/v1/embeddings"):
        reply = client.post(path, json={"model": "judge", "input": ["abc", "de"]})
        queue, inference, total = times(reply)
        assert reply.headers["x-prompt-tokens"] == "5" and queue >= 0 and inference > 0 and queue + inference <= total
