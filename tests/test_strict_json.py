"""Strict JSON rejects only values that cannot be sent. Repaired values are accepted."""

from __future__ import annotations

import json
import time
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.strict_json import DEPTH, LARGEST, SMALLEST, JsonInvalid, check, mend, parse

ANY = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(st.characters()),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(st.characters()), inner),
    max_leaves=20,
)


@pytest.mark.parametrize(
    ("content", "problem"),
    [
        (rb'"\ud800"', "lone surrogate"),
        (rb'{"\udfff": 1}', "lone surrogate"),
        (rb'["\ud800\ud800\udc00"]', "lone surrogate"),
        (b"9223372036854775808", "-2^63"),
        (b"-9223372036854775809", "-2^63"),
        (b"1" + b"0" * 400, "-2^63"),
        (b"1e400", "too large"),
        (b"NaN", "NaN"),
        (b"[Infinity]", "Infinity"),
        (b'{"a": 1, "a": 2}', "twice"),
        (b"[" * (DEPTH + 1) + b"]" * (DEPTH + 1), "levels"),
        (b'{"a":' * 100_000 + b"1" + b"}" * 100_000, "levels"),
        (b"[" + b"0," * 2**20 + b"0]", "values"),
        (b'"\xed\xa0\x80"', "utf-8"),
        (b"[1,]", "Expecting value"),
        (b"", "Expecting value"),
    ],
)
def test_what_cannot_be_sent_is_refused(content: bytes, problem: str) -> None:
    with pytest.raises(JsonInvalid, match=problem.replace("^", r"\^")):
        parse(content)


@pytest.mark.parametrize("value", [SMALLEST, LARGEST, "𝄞\u0000", {"a": [1.5, None, True]}, -0.0])
def test_what_can_be_sent_is_kept(value: Any) -> None:
    assert parse(json.dumps(value).encode()) == value
    assert mend(value) == value


def test_the_deepest_value_is_accepted() -> None:
    assert parse(b"[" * DEPTH + b"]" * DEPTH) == mend(parse(b"[" * DEPTH + b"]" * DEPTH))


@given(value=ANY)
def test_mended_values_are_accepted_and_can_be_sent(value: Any) -> None:
    mended = mend(value)
    check(mended)
    assert mend(mended) == mended
    assert parse(msgspec.json.encode(mended)) == mended


@given(value=ANY)
def test_a_check_agrees_with_the_parser(value: Any) -> None:
    def accepts(function: Any, argument: Any) -> bool:
        try:
            function(argument)
        except JsonInvalid:
            return False
        return True

    assert accepts(check, value) == accepts(parse, json.dumps(value).encode())


def test_long_numbers_are_refused_without_converting_them() -> None:
    before = time.process_time()
    with pytest.raises(JsonInvalid):
        parse(b"[" + b"9" * 2**22 + b"]")
    assert time.process_time() - before < 1.0
