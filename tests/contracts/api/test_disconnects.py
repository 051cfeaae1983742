"""Clients that disconnect before their reply is complete."""

from __future__ import annotations

import logging
import socket
from functools import partial

import pytest

from app.wire import engine as wire
from tests.api.clients import gauges, leave_after_sending, sample
from tests.clients.console import claimed_job
from tests.fakes import FakeEngine
from tests.serving import Api, Shelf, wait_until


def test_a_client_that_leaves_frees_its_slot(api: Api, shelf: Shelf, engine: FakeEngine) -> None:
    shelf.generator()
    shelf.classifier()
    engine.hold_after = 2
    body = {"model": "echo", "prompt": "abc", "max_tokens": 50}
    for stream in (True, False):
        leaver = leave_after_sending(api, "/v1/completions", {**body, "stream": stream})
        wait_until(lambda: engine.running == 1)
        leaver.close()
        wait_until(lambda: engine.running == 0)
    engine.hold()
    leaver = leave_after_sending(api, "/v1/classify", {"model": "mood", "input": "abc"})
    engine.wait_for(wire.Score)
    leaver.close()
    engine.wait_for(wire.Abort)
    with api.client() as client:
        wait_until(lambda: gauges(client) == (0, 0))


def cancelled(api: Api) -> dict[str, float]:
    """The number of cancelled requests by stage."""
    with api.client() as client:
        stages = ("following", "streaming", "dry_run", "waiting")
        return {stage: sample(client, f'ostinato_cancelled_total{{stage="{stage}"}}') for stage in stages}


def _is_cancelled(api: Api, expected: dict[str, float]) -> bool:
    return cancelled(api) == expected


def test_clients_that_do_not_wait_for_an_answer_are_counted_apart(api: Api) -> None:
    before, job = cancelled(api), claimed_job(api)
    with api.client() as client, client.stream("GET", f"/v1/fine_tuning/jobs/{job}/events?stream=true") as reply:
        next(reply.iter_lines())
    wait_until(lambda: cancelled(api) == before | {"following": before["following"] + 1})
    before = cancelled(api)
    with api.services.estimates._running, api.client() as client:
        file = client.get(f"/v1/fine_tuning/jobs/{job}").json()["training_file"]
        body = {"model": "lstm", "training_file": file}
        for way in ("", "&stream=true"):
            expected = cancelled(api)["dry_run"] + 1
            leaver = leave_after_sending(api, f"/v1/fine_tuning/jobs?dry_run=true{way}", body)
            leaver.close()
            wait_until(partial(_is_cancelled, api, before | {"dry_run": expected}))


@pytest.mark.parametrize("path", ["/v1/classify", "/v1/fine_tuning/jobs", "/v1/files"])
def test_a_client_that_leaves_while_it_sends_is_not_an_internal_error(
    api: Api, path: str, caplog: pytest.LogCaptureFixture
) -> None:
    host, port = api.url.removeprefix("http://").split(":")
    kind = "multipart/form-data; boundary=b" if path == "/v1/files" else "application/json"
    with api.client() as client, caplog.at_level(logging.ERROR):
        before = sample(client, 'ostinato_cancelled_total{stage="sending"}')
        with socket.create_connection((host, int(port))) as connection:
            head = f"POST {path} HTTP/1.1\r\nHost: {host}\r\nContent-Type: {kind}\r\nContent-Length: 1000\r\n\r\n"
            connection.sendall(head.encode() + b"--b\r\n")
        wait_until(lambda: sample(client, 'ostinato_cancelled_total{stage="sending"}') == before + 1)
        wait_until(lambda: sample(client, f'http_requests_total{{method="POST",route="{path}",status="499"}}'))
    assert not caplog.records
