"""The quotas of API keys, and the parser for the `key_quotas` setting."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, field, fields
from types import MappingProxyType

from app.access import PREFIX, SettingError

DEFAULT = "*"  # means every key that the setting does not list
AMOUNT = re.compile(r"(0|[1-9][0-9]{0,15})(KiB|MiB|GiB|TiB)?")
UNITS = {"": 1, "KiB": 2**10, "MiB": 2**20, "GiB": 2**30, "TiB": 2**40}


@dataclass(frozen=True, slots=True, kw_only=True)
class Quota:
    """The quota of one key. None means that there is no limit.

    `requests` and `tokens` are per minute. `bytes` is the size of all stored objects. `queued` and `running` are the
    numbers of jobs in these states. `priority` is the highest priority of a job. `processor_seconds` is the processor
    time that an attempt at a training job or an evaluation may use.
    """

    requests: int | None = None
    tokens: int | None = None
    bytes: int | None = None
    queued: int | None = None
    running: int | None = None
    priority: int | None = None
    processor_seconds: int | None = None


UNLIMITED = Quota()
NAMES = tuple(each.name for each in fields(Quota))


@dataclass(frozen=True, slots=True)
class Quotas:
    """The quota of each key, by name. Names without an entry are not limited."""

    of_keys: Mapping[str, Quota] = field(default_factory=lambda: MappingProxyType({}))

    def of(self, key: str) -> Quota:
        """The quota of a key. A name that does not belong to a key is not limited."""
        return self.of_keys.get(key, UNLIMITED)

    def limited(self, name: str) -> dict[str, int]:
        """The keys for which the quota `name` is set, with their limits."""
        limits = {key: getattr(quota, name) for key, quota in self.of_keys.items()}
        return {key: limit for key, limit in limits.items() if limit is not None}


NO_QUOTAS = Quotas()


def parse(text: str, names: Collection[str]) -> Quotas:
    """Parse the setting `key_quotas`, such as `ann:requests=60+bytes=10GiB,*:tokens=100000`.

    `names` are the names of the keys. Raises SettingError for an unknown key or quota, or an invalid amount.
    """
    if text and not names:
        raise SettingError(f"{_SETTING} applies to API keys, but {PREFIX}API_KEYS is not set")
    by_key: dict[str, Quota] = {}
    for part in filter(None, (p.strip() for p in text.split(","))):
        key, separator, amounts = part.rpartition(":")
        if not separator or key in by_key or key not in (*names, DEFAULT):
            problem = "occurs twice" if key in by_key else f"is not the name of a key in {PREFIX}API_KEYS"
            raise SettingError(f"{_SETTING}: {(key or part)!r} {problem}; write name:requests=60+tokens=100000")
        by_key[key] = Quota(**dict(_amounts(key, amounts)))
    default = by_key.pop(DEFAULT, UNLIMITED)
    return Quotas(MappingProxyType({name: by_key.get(name, default) for name in names}))


def _amounts(key: str, text: str) -> Iterator[tuple[str, int]]:
    for part in filter(None, text.split("+")):
        name, _, amount = part.partition("=")
        if name not in NAMES:
            raise SettingError(f"{_SETTING}: {name!r} is not a quota; use {', '.join(NAMES)}")
        match = AMOUNT.fullmatch(amount)
        if match is None or (match[2] and name != "bytes") or (match[1] == "0" and name != "priority"):
            raise SettingError(
                f"{_SETTING}: {part!r} of the key {key!r} is not valid; an amount must be a whole number above 0 (a "
                "priority may be 0), and an amount of bytes may have the unit KiB, MiB, GiB or TiB"
            )
        yield name, int(match[1]) * UNITS[match[2] or ""]


_SETTING = f"{PREFIX}KEY_QUOTAS"
