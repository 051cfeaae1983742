"""The spool of a batch contains at most one answer to each request, even if its program was killed while writing."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.runs.batch_spool import Spool, SpoolReader

Answers = list[tuple[bool, bytes]]
LINES = st.lists(st.tuples(st.booleans(), st.binary(max_size=30).map(lambda b: b.replace(b"\n", b" "))), max_size=8)


def write(path: Path, answers: Answers, first: int = 0) -> None:
    with Spool(path) as spool:
        for index, (success, line) in enumerate(answers):
            if index >= first:
                spool.append(index, success, line)


@given(LINES, st.data())
def test_a_spool_that_ends_anywhere_is_continued(answers: Answers, data: st.DataObject) -> None:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "answers"
        write(path, answers)
        content = path.read_bytes()
        kept = content[: data.draw(st.integers(0, len(content)))]
        rest = data.draw(st.binary(max_size=20))
        path.write_bytes(kept + rest)
        with Spool(path) as spool:
            done = spool.answered_indices
            assert done == set(range(len(done))) and len(done) >= kept.count(b"\n")
            for index, (success, line) in enumerate(answers):
                if index not in done:
                    spool.append(index, success, line)
        reader = SpoolReader(path).read()
        assert list(reader.in_order(len(answers))) == answers
        assert (reader.completed, reader.failed) == (sum(s for s, _ in answers), sum(not s for s, _ in answers))
        assert path.read_bytes() == content


def test_a_reader_follows_a_growing_spool(tmp_path: Path) -> None:
    path = tmp_path / "answers"
    reader = SpoolReader(path)
    assert reader.read().answers == {} and list(reader.in_order(2)) == [None, None]
    with Spool(path) as spool:
        spool.append(1, True, b"one")
        assert list(reader.read().in_order(2)) == [None, (True, b"one")]
        with path.open("ab") as file:  # a record that is still being written
            file.write(b"00000000 0 1")
        assert reader.read().completed == 1


def test_a_request_is_not_answered_twice(tmp_path: Path) -> None:
    with Spool(tmp_path / "answers") as spool:
        spool.append(0, True, b"first")
        with pytest.raises(AssertionError):
            spool.append(0, True, b"second")
        with pytest.raises(AssertionError):
            spool.append(1, True, b"two\nlines")


def test_a_spool_is_closed_even_if_its_answers_cannot_be_stored(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    files: list[int] = []

    def fail(file: int) -> None:
        files.append(file)
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", fail)
    with pytest.raises(OSError, match="No space left"), Spool(tmp_path / "answers"):
        pass
    with pytest.raises(OSError, match="Bad file descriptor"):
        os.fstat(files[0])
