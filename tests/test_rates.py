"""The limiter of requests and tokens, with a clock of its own."""

from __future__ import annotations

import math
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.quotas import parse
from app.rates import REQUESTS, TOKENS, LargerThanQuota, RateLimited, Rates
from tests.clock import Clock

QUOTAS = parse("ann:tokens=90+requests=7,bob:tokens=90", ("ann", "bob", "eve"))


STEPS = st.lists(st.tuples(st.integers(0, 90), st.floats(0, 80), st.booleans()), max_size=60)


@given(STEPS)
def test_a_key_never_uses_more_than_its_quota_and_the_share_of_the_time(steps: list[tuple[int, float, bool]]) -> None:
    """In any period, a key takes at most its quota plus the tokens that are refilled during the period.

    A refused request succeeds after the time that the error states, and not a moment earlier.
    """
    clock = Clock()
    rates = Rates(QUOTAS, clock=clock)
    taken: list[tuple[float, int]] = []
    for amount, pause, wait in steps:
        try:
            rates.take("ann", TOKENS, amount)
        except RateLimited as refused:
            assert refused.retry_after is not None and 0 < refused.retry_after <= 60
            if not wait:
                continue
            clock.now += 0.99 * refused.retry_after
            with pytest.raises(RateLimited):
                rates.take("ann", TOKENS, amount)
            clock.now += 0.0100001 * refused.retry_after
            rates.take("ann", TOKENS, amount)
        taken.append((clock.now, amount))
        clock.now += pause
    for index, (start, _) in enumerate(taken):
        used = 0
        for end, amount in taken[index:]:
            used += amount
            assert used <= 90 + 90 * (end - start) / 60 + 1e-3
    assert rates.allowance("bob", TOKENS) is not None  # another key's quota is not affected
    rates.take("bob", TOKENS, 90)


@given(st.lists(st.tuples(st.integers(0, 90), st.floats(0, 1)), max_size=20))
def test_tokens_that_were_not_used_are_returned(steps: list[tuple[int, float]]) -> None:
    clock = Clock()
    rates, spent = Rates(QUOTAS, clock=clock), 0
    for reserved, share in steps:
        used = math.floor(reserved * share)
        if spent + reserved > 90:
            continue
        rates.take("ann", TOKENS, reserved)
        rates.give_back("ann", TOKENS, reserved - used)
        spent += used
        allowance = rates.allowance("ann", TOKENS)
        assert allowance is not None and allowance.left == 90 - spent


def test_a_request_that_exceeds_the_whole_quota_is_refused_for_good() -> None:
    rates = Rates(QUOTAS, clock=Clock())
    with pytest.raises(LargerThanQuota, match="up to 91 tokens") as refused:
        rates.take("ann", TOKENS, 91)
    assert not refused.value.retryable and refused.value.retry_after is None
    rates.take("ann", TOKENS, 90)


def test_keys_and_quotas_are_independent_and_others_are_unlimited() -> None:
    rates = Rates(QUOTAS, clock=Clock())
    rates.take("ann", TOKENS, 90)
    rates.take("ann", REQUESTS, 7)
    for key, name in (("eve", TOKENS), ("local", REQUESTS), ("bob", REQUESTS)):
        rates.take(key, name, 10**9)
        assert rates.allowance(key, name) is None
    with pytest.raises(RateLimited, match="'ann' has used up its quota of 7 requests per minute; try again in 9 s"):
        rates.take("ann", REQUESTS, 1)


def test_processes_share_the_levels_and_a_restart_keeps_them(tmp_path: Path) -> None:
    clock = Clock()
    first, second = (Rates(QUOTAS, tmp_path, clock) for _ in range(2))
    first.take("ann", TOKENS, 50)
    second.take("ann", TOKENS, 40)
    first.close()
    for rates in (second, Rates(QUOTAS, tmp_path, clock)):
        with pytest.raises(RateLimited):
            rates.take("ann", TOKENS, 1)
        rates.close()
    changed = Rates(parse("ann:tokens=91", ("ann",)), tmp_path, clock)
    changed.take("ann", TOKENS, 91)  # a changed quota starts from the beginning
    changed.close()


def test_a_folder_that_cannot_be_written_leads_to_counting_alone(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    rates = Rates(QUOTAS, tmp_path / "file", Clock())
    rates.take("ann", TOKENS, 90)
    with pytest.raises(RateLimited):
        rates.take("ann", TOKENS, 1)
