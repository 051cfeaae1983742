"""Previews of uploaded files: which content the preview program receives, and how its failures are reported."""

from __future__ import annotations

import gzip
import os
import sys
from pathlib import Path

import msgspec
import pytest

from app.errors import EngineFailed, InvalidRequest, NotFound, Overloaded
from app.files import preview
from app.files.preview import Previews
from app.files.service import Files
from app.wire.preview import Preview

# A program that shows the content which it gets, as one line.
ECHO = "import json, sys; text = open(sys.argv[1], 'rb').read().decode('latin-1'); "
ECHO += "print(json.dumps(dict(format=sys.argv[3], columns=None, rows=[], lines=[text])))"
LONG = b"".join(b"line %d\n" % n for n in range(9))


def previews(files: Files, folder: Path, script: str = ECHO) -> Previews:
    return Previews(files, folder / "previews", (sys.executable, "-c", script))


def upload(files: Files, name: str, content: bytes) -> str:
    return files.create("ann", name, "fine-tune", iter([content[:7], content[7:]])).id


@pytest.mark.parametrize("packed", [False, True])
def test_only_the_beginning_of_a_text_is_read(
    files: Files, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, packed: bool
) -> None:
    monkeypatch.setattr(preview, "HEAD", 20)
    content = gzip.compress(LONG) if packed else LONG
    id_ = upload(files, "a.csv.gz" if packed else "a.csv", content)
    left = tmp_path / "previews" / "of-a-killed-process"
    left.mkdir(parents=True)
    os.utime(left, (0, 0))
    assert previews(files, tmp_path).preview(id_, "ann") == Preview("csv", None, [], ["line 0\nline 1\n".strip()])
    monkeypatch.setattr(preview, "HEAD", 1000)
    assert previews(files, tmp_path).preview(id_, "ann").lines == [LONG.decode()]
    assert list((tmp_path / "previews").iterdir()) == []


def test_all_members_of_a_gzip_file_are_read(files: Files, tmp_path: Path) -> None:
    packed = gzip.compress(b"text,label\n") + b"\0" * 9 + gzip.compress(b"") + gzip.compress(b"a,b\n") + b"\0" * 512
    id_ = upload(files, "a.csv.gz", packed)
    assert previews(files, tmp_path).preview(id_, "ann").lines == ["text,label\na,b\n"]


def test_damaged_gzip_data_has_no_preview(files: Files, tmp_path: Path) -> None:
    for number, content in enumerate((b"\x1f\x8bgarbage", gzip.compress(LONG)[:-9] + b"x" * 99)):
        id_ = upload(files, f"{number}.csv.gz", content)
        with pytest.raises(InvalidRequest, match="gzip data is damaged") as caught:
            previews(files, tmp_path).preview(id_, "ann")
        assert caught.value.code == "no_preview"


def test_the_name_of_a_file_may_begin_with_a_hyphen(files: Files, tmp_path: Path) -> None:
    id_ = upload(files, "--help", b"text,label\na,b\n")
    assert Previews(files, tmp_path / "previews").preview(id_, "ann").format == "csv"


def test_a_binary_file_is_read_as_a_whole_up_to_a_limit(
    files: Files, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(preview, "HEAD", 3)
    id_ = upload(files, "a.parquet", b"PAR1 and much more")
    assert previews(files, tmp_path).preview(id_, "ann").lines == ["PAR1 and much more"]
    monkeypatch.setattr(preview, "LARGEST", 5)
    with pytest.raises(InvalidRequest, match="larger than") as caught:
        previews(files, tmp_path).preview(id_, "ann")
    assert caught.value.code == "no_preview"


def test_failures_of_the_program_are_reported(files: Files, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    id_ = upload(files, "a.csv", LONG)
    monkeypatch.setattr(preview, "SECONDS", 0.3)
    with pytest.raises(InvalidRequest, match="takes too long"):
        previews(files, tmp_path, "import time; time.sleep(60)").preview(id_, "ann")
    monkeypatch.setattr(preview, "SECONDS", 20.0)
    with pytest.raises(InvalidRequest, match="too much memory"):
        previews(files, tmp_path, "raise MemoryError").preview(id_, "ann")
    with pytest.raises(EngineFailed):
        previews(files, tmp_path, "print('nonsense')").preview(id_, "ann")
    monkeypatch.setattr(preview, "WAIT_SECONDS", 0.01)
    busy = previews(files, tmp_path)
    with busy._turn, pytest.raises(Overloaded) as caught:
        busy.preview(id_, "ann")
    assert caught.value.code == "preview_busy"
    with pytest.raises(NotFound):
        previews(files, tmp_path).preview(id_, "bob")
    assert msgspec.json.encode(previews(files, tmp_path).preview(id_, "ann"))
