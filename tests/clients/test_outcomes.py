"""The load generators of the acceptance checks record how each request ends."""

from __future__ import annotations

import httpx
import pytest

from benchmarks.service import Refused, outcome

POST = httpx.Request("POST", "http://service/v1/classify")
LOST = httpx.Response(503, headers={"x-error-code": "engine_lost"}, request=POST)


@pytest.mark.parametrize(
    ("error", "text"),
    [
        (httpx.ReadError("reset"), "connection"),
        (httpx.ReadTimeout("late"), "hangs"),
        (TimeoutError(), "hangs"),
        (httpx.HTTPStatusError("503", request=POST, response=LOST), "engine_lost"),
        (Refused("lost", "engine_lost"), "engine_lost"),
        (Refused("503 bad gateway", ""), "503 bad gateway"),
        (httpx.DecodingError("gzip"), "DecodingError: gzip"),
        (KeyError("choices"), "KeyError: 'choices'"),
        (AssertionError(), "AssertionError: "),
    ],
)
def test_every_end_of_a_request_is_recorded(error: Exception, text: str) -> None:
    def fail() -> None:
        raise error

    assert outcome(fail) == text


def test_a_request_with_a_result_is_ok() -> None:
    assert outcome(lambda: None) == "ok"
