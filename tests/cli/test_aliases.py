"""`ostinato models alias` and `history`."""

from __future__ import annotations

from typing import Any

import pytest

from tests.cli.conftest import Run
from tests.cli.service import VERSION, Service, listed

ROOT = "/v1/registry/models"


def test_versions_and_alias_history_are_tables(service: Service, ostinato: Run) -> None:
    service.routes[f"GET {ROOT}/reviews/versions"] = listed(VERSION)
    assert "ready" in ostinato("models", "versions", "reviews").out
    move: dict[str, Any] = {"from_version": None, "to_version": 2, "principal": "ann", "created_at": 0}
    service.routes[f"GET {ROOT}/reviews/aliases/champion/history"] = listed(move)
    assert ostinato("models", "history", "reviews", "champion").out.splitlines()[1].split()[-4:] == [
        "-",
        "2",
        "-",
        "ann",
    ]
    move["abstention"] = {"abstain_below": 0.8, "max_risk": 0.05}
    service.routes[f"GET {ROOT}/reviews/aliases/champion/history"] = listed(move)
    assert "below 0.8, above risk 0.05" in ostinato("models", "history", "reviews", "champion").out


@pytest.mark.parametrize(
    ("options", "body"),
    [
        ([], {"version": 2}),  # `required` stays as it is
        (["--expected", "1", "--required"], {"version": 2, "required": True, "expected_version": 1}),
        (["--expected", "none", "--no-required"], {"version": 2, "required": False, "expected_version": None}),
        (["--max-risk", "0.05"], {"version": 2, "abstention": {"max_risk": 0.05}}),
        (["--abstain-below", "0.8"], {"version": 2, "abstention": {"abstain_below": 0.8}}),
        (["--always-answer"], {"version": 2, "abstention": None}),
    ],
)
def test_an_alias_is_moved_by_compare_and_set(
    service: Service, ostinato: Run, options: list[str], body: dict[str, Any]
) -> None:
    service.routes[f"PUT {ROOT}/reviews/aliases/champion"] = (200, {})
    done = ostinato("models", "alias", "reviews", "champion", "2", *options)
    assert done.out == "reviews@champion is reviews:2\n"
    assert service.requests[0].json == body


def test_limits_and_their_removal_contradict_each_other(service: Service, ostinato: Run) -> None:
    options = ["--always-answer", "--max-risk", "0.05"]
    refused = ostinato("models", "alias", "reviews", "champion", "2", *options)
    assert refused.status != 0 and "--always-answer removes the limits" in refused.err
