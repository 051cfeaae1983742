from __future__ import annotations

import json
import logging

from app.telemetry import JsonLines, TextLines, _Subject, about, request_id


def record(message: str, **extra: object) -> logging.LogRecord:
    found = logging.LogRecord("room", logging.INFO, __file__, 1, message, (), None)
    found.__dict__ |= extra
    return found


def test_text_lines_cannot_be_forged() -> None:
    line = TextLines().format(record("one\n2026 error fake \x1b[31m red"))
    assert "\n" not in line and "\x1b" not in line and "one\\n2026" in line


def test_a_subject_is_told_within_its_block_alone() -> None:
    def said() -> dict[str, object]:
        entry = record("x")
        _Subject().filter(entry)
        return json.loads(JsonLines("worker").format(entry))

    with about("req-1", "ftjob-1"):
        assert (said()["request_id"], said()["job_id"]) == ("req-1", "ftjob-1")
        with about("req-2"):
            assert said()["request_id"] == "req-2" and "job_id" not in said()
        entry = record("x")
        _Subject().filter(entry)
        assert "[req-1 ftjob-1] x" in TextLines().format(entry)
    assert "request_id" not in said() and "job_id" not in said()


def test_json_lines_carry_the_request() -> None:
    token = request_id.set("req-1")
    try:
        entry = record("hello\nworld", data={"status": 200})
        _Subject().filter(entry)
    finally:
        request_id.reset(token)
    text = JsonLines("api").format(entry)
    assert "\n" not in text
    said = json.loads(text)
    assert (said["request_id"], said["program"], said["status"], said["message"]) == (
        "req-1",
        "api",
        200,
        "hello\nworld",
    )
