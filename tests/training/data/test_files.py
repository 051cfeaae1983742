"""Lines of a file: numbered, decoded, without the byte order mark."""

from __future__ import annotations

from pathlib import Path

from app.training.data.files import detect, lines
from tests.training.data.tables import write


def test_lines_are_numbered_from_1_without_the_byte_order_mark(tmp_path: Path) -> None:
    source = detect(write(tmp_path, "a.txt", b"\xef\xbb\xbfone\r\ntwo"), "a.txt")
    assert list(lines(source)) == [(1, "one\r\n"), (2, "two")]
