"""The free memory is the smaller one of the machine's and the container's. If it is unknown, it counts as 0."""

from __future__ import annotations

from pathlib import Path

import pytest

from app.engine import headroom


@pytest.fixture(autouse=True)
def machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "meminfo").write_text("MemTotal:  8000 kB\nMemAvailable:  4000 kB\nHugePages_Total:  0\n")
    monkeypatch.setattr(headroom, "MEMINFO", tmp_path / "meminfo")
    monkeypatch.setattr(headroom, "GROUP", tmp_path)


def test_a_machine_has_the_memory_that_the_kernel_calls_available() -> None:
    assert headroom.free_memory() == 4000 * 1024


def test_a_container_has_no_more_than_its_limit(tmp_path: Path) -> None:
    (tmp_path / "memory.max").write_text("1000000\n")
    (tmp_path / "memory.current").write_text("900000\n")
    (tmp_path / "memory.stat").write_text("anon 5\ninactive_file 200000\nslab_reclaimable 1000\n")
    assert headroom.free_memory() == 301_000
    (tmp_path / "memory.max").write_text("max\n")
    assert headroom.free_memory() == 4000 * 1024


def test_unknown_memory_counts_as_none(tmp_path: Path) -> None:
    (tmp_path / "meminfo").write_text("")
    assert headroom.free_memory() == 0
    (tmp_path / "meminfo").unlink()
    assert headroom.free_memory() == 0
