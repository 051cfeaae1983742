"""Runs a complete service on this machine, for benchmarks, acceptance checks and end-to-end tests.

Uses only the command line and the HTTP API.
"""

from __future__ import annotations

import contextlib
import json
import os
import random
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx

OSTINATO = [str(Path(sys.executable).with_name("ostinato"))]
ENDED = ("succeeded", "failed", "cancelled")
CONNECTION = (httpx.RemoteProtocolError, httpx.ConnectError, httpx.ReadError, httpx.WriteError)


def wait_until(condition: Callable[[], Any], seconds: float, what: str, every: float = 0.05) -> Any:
    """Wait until `condition` returns a truthy value, and return it.

    Raises TimeoutError after `seconds`; its message contains `what`.
    """
    end = time.monotonic() + seconds
    while True:
        if result := condition():
            return result
        if time.monotonic() > end:
            raise TimeoutError(f"still waiting for {what} after {seconds:g} s")
        time.sleep(every)


class Service:
    """A running `ostinato up`, and a client for it."""

    def __init__(self, data: Path, process: subprocess.Popen[bytes] | None, url: str, key: str = "") -> None:
        self.data, self.process, self.url = data, process, url
        headers = {"authorization": f"Bearer {key}"} if key else {}
        # Many threads share this client. A bounded pool may close a surplus connection that it has just assigned to a
        # thread: https://github.com/encode/httpcore/issues/1110
        unbounded = httpx.Limits(max_connections=None, max_keepalive_connections=None)
        self.client = httpx.Client(base_url=url, headers=headers, timeout=120, limits=unbounded)

    # the programs
    def programs(self) -> list[dict[str, Any]]:
        """Return the list of running programs. It is empty before the first program starts."""
        try:
            listed: list[dict[str, Any]] = json.loads((self.data / "run" / "programs.json").read_text())
        except FileNotFoundError:
            return []
        return listed

    def pid(self, program: str) -> int | None:
        return next((p["pid"] for p in self.programs() if p["program"] == program), None)

    def resident(self) -> float:
        """Return the physical memory of the API and the engine, in MiB."""
        total = 0.0
        for program in self.programs():
            if not program["program"].startswith("worker"):
                with contextlib.suppress(OSError, IndexError):
                    total += int(Path(f"/proc/{program['pid']}/statm").read_text().split()[1]) / 256
        return total

    def kill(self, program: str, number: int = signal.SIGKILL) -> int:
        """Send a signal to a program as soon as it is running. Returns its process id."""
        pid: int = wait_until(lambda: self.pid(program), 30, f"a running {program}")
        os.kill(pid, number)
        return pid

    def ready(self) -> bool:
        try:
            return self.client.get("/readyz", timeout=5).status_code == 200
        except httpx.HTTPError:
            return False

    # the API: upload, train, predict
    def upload(self, path: Path, name: str | None = None) -> str:
        with path.open("rb") as stream:
            reply = self.client.post(
                "/v1/files", data={"purpose": "fine-tune"}, files={"file": (name or path.name, stream)}
            )
        return str(checked(reply)["id"])

    def train(self, **request: Any) -> dict[str, Any]:
        return checked(self.client.post("/v1/fine_tuning/jobs", json=request))

    def job(self, job_id: str) -> dict[str, Any]:
        return checked(self.client.get(f"/v1/fine_tuning/jobs/{job_id}"))

    def events(self, job_id: str) -> list[dict[str, Any]]:
        """Return all events, oldest first."""
        events: list[dict[str, Any]] = []
        params: dict[str, Any] = {"limit": 100}
        while True:
            page = checked(self.client.get(f"/v1/fine_tuning/jobs/{job_id}/events", params=params))
            events += page["data"]
            if not page["has_more"]:
                return events[::-1]
            params["after"] = page["data"][-1]["id"]

    def finish(self, job_id: str, seconds: float) -> dict[str, Any]:
        """Wait for the job to end and return it. Raises TimeoutError after `seconds`."""

        def ended() -> dict[str, Any] | None:
            job = self.job(job_id)
            return job if job["status"] in ENDED else None

        job: dict[str, Any] = wait_until(ended, seconds, f"the end of {job_id}", every=0.3)
        return job

    def version(self, reference: str) -> dict[str, Any]:
        name, _, number = reference.partition(":")
        return checked(self.client.get(f"/v1/registry/models/{name}/versions/{number}"))

    def import_checkpoint(self, name: str, tar: Path) -> dict[str, Any]:
        with tar.open("rb") as stream:
            return checked(self.client.post(f"/v1/registry/models/{name}/versions", files={"file": (tar.name, stream)}))

    def classify(self, model: str, texts: Any, **more: Any) -> dict[str, Any]:
        return checked(self.client.post("/v1/classify", json={"model": model, "input": texts, **more}))

    def complete(self, model: str, prompt: Any, **more: Any) -> dict[str, Any]:
        return checked(self.client.post("/v1/completions", json={"model": model, "prompt": prompt, **more}))

    def stream(self, model: str, prompt: str, **more: Any) -> tuple[str, str | None]:
        """Return the whole text of a streamed completion and its finish reason. Raises Refused for an error in the
        stream.
        """
        text, reason = "", None
        body = {"model": model, "prompt": prompt, "stream": True, **more}
        with self.client.stream("POST", "/v1/completions", json=body) as reply:
            if reply.is_error:
                reply.read()
                checked(reply)
            for line in reply.iter_lines():
                if not line.startswith("data: ") or line == "data: [DONE]":
                    continue
                chunk = json.loads(line[6:])
                if "error" in chunk:
                    raise Refused(chunk["error"]["message"], chunk["error"]["code"])
                for choice in chunk["choices"]:
                    text, reason = text + choice["text"], choice["finish_reason"] or reason
        return text, reason


class Refused(RuntimeError):
    """The service replied with an error. `code` is the error's code."""

    def __init__(self, message: str, code: str) -> None:
        super().__init__(message)
        self.code = code


def checked(reply: httpx.Response) -> dict[str, Any]:
    """Return the JSON content of a successful reply. Raises Refused for an error."""
    if reply.is_error:
        message = f"{reply.request.method} {reply.request.url}: {reply.status_code} {reply.text[:2000]}"
        try:
            code = str(reply.json()["error"]["code"])
        except (ValueError, KeyError, TypeError):
            code = ""
        raise Refused(message, code)
    answer: dict[str, Any] = reply.json()
    return answer


def outcome(request: Callable[[], Any]) -> str:
    """Send a request, and return `ok`, the code of an error, `connection`, `hangs`, or the text of another exception.

    Raises no exception, so a thread that sends requests one after another can record the outcome of each request.
    """
    try:
        request()
        return "ok"
    except CONNECTION:
        return "connection"
    except (httpx.TimeoutException, TimeoutError):
        return "hangs"
    except httpx.HTTPStatusError as error:
        return str(error.response.headers.get("x-error-code", error.response.status_code))
    except Refused as error:
        return (error.code or str(error))[:200]
    except Exception as error:
        return f"{type(error).__name__}: {error}"[:200]


def free_port() -> int:
    """Return a free port below the ephemeral range, so that no other connection takes it before a program listens on
    it.
    """
    while True:
        port = random.randrange(20_000, 30_000)
        with socket.socket() as probe, contextlib.suppress(OSError):
            probe.bind(("127.0.0.1", port))
            return port


@contextmanager
def running(
    data: Path, *arguments: str, settings: Mapping[str, str] | None = None, ready_in: float = 60
) -> Iterator[Service]:
    """Run `ostinato up` on a free port with the data folder `data`, yield the service, and stop it at the end.

    Raises RuntimeError if it exits before it is ready, and TimeoutExpired if it does not stop within 30 seconds.
    """
    data.mkdir(parents=True, exist_ok=True)
    port = free_port()
    environment = {k: v for k, v in os.environ.items() if not k.startswith("OSTINATO_")} | dict(settings or {})
    with (data / "up.log").open("ab") as log:
        process = subprocess.Popen(
            [*OSTINATO, "up", "--port", str(port), "--data-dir", str(data), *arguments],
            stdout=log, stderr=subprocess.STDOUT, env=environment, start_new_session=True,
        )  # fmt: skip
    service = Service(data, process, f"http://127.0.0.1:{port}")
    try:

        def started() -> bool:
            if process.poll() is not None:
                raise RuntimeError(f"ostinato up exited with {process.returncode}:\n{(data / 'up.log').read_text()}")
            return service.ready()

        wait_until(started, ready_in, "/readyz")
        yield service
    finally:
        service.client.close()
        process.terminate()
        try:
            process.wait(30)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            raise
