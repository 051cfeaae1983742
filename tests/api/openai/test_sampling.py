"""The description of the sampling fields in the OpenAPI document."""

from __future__ import annotations

import re

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from app.api.openai.sampling import ID_KEYS

MOST = 2**31 - 1


@given(st.integers(0, 2**33))
@example(0)
@example(MOST)
@example(MOST + 1)
def test_the_keys_of_logit_bias_are_all_token_ids(number: int) -> None:
    assert bool(re.search(ID_KEYS["propertyNames"]["pattern"], str(number))) == (number <= MOST)


@pytest.mark.parametrize("digit", range(10))
def test_every_digit_of_the_keys_is_limited(digit: int) -> None:
    """Tests numbers that differ from the largest token id in one digit."""
    for place in range(10):
        number = str(MOST)[:place] + str(digit) + str(MOST)[place + 1 :]
        matches = re.search(ID_KEYS["propertyNames"]["pattern"], number) is not None
        assert matches == (number[0] != "0" and int(number) <= MOST), number


@pytest.mark.parametrize("key", ["", "01", "-1", "1.0", "a", "21474836470", "12 "])
def test_other_keys_are_no_token_ids(key: str) -> None:
    assert re.search(ID_KEYS["propertyNames"]["pattern"], key) is None
