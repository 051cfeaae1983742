"""The settings that control access to the API. tests/test_settings.py tests keys."""

from __future__ import annotations

import pytest

from app import settings as settings_
from app.settings import SettingError

KEY = "0123456789abcdef"


@pytest.mark.parametrize("value", ["my.site", "https://my.site/page", "ftp://my.site", "https://a.b https://c.d", "*"])
def test_what_is_no_origin_stops_the_start(value: str) -> None:
    with pytest.raises(SettingError, match="OSTINATO_ALLOWED_ORIGINS"):
        settings_.load({"OSTINATO_ALLOWED_ORIGINS": value})


def test_every_page_is_allowed_only_with_keys() -> None:
    loaded = settings_.load({"OSTINATO_ALLOWED_ORIGINS": "*", "OSTINATO_API_KEYS": f"ann:{KEY}"})
    assert loaded.origins == ("*",)


def test_without_scopes_every_key_may_do_everything() -> None:
    loaded = settings_.load({"OSTINATO_API_KEYS": f"ann:{KEY}"})
    assert loaded.scopes == {"ann": frozenset(("infer", "train", "registry", "operator"))}


def test_scopes_are_granted_by_the_name_of_the_key() -> None:
    keys = {"OSTINATO_API_KEYS": f"ann:{KEY},ops:{KEY}2"}
    loaded = settings_.load({**keys, "OSTINATO_KEY_SCOPES": "ann:infer+train, ops:operator"})
    assert loaded.scopes == {"ann": {"infer", "train"}, "ops": {"operator"}}


@pytest.mark.parametrize("value", ["ann", "ann:", "ann:all", "bob:infer", "ann:infer,ann:train", "ops:operator"])
def test_invalid_scopes_stop_the_start(value: str) -> None:
    keys = {"OSTINATO_API_KEYS": f"ann:{KEY},ops:{KEY}2"}
    with pytest.raises(SettingError, match="OSTINATO_KEY_SCOPES"):
        settings_.load({**keys, "OSTINATO_KEY_SCOPES": value})
