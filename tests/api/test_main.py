"""The API program: its port, its exit, and the rejection of settings."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import httpx
import pytest

from app.settings import Settings
from benchmarks.service import free_port
from tests.fakes import FakeEngine
from tests.serving import Shelf, wait_until

SHORT_DRAIN = "import sys; from app.api import __main__ as api; api.DRAIN_SECONDS = 2.0; sys.exit(api.main())"


def run(*arguments: str, **environment: str) -> subprocess.Popen[bytes]:
    clean = {k: v for k, v in os.environ.items() if not k.startswith("OSTINATO_")}
    command = [sys.executable, *(arguments or ("-m", "app.api"))]
    return subprocess.Popen(command, env=clean | environment, stderr=subprocess.PIPE, cwd=Path(__file__).parents[2])


def answers(url: str) -> bool:
    try:
        return httpx.get(f"{url}/readyz", timeout=60).status_code == 200
    except httpx.TransportError:
        return False


def test_two_processes_share_a_port_and_stop_on_sigterm(settings: Settings, engine: FakeEngine) -> None:
    port = free_port()
    environment = {
        "OSTINATO_DATA_DIR": settings.data_dir,
        "OSTINATO_PORT": str(port),
        "OSTINATO_API_PROCESSES": "2",
        "OSTINATO_LOG_FORMAT": "json",
    }
    programs = [run(**environment), run(**environment)]
    try:
        wait_until(lambda: answers(f"http://127.0.0.1:{port}"), 30)
        httpx.get(f"http://127.0.0.1:{port}/v1/models", headers={"x-request-id": "seen"}, timeout=60)
    finally:
        for program in programs:
            program.send_signal(signal.SIGTERM)
        logs = [program.communicate(timeout=60)[1].decode() for program in programs]
    assert all(program.returncode in (0, -signal.SIGTERM) for program in programs)
    lines = [json.loads(line) for log in logs for line in log.splitlines()]
    access = next(line for line in lines if line.get("request_id") == "seen")
    assert access["program"] == "api" and access["path"] == "/v1/models" and access["status"] == 200


def test_requests_that_are_open_at_the_end_of_the_drain_time_get_an_error(
    settings: Settings, engine: FakeEngine, shelf: Shelf
) -> None:
    shelf.generator()
    engine.hold_after = 2
    port = free_port()
    url = f"http://127.0.0.1:{port}"
    body = {"model": "echo", "prompt": "abc", "max_tokens": 50}
    program = run("-c", SHORT_DRAIN, OSTINATO_DATA_DIR=settings.data_dir, OSTINATO_PORT=str(port))
    try:
        wait_until(lambda: answers(url), 30)
        with ThreadPoolExecutor(2) as threads:
            calls = [
                threads.submit(httpx.post, f"{url}/v1/completions", json={**body, "stream": stream}, timeout=20)
                for stream in (True, False)
            ]
            wait_until(lambda: [stream.sent for stream in list(engine._streams.values())] == [2, 2])
            program.send_signal(signal.SIGTERM)
            streamed, whole = (call.result() for call in calls)
        program.wait(30)
    finally:
        program.kill()
        _, log = program.communicate(timeout=60)
    *_, error, done = [line for line in streamed.text.split("\n\n") if line]
    assert json.loads(error.removeprefix("data: "))["error"]["code"] == "unavailable" and done == "data: [DONE]"
    assert whole.status_code == 503 and whole.json()["error"]["code"] == "unavailable"
    assert whole.headers["retry-after"] == "1" and whole.headers["x-request-id"]
    assert b"Traceback" not in log


def test_an_open_address_without_keys_is_refused(tmp_path: Path) -> None:
    program = run(OSTINATO_HOST="0.0.0.0", OSTINATO_DATA_DIR=str(tmp_path))
    _, stderr = program.communicate(timeout=30)
    assert program.returncode == 2 and b"ostinato keys" in stderr and b"Traceback" not in stderr


def test_a_port_in_use_is_reported_plainly(tmp_path: Path) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        program = run(OSTINATO_PORT=str(taken.getsockname()[1]), OSTINATO_DATA_DIR=str(tmp_path))
        _, stderr = program.communicate(timeout=30)
    # not the status of invalid settings, since the port may become free
    assert program.returncode == 1 and b"cannot bind" in stderr and b"Traceback" not in stderr


@pytest.mark.parametrize("url", ["foo://bar", "az://container", "file:///proc/version/blobs"])
def test_an_invalid_storage_url_is_reported_in_one_line(tmp_path: Path, url: str) -> None:
    program = run(OSTINATO_STORAGE_URL=url, OSTINATO_DATA_DIR=str(tmp_path), OSTINATO_PORT="0")
    _, stderr = program.communicate(timeout=30)
    assert program.returncode == 2 and stderr.startswith(b"ostinato api: OSTINATO_STORAGE_URL"), stderr
    assert stderr.count(b"\n") == 1


@pytest.mark.parametrize("url", ["nonsense", "sqlite:///:memory:"])
def test_an_invalid_database_url_is_reported_in_one_line(tmp_path: Path, url: str) -> None:
    program = run(OSTINATO_DATABASE_URL=url, OSTINATO_DATA_DIR=str(tmp_path), OSTINATO_PORT="0")
    _, stderr = program.communicate(timeout=30)
    assert program.returncode == 2 and stderr.startswith(b"ostinato api: OSTINATO_DATABASE_URL"), stderr
    assert stderr.count(b"\n") == 1


def test_the_api_imports_no_torch() -> None:
    code = "import sys, app.api.application; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False, cwd=Path(__file__).parents[2]).returncode == 0
