"""Clients for a running API: OpenAI's client, requests in a thread, and a client that disconnects before the reply."""

from __future__ import annotations

import json
import socket
import threading
from collections.abc import Callable
from typing import Any, Generic, TypeVar

import httpx
import msgspec
import openai

from tests.serving import Api

T = TypeVar("T")


def sdk(api: Api, key: str = "none", **options: object) -> openai.OpenAI:
    """OpenAI's client without retries, so that a test sees each rejection."""
    return openai.OpenAI(base_url=f"{api.url}/v1", api_key=key, **{"max_retries": 0, **options})  # type: ignore[arg-type]


def post(api: Api, path: str, body: dict[str, Any]) -> httpx.Response:
    """Send a request on a separate connection, which is closed afterwards."""
    return httpx.post(api.url + path, json=body, timeout=60)


class Call(Generic[T]):
    """A function call in a separate thread. `result` waits until the call ends."""

    def __init__(self, function: Callable[[], T]) -> None:
        self._results: list[T] = []
        self._thread = threading.Thread(target=lambda: self._results.append(function()), daemon=True)
        self._thread.start()

    @property
    def done(self) -> bool:
        return bool(self._results)

    def wait(self, seconds: float) -> None:
        """Wait until the call has returned or the time limit is reached."""
        self._thread.join(seconds)

    def result(self, seconds: float = 30.0) -> T:
        self.wait(seconds)
        assert self._results, f"the call did not return within {seconds} s"
        return self._results[0]


def answered_beside_others(
    api: Api, path: str, body: dict[str, Any], begun: threading.Event, go: threading.Event
) -> httpx.Response:
    """Return the reply to a request. While it waits for `go`, check that the API answers another request."""
    held = Call(lambda: post(api, path, body))
    try:
        assert begun.wait(10)
        assert httpx.get(f"{api.url}/livez", timeout=60).status_code == 200
        assert not held.done
    finally:
        go.set()
    return held.result()


def leave_after_sending(api: Api, path: str, body: dict[str, Any]) -> socket.socket:
    """Open a connection that sends a whole request and does not read the reply. Close it to disconnect."""
    content = msgspec.json.encode(body)
    host, port = api.url.removeprefix("http://").split(":")
    connection = socket.create_connection((host, int(port)))
    head = f"POST {path} HTTP/1.1\r\nHost: {host}\r\nContent-Type: application/json\r\nContent-Length: {len(content)}"
    connection.sendall(head.encode() + b"\r\n\r\n" + content)
    return connection


def events(reply: httpx.Response) -> list[str]:
    """The events of a stream, including the prefix `data: `."""
    return [line for line in reply.text.split("\n\n") if line]


def stream_error(reply: httpx.Response) -> dict[str, Any]:
    """The error with which a stream ended, in the event before `[DONE]`."""
    *_, error, done = events(reply)
    assert done == "data: [DONE]"
    body: dict[str, Any] = json.loads(error.removeprefix("data: "))["error"]
    return body


def sample(client: httpx.Client, name: str) -> float:
    """The sum of the samples in /metrics whose name and labels end with `name`, or 0 if there are none."""
    lines = [line for line in client.get("/metrics").text.splitlines() if f"{name} " in line]
    return sum(float(line.rpartition(" ")[2]) for line in lines)


def gauges(client: httpx.Client) -> tuple[float, float]:
    """The total numbers of running and of waiting requests of all versions."""
    sums = {"running": 0.0, "waiting": 0.0}
    for line in client.get("/metrics").text.splitlines():
        for gauge in sums:
            if line.startswith(f"ostinato_num_requests_{gauge}"):
                sums[gauge] += float(line.rpartition(" ")[2])
    return sums["running"], sums["waiting"]
