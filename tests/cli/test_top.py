"""`ostinato top`: rates between two readings, in a pipe, as JSON and at a terminal."""

from __future__ import annotations

import json
import sys
from typing import Any

import pytest

from app.cli import top
from tests.cli.conftest import Run
from tests.cli.service import Service

VERSION = {
    "ref": "tales:1", "digest": "d", "dtype": "bfloat16", "kernel": "onednn", "bytes": 2_000_000, "running": 3,
    "waiting": 2, "slots": 8, "cache_bytes": 5000, "prefix_bytes": 700,
}  # fmt: skip
NOTHING = {name: 0 for name in ("requests", "prompt_tokens", "generated_tokens", "calls", "rows", "padded_tokens")}
WORK = {"requests": 10, "prompt_tokens": 300, "generated_tokens": 80, "calls": 20, "rows": 70, "padded_tokens": 400}
METRICS = """# TYPE ostinato_num_requests_waiting gauge
ostinato_num_requests_waiting{model_name="tales:1"} 4.0
ostinato_num_requests_waiting{model_name="mood:1"} 1.0
ostinato_rejected_total{reason="queue"} %d
ostinato_rejected_total_created 99.0
"""


def engine(work: dict[str, int], pid: int = 71, **fields: Any) -> dict[str, Any]:
    versions = [VERSION | {"work": work} | fields]
    return {"pid": pid, "device": "cpu", "threads": 2, "busy_seconds": 0.0, "versions": versions}


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """A clock that advances only with `sleep`."""
    now = [100.0]
    monkeypatch.setattr(top.time, "monotonic", lambda: now[0])
    monkeypatch.setattr(top.time, "sleep", lambda seconds: now.append(now.pop() + seconds))
    return now


def serve(service: Service, *readings: list[dict[str, Any]], rejected: tuple[int, ...] = (0, 6)) -> None:
    service.routes["GET /v1/engine"] = [(200, {"engines": engines}) for engines in readings]
    service.routes["GET /metrics"] = [(200, (METRICS % count).encode()) for count in rejected]


def test_a_pipe_gets_one_plain_table_of_the_work_between_two_readings(
    service: Service, ostinato: Run, clock: list[float]
) -> None:
    later = {name: 50 + count for name, count in WORK.items()}
    serve(service, [engine({name: 50 for name in WORK})], [engine(later)])
    done = ostinato("top", "--every", "4")
    assert done.status == 0 and "\x1b" not in done.out
    queue, _, head, columns, row = done.out.splitlines()
    assert queue == "queue: 5 waiting, 1.5 rejected/s"
    assert head == "engine 71: cpu, 2 threads"
    assert columns.split("  ")[0] == "VERSION"
    cells = [cell for cell in row.split("  ") if cell]
    assert [cell.strip() for cell in cells] == [
        "tales:1", "bfloat16", "onednn", "2.5", "75", "20", "3", "2", "3.5", "25%", "2.0 MB", "5.0 kB", "700 B",
    ]  # fmt: skip


def test_a_version_loaded_in_between_and_a_new_engine_start_from_zero(
    service: Service, ostinato: Run, clock: list[float]
) -> None:
    serve(service, [engine(WORK, pid=1)], [engine(WORK, pid=2)])
    report = json.loads(ostinato("top", "--json", "--every", "2").out)
    [version] = report["engines"][0]["versions"]
    assert (report["seconds"], version["requests_per_second"], version["fill"]) == (2.0, 5.0, 3.5)


def test_idle_versions_have_no_batches(service: Service, ostinato: Run, clock: list[float]) -> None:
    serve(service, [engine(WORK)])
    [version] = json.loads(ostinato("top", "--json").out)["engines"][0]["versions"]
    assert (version["fill"], version["padding"], version["requests_per_second"]) == (None, None, 0.0)
    assert " -  " in ostinato("top", "--once").out


def test_nothing_runs_or_nothing_is_loaded(service: Service, ostinato: Run, clock: list[float]) -> None:
    serve(service, [])
    assert ostinato("top").out.endswith("no engine is running\n")
    serve(service, [engine(NOTHING) | {"versions": []}])
    assert ostinato("top").out.endswith("no version is loaded\n")


def test_a_key_without_the_scope_gets_the_error(service: Service, ostinato: Run) -> None:
    service.routes["GET /v1/engine"] = (403, {"error": {"message": "this key lacks operator", "code": "forbidden"}})
    done = ostinato("top")
    assert done.status == 1 and "this key lacks operator" in done.err and done.out == ""


def test_a_terminal_is_refreshed_until_it_is_interrupted_also_across_a_restart(
    service: Service, ostinato: Run, clock: list[float], monkeypatch: pytest.MonkeyPatch
) -> None:
    serve(service, [engine(WORK)])
    restarting = 503, {"error": {"message": "no engine is running", "code": "unavailable"}}
    service.routes["GET /v1/engine"] = [(200, {"engines": [engine(NOTHING)]})] * 2 + [restarting, restarting]
    monkeypatch.setattr(sys.stdout, "isatty", lambda: True, raising=False)
    sleeps: list[float] = []

    def sleep(seconds: float) -> None:
        sleeps.append(seconds)
        if len(sleeps) == 4:
            raise KeyboardInterrupt

    monkeypatch.setattr(top.time, "sleep", sleep)
    done = ostinato("top", "--every", "0.5")
    assert done.status == 130 and sleeps == [0.5] * 4
    assert len(service.sent("GET /v1/engine")) == 4
