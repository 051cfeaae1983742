"""The input file of a batch: which lines are requests, and which errors are reported."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from app.runs import batch_input
from app.runs.batch_input import LineError
from tests.jobs.batch_fixtures import ENDPOINT, line_of


def check(path: Path, text: str | bytes) -> list[LineError]:
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return batch_input.check(path, ENDPOINT).errors


def test_requests_keep_their_bodies_and_line_numbers(tmp_path: Path) -> None:
    path = tmp_path / "requests"
    text = "\ufeff" + line_of(1, {"input": "Ä"}) + "\n  \n" + line_of(2, {"input": [1.5]}).rstrip()
    assert check(path, text) == [] and batch_input.check(path, ENDPOINT).total == 2
    read = [
        (r.line, r.position, r.request.custom_id, json.loads(bytes(r.request.body))) for r in batch_input.requests(path)
    ]
    assert read == [(1, 0, "r1", {"input": "Ä"}), (4, 1, "r2", {"input": [1.5]})]


@pytest.mark.parametrize(
    "line, code, param",
    [
        ("{", "invalid_json_line", None),
        (b"\xff\xfe", "invalid_json_line", None),
        ("[1]", "invalid_request", None),
        (line_of(2, {}, url="/v1/completions"), "invalid_url", "url"),
        (line_of(2, {}, method="GET"), "invalid_method", "method"),
        (line_of(2, {}, custom_id=""), "invalid_request", "custom_id"),
        (line_of(2, {}, custom_id="x" * 513), "invalid_request", "custom_id"),
        (line_of(2, {}, custom_id=7), "invalid_request", "custom_id"),
        (line_of(1, {}), "duplicate_custom_id", "custom_id"),
        (line_of(2, {}, priority=1), "unknown_field", "priority"),
        (line_of(2, "text"), "invalid_request", "body"),
        ('{"custom_id": "r2", "method": "POST", "url": "/v1/embeddings"}', "missing_required_parameter", "body"),
    ],
)
def test_each_fault_is_reported_with_its_line(tmp_path: Path, line: Any, code: str, param: str | None) -> None:
    text = line if isinstance(line, bytes) else line.encode()
    [error] = check(tmp_path / "requests", line_of(1, {}).encode() + text)
    assert (error.code, error.param, error.line) == (code, param, 2) and error.message


@pytest.mark.parametrize(
    "line, message",
    [
        (line_of(1, {}), "line 1 has the same custom_id, 'r1'; each line needs a unique one"),
        ("{", "; each line must be one JSON object"),
        ('{"custom_id": "r2"}', "method is missing; a line has the fields custom_id, method, url and body"),
        (line_of(2, {}, custom_id=7), "custom_id must be a string of 1 to 512 characters"),
        (line_of(2, {}, custom_id=""), "custom_id must be a string of 1 to 512 characters"),
        (line_of(2, {}, url=None), "url must be a string"),
        ("[1]", "the line must be a JSON object, not an array"),
        ("7", "the line must be a JSON object, not a number"),
    ],
)
def test_an_error_says_what_would_be_right(tmp_path: Path, line: str, message: str) -> None:
    [error] = check(tmp_path / "requests", line_of(1, {}) + line)
    assert message in error.message


@pytest.mark.parametrize("name", ["é" * 10_000, "` - at `$.x" * 1000, "missing required field" * 1000])
def test_errors_quote_the_beginning_of_a_long_name(tmp_path: Path, name: str) -> None:
    [error] = check(tmp_path / "requests", line_of(1, {}, **{name: 1}))
    assert len(error.message) < 600 and len(error.param or "") <= 60


def test_an_empty_file_and_too_many_requests_are_errors(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "requests"
    assert [error.code for error in check(path, "\n \n")] == ["empty_file"]
    monkeypatch.setattr(batch_input, "MOST_REQUESTS", 2)
    assert check(path, "".join(line_of(i, {}) for i in range(2))) == []
    assert [error.code for error in check(path, "".join(line_of(i, {}) for i in range(3)))] == ["too_many_requests"]


def test_the_number_of_errors_and_the_length_of_a_line_are_bounded(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "requests"
    assert len(check(path, "{\n" * 200)) == batch_input.MOST_ERRORS
    monkeypatch.setattr(batch_input, "MOST_LINE", 200)
    assert [e.code for e in check(path, line_of(1, {}) + line_of(2, "x" * 200) + "{")] == ["line_too_long"]


def test_a_blank_line_that_is_too_long_is_an_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(batch_input, "MOST_LINE", 200)
    content = line_of(1, {}) + " " * 300 + "\n" + line_of(2, {})
    errors = check(tmp_path / "requests", content)
    assert [(error.code, error.line) for error in errors] == [("line_too_long", 2)]
