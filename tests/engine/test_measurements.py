"""Measurements are stored by key. A file that is damaged or cannot be written does not cause an error."""

from __future__ import annotations

from pathlib import Path

import msgspec
import pytest

from app.engine import measurements
from app.engine.measurements import Measurements


class Weight(msgspec.Struct, frozen=True):
    """A measurement."""

    kilograms: float


def test_a_measurement_is_read_by_another_process(tmp_path: Path) -> None:
    Measurements(tmp_path / "m").save("stone", Weight(2.0))
    assert Measurements(tmp_path / "m").load("stone", Weight) == Weight(2.0)
    assert Measurements(tmp_path / "m").load("feather", Weight) is None
    assert (tmp_path / "m").stat().st_mode & 0o077 == 0


def test_nothing_is_stored_without_a_folder() -> None:
    Measurements(None).save("stone", Weight(2.0))
    assert Measurements(None).load("stone", Weight) is None


@pytest.mark.parametrize("content", [b"", b"{", b'{"kilograms": "heavy"}', b"\xff\x00", b"[" * 100_000])
def test_a_damaged_file_counts_as_missing(tmp_path: Path, content: bytes) -> None:
    stored = Measurements(tmp_path)
    stored.save("stone", Weight(2.0))
    next(tmp_path.iterdir()).write_bytes(content)
    assert stored.load("stone", Weight) is None
    stored.save("stone", Weight(3.0))
    assert stored.load("stone", Weight) == Weight(3.0)


def test_a_folder_that_cannot_be_written_is_reported(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    (tmp_path / "file").write_text("")
    Measurements(tmp_path / "file" / "m").save("stone", Weight(2.0))
    assert "could not be stored" in caplog.text


def test_the_oldest_measurements_are_removed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(measurements, "FILES", 3)
    for i in range(6):
        Measurements(tmp_path).save(str(i), Weight(i))
    assert len(list(tmp_path.iterdir())) == 3
