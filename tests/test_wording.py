"""Numbers with their nouns."""

from __future__ import annotations

from app.wording import counted


def test_one_is_singular() -> None:
    assert [counted(n, "row") for n in (0, 1, 2, 12_000)] == ["0 rows", "1 row", "2 rows", "12,000 rows"]
