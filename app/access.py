"""Parses and checks the settings that control access to the API, and the networks that webhooks may be sent to."""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Collection
from ipaddress import IPv4Network, IPv6Network

from app.errors import InvalidRequest

PREFIX = "OSTINATO_"  # the prefix of every setting's environment variable
INFER, TRAIN, REGISTRY, OPERATOR = "infer", "train", "registry", "operator"
SCOPES = (INFER, TRAIN, REGISTRY, OPERATOR)  # the scope operator includes all others
SECRET_SETTINGS = ("api_keys", "api_key", "database_url", "storage_url")  # settings whose values are never displayed
IPNetwork = IPv4Network | IPv6Network
NAME_LIMIT = 128  # the maximum length of the name of a key, in characters
ORIGIN = re.compile(r"https?://[^/\s,?#@]+")


class SettingError(InvalidRequest):
    """A setting is unknown, or its value is not valid."""

    code = "invalid_setting"


def key_pairs(text: str) -> list[tuple[str, str]]:
    """Parse the setting `api_keys` into (name, secret) pairs. Raises SettingError if the setting is invalid."""
    pairs: list[tuple[str, str]] = []
    for part in filter(None, (p.strip() for p in text.split(","))):
        name, separator, secret = part.partition(":")
        if not (separator and name and len(secret) >= 8):
            raise SettingError(f"{PREFIX}API_KEYS must be name:secret pairs with secrets of at least 8 characters")
        if len(name) > NAME_LIMIT:
            raise SettingError(f"{PREFIX}API_KEYS: the name {name[:20]!r}... is longer than {NAME_LIMIT} characters")
        if name == "local":  # the principal of every request if no keys are configured
            raise SettingError(f"{PREFIX}API_KEYS: the name 'local' is reserved; choose another name")
        if any(secret == earlier for _, earlier in pairs):
            raise SettingError(f"{PREFIX}API_KEYS contains the same secret twice; each key needs its own secret")
        pairs.append((name, secret))
    return pairs


def key_scopes(text: str, names: Collection[str]) -> dict[str, frozenset[str]]:
    """Parse the setting `key_scopes`, such as `ann:infer+train,ops:operator`, into a set of scopes for each key.

    `names` are the names of the keys. Without the setting, every key has all scopes. Raises SettingError for an unknown
    name or scope, a name that occurs twice, or a missing key.
    """
    if not text:
        return {name: frozenset(SCOPES) for name in names}
    granted: dict[str, frozenset[str]] = {}
    for part in filter(None, (p.strip() for p in text.split(","))):
        name, _, scopes = part.rpartition(":")
        if name not in names or name in granted:
            problem = "occurs twice" if name in granted else f"is not the name of a key in {PREFIX}API_KEYS"
            raise SettingError(f"{PREFIX}KEY_SCOPES: {name!r} {problem}; list each key once")
        granted[name] = frozenset(scopes.split("+"))
        if unknown := sorted(granted[name] - set(SCOPES)):
            raise SettingError(f"{PREFIX}KEY_SCOPES: {unknown[0]!r} is not a scope; use {', '.join(SCOPES)}")
    if missing := sorted(set(names) - set(granted)):
        raise SettingError(f"{PREFIX}KEY_SCOPES has no entry for the key {missing[0]!r}; add {missing[0]}:infer")
    return granted


def origins(text: str, has_keys: bool) -> tuple[str, ...]:
    """Parse the setting `allowed_origins`. Raises SettingError for a malformed origin, or for `*` without API keys."""
    parts = tuple(filter(None, (part.strip() for part in text.split(","))))
    for origin in parts:
        if origin == "*" and not has_keys:
            raise SettingError(
                f"{PREFIX}ALLOWED_ORIGINS can be * only if {PREFIX}API_KEYS is set; list the origins instead"
            )
        if origin != "*" and not ORIGIN.fullmatch(origin):
            raise SettingError(
                f"{PREFIX}ALLOWED_ORIGINS: {origin!r} is not an origin; it must look like https://my.site or "
                "http://localhost:3000, without a path"
            )
    return parts


def networks(text: str) -> tuple[IPNetwork, ...]:
    """Parse the setting `webhook_networks`. Raises SettingError for a malformed network."""
    parts = filter(None, (part.strip() for part in text.split(",")))
    try:
        return tuple(map(ipaddress.ip_network, parts))
    except ValueError as error:
        message = f"{PREFIX}WEBHOOK_NETWORKS: {error}; it must look like 10.1.0.0/16,127.0.0.1"
        raise SettingError(message) from None
