"""Rows with values that cannot be encoded in a reply are found and repaired."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import update

from app.db.tables import VersionRow
from app.registry.records import Version
from app.registry.service import Registry
from tests.checkpoints import make_checkpoint, publish

DAMAGED: dict[str, Any] = {"per_class": {"\ud800": {"f1": 0.5}}, "loss": 10**400}


@pytest.fixture
def version(registry: Registry, tmp_path: Path) -> Version:
    """A version with damaged metrics, which an early release might have stored."""
    version = publish(registry, make_checkpoint(tmp_path / "checkpoint"), owner="alice", metrics={"loss": 1.0})
    with registry.database.transaction() as session:
        session.execute(update(VersionRow).values(metrics=DAMAGED))
    return version


def test_a_check_names_the_damaged_column(registry: Registry, version: Version) -> None:
    report = registry.fsck()
    assert not report.ok
    assert report.damaged == [f"{version.ref} metrics"]


def test_a_repair_mends_the_column_and_nothing_else(registry: Registry, version: Version) -> None:
    report = registry.fsck(mend=True)
    assert report.ok
    assert report.mended == [f"{version.ref} metrics"]
    mended = registry.get("mood", 1, "alice")
    assert mended.metrics == {"per_class": {"\ufffd": {"f1": 0.5}}, "loss": None}
    assert (mended.config, mended.files) == (version.config, version.files)
    assert registry.fsck(mend=True).mended == []


def test_damaged_metrics_can_be_searched_and_compared(registry: Registry, version: Version) -> None:
    from app.registry.search import Filter

    assert registry.search("alice", Filter(metric="loss")).items == []
    assert registry.compare([version.ref], "alice").figures["loss"] == [None]
