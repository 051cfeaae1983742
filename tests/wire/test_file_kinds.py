"""Files are recognised by their first bytes, and tables whose first column has a similar name are not."""

from __future__ import annotations

import bz2
import gzip

import pytest

from app.wire.file_kinds import kind_of_upload


@pytest.mark.parametrize(
    "start", [b"ORCID,text,label\n1,a,b\n", b"BZhang,text\n1,a\n", b"ARROW1,label\n", b"MZ,ID3\n1,2\n"]
)
def test_a_table_with_such_a_column_is_training_data(start: bytes) -> None:
    assert kind_of_upload(start) is None
    assert kind_of_upload(gzip.compress(start)) is None


@pytest.mark.parametrize(
    ("start", "kind"),
    [
        (b"ORC\x08\x03\x10\x00", "an ORC file"),
        (bz2.compress(b"text,label\n"), "compressed with bzip2"),
        (b"ARROW1\x00\x00\xff\xff", "an Arrow (Feather) file"),
    ],
)
def test_a_binary_file_is_recognised(start: bytes, kind: str) -> None:
    assert str(kind_of_upload(start)).startswith(kind)
