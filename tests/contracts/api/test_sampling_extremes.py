"""SEC-19: the smallest and largest values of the sampling options are answered with finite figures."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from tests.api.real import Real

EXTREMES: list[dict[str, Any]] = [
    {"repetition_penalty": 1e-300},
    {"repetition_penalty": 5e-324, "temperature": 0},
    {"repetition_penalty": 5e-324, "temperature": 1e-300},
    {"repetition_penalty": 100},
    {"temperature": 1e-300},
    {"temperature": 100},
    {"top_p": 5e-324},
    {"min_p": 1},
    {"presence_penalty": 2, "frequency_penalty": 2, "repetition_penalty": 1e-300},
    {"logit_bias": {"1": 100, "2": -100}, "repetition_penalty": 1e-300},
]


@pytest.mark.parametrize("options", EXTREMES, ids=str)
def test_extreme_options_are_answered(real: Real, options: dict[str, Any]) -> None:
    real.serve("weaver", "transformer")
    body = {"model": "weaver", "prompt": "once upon", "max_tokens": 8, "seed": 1, "logprobs": 2, "ignore_eos": True}
    with real.api.client() as client:
        reply = client.post("/v1/completions", json=body | options)
    assert reply.status_code == 200, reply.text
    logprobs = reply.json()["choices"][0]["logprobs"]
    assert len(logprobs["tokens"]) == 8
    assert all(math.isfinite(value) and value <= 0 for value in logprobs["token_logprobs"])
