"""The setting for quotas."""

from __future__ import annotations

import pytest

from app import settings as settings_
from app.quotas import Quota
from app.settings import SettingError

KEYS = {"OSTINATO_API_KEYS": "ann:0123456789abcdef,bob:0123456789abcdeg,ops:0123456789abcdeh"}


def test_quotas_are_given_by_key_and_a_star_stands_for_the_others() -> None:
    text = "ann:requests=60+bytes=10GiB+priority=0+processor_seconds=9, *:tokens=1000+queued=3+running=1,ops:"
    quotas = settings_.load({**KEYS, "OSTINATO_KEY_QUOTAS": text}).quotas
    assert quotas.of("ann") == Quota(requests=60, bytes=10 * 2**30, priority=0, processor_seconds=9)
    assert quotas.of("bob") == Quota(tokens=1000, queued=3, running=1)
    assert quotas.of("ops") == quotas.of("local") == Quota()
    assert quotas.limited("tokens") == {"bob": 1000}


@pytest.mark.parametrize(
    "value",
    [
        "ann", "eve:requests=1", "ann:requests", "ann:requests=0", "ann:requests=-1", "ann:requests=1.5", "ann:speed=1",
        "ann:requests=1KiB", "ann:bytes=1GB", "ann:requests=1,ann:tokens=1", "ann:requests=99999999999999999999",
    ],
)  # fmt: skip
def test_invalid_quotas_stop_the_start(value: str) -> None:
    with pytest.raises(SettingError, match="OSTINATO_KEY_QUOTAS"):
        settings_.load({**KEYS, "OSTINATO_KEY_QUOTAS": value})


def test_quotas_need_keys() -> None:
    with pytest.raises(SettingError, match="OSTINATO_KEY_QUOTAS"):
        settings_.load({"OSTINATO_KEY_QUOTAS": "*:requests=1"})
