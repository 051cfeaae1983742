"""The access log: its lines are written in batches, in the same format as all other log lines."""

from __future__ import annotations

import asyncio
import io
import json
import logging
from collections.abc import Callable, Iterator

import pytest

from app import telemetry
from app.api.http import access_log
from app.api.http.access_log import AccessLog
from tests.inference.engines.test_client import until


@pytest.fixture
def output() -> Iterator[io.StringIO]:
    """The output of a text handler, which replaces all other log handlers during the test."""
    root = logging.getLogger()
    before, root.handlers[:] = root.handlers[:], []
    level, stream = root.level, io.StringIO()
    handler = logging.StreamHandler(stream)
    handler.setFormatter(telemetry.TextLines())
    root.addHandler(handler)
    root.setLevel(logging.INFO)
    yield stream
    root.handlers[:] = before
    root.setLevel(level)


def play(story: Callable[[AccessLog], None]) -> None:
    async def scenario() -> None:
        story(AccessLog())

    asyncio.run(scenario())


def add(log: AccessLog, count: int = 1, level: int = logging.INFO) -> None:
    for i in range(count):
        log.add(level, f"req-{i}", "POST", "/v1/classify", 200, 1.26, "ann")


def test_lines_are_written_together_and_look_like_other_lines(output: io.StringIO) -> None:
    def story(log: AccessLog) -> None:
        add(log, 2)
        assert output.getvalue() == ""
        log.write()

    play(story)
    first, second = output.getvalue().splitlines()
    assert first.endswith("Z info    ostinato.access [req-0] POST /v1/classify 200 1.3 ms ann") and "[req-1]" in second
    record = logging.LogRecord("ostinato.access", logging.INFO, "", 1, "POST /v1/classify 200 1.3 ms ann", (), None)
    record.request_id = "req-0"
    assert telemetry.TextLines().format(record)[24:] == first[24:]


def test_lines_are_written_soon(output: io.StringIO, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(access_log, "SECONDS", 0.001)

    async def scenario() -> None:
        log = AccessLog()
        add(log)
        await until(lambda: output.getvalue() != "")
        add(log)  # a second batch has a timer of its own
        await until(lambda: output.getvalue().count("\n") == 2)

    asyncio.run(scenario())


def test_the_number_of_waiting_lines_is_bounded(output: io.StringIO) -> None:
    play(lambda log: add(log, access_log.MOST))
    assert output.getvalue().count("\n") == access_log.MOST


def test_levels_that_are_not_logged_are_dropped(output: io.StringIO) -> None:
    play(lambda log: (add(log, level=logging.DEBUG), log.write())[0])
    assert output.getvalue() == ""


def test_a_path_cannot_forge_a_line(output: io.StringIO) -> None:
    def story(log: AccessLog) -> None:
        log.add(logging.INFO, "req-1", "GET", "/a\nfake", 404, 1.0, "-")
        log.write()

    play(story)
    assert output.getvalue().count("\n") == 1 and "/a\\nfake" in output.getvalue()


def test_json_lines_have_the_fields_of_the_request(output: io.StringIO) -> None:
    logging.getLogger().handlers[0].setFormatter(telemetry.JsonLines("api"))
    play(lambda log: (add(log), log.write())[0])
    line = json.loads(output.getvalue())
    assert {name: line[name] for name in ("program", "request_id", "method", "path", "status", "ms", "by")} == {
        "program": "api", "request_id": "req-0", "method": "POST", "path": "/v1/classify", "status": 200, "ms": 1.26,
        "by": "ann",
    }  # fmt: skip
