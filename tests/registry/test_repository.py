"""The cost of reading pages of models and versions. Other tests check the content of these pages."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from app.registry import alias_repository
from app.registry.records import Alias
from app.registry.search import Filter
from app.registry.service import Registry
from tests.checkpoints import make_checkpoint, publish


class CountedAlias(Alias):
    """An alias that counts how often the fields of all aliases are read."""

    reads = 0

    def __getattribute__(self, name: str) -> Any:
        CountedAlias.reads += 1
        return super().__getattribute__(name)


@pytest.mark.parametrize(
    "load",
    [
        lambda registry, limit: registry.catalog("alice", limit=limit),
        lambda registry, limit: registry.list("alice", limit=limit),
        lambda registry, limit: registry.search("alice", Filter(), limit=limit),
    ],
    ids=["catalog", "models", "search"],
)
def test_aliases_are_matched_in_proportion_to_their_number(
    registry: Registry, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, load: Callable[[Registry, int], object]
) -> None:
    """Four times as many models with an alias need four times as many reads, not sixteen times."""
    convert = alias_repository.make_alias

    def count(row: Any) -> Alias:
        alias = convert(row)
        return CountedAlias(
            model=alias.model,
            alias=alias.alias,
            version=alias.version,
            required=alias.required,
            updated_at=alias.updated_at,
        )

    for number in range(16):
        publish(registry, make_checkpoint(tmp_path / "c"), name=f"m{number:02}", alias="champion")
    monkeypatch.setattr(alias_repository, "make_alias", count)
    reads = []
    for limit in (4, 16):
        CountedAlias.reads = 0
        load(registry, limit)
        reads.append(CountedAlias.reads)
    assert reads[0] > 0 and reads[1] <= 5 * reads[0]
