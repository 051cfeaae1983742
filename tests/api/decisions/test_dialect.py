"""The errors of `/v1/systemone`."""

from __future__ import annotations

import pytest

from app.api.decisions.dialect import DECISIONS, SYSTEM_ONE, render_error
from app.errors import InvalidRequest, Overloaded


def test_an_error_says_where_the_request_is_wrong() -> None:
    status, body = render_error(InvalidRequest("no", code="unknown_label", param="questions.tone.criteria"))
    fault = {"loc": ["body", "questions", "tone", "criteria"], "msg": "no", "type": "unknown_label"}
    assert (status, body) == (422, {"error": "no", "detail": [fault]})
    _, body = render_error(InvalidRequest("no", param="state[12].x"))
    assert body["detail"][0]["loc"] == ["body", "state", 12, "x"]
    assert render_error(Overloaded("no"))[0] == 429


@pytest.mark.parametrize(("path", "claimed"), [("/v1/systemone", True), ("/v1/decisions", False), ("/v1", False)])
def test_only_systemone_has_errors_of_its_own(path: str, claimed: bool) -> None:
    assert SYSTEM_ONE.claims("POST", path) is claimed and not DECISIONS.claims("POST", path)
