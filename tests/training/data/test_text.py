"""Plain text is cut at places that depend only on its characters, and at which tokenizers also split."""

from __future__ import annotations

import tempfile
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from app.tokenization.training import train
from app.training.data import files
from app.training.data import text as text_file
from app.training.data.detection import detect
from tests.training import runs
from tests.training.data.tables import detected, remarks_of, write


@settings(max_examples=50)
@given(st.text(alphabet="ab  \n\t.é", max_size=400), st.integers(4, 40), st.integers(3, 60), st.integers(0, 400))
def test_the_cuts_do_not_depend_on_how_the_file_is_read(text: str, piece: int, block: int, cut: int) -> None:
    with tempfile.TemporaryDirectory() as folder, pytest.MonkeyPatch.context() as patch:
        source = detect(write(Path(folder), "a.txt", "x" + text), "a.txt")
        patch.setattr(text_file, "PIECE", piece)
        whole = list(text_file.pieces(source))
        patch.setattr(files, "_BLOCK", block)
        assert list(text_file.pieces(source)) == whole
        assert "".join(whole) == "x" + text and all(len(part) <= piece + 1 for part in whole)
        parts = [*text_file.span(source, 0, cut), *text_file.span(source, cut, len(text) + 1)]
        assert "".join(parts) == "x" + text


def test_pieces_have_the_tokens_of_the_whole_text(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Pieces end where byte-pair encoding also splits, so the cuts do not change tokens."""
    text = "".join(f"{a}, said the {b} one:\n\n  don't\t{n}!  " for n, (a, b) in enumerate(runs.sentences(300)))
    tokenizer = train([text], "bpe", 600)
    monkeypatch.setattr(text_file, "PIECE", 100)
    pieces = list(text_file.pieces(detect(write(tmp_path, "a.txt", text), "a.txt")))
    assert len(pieces) > 100
    assert [id_ for ids in tokenizer.encode_batch(pieces) for id_ in ids] == tokenizer.encode(text)
    glued = detect(write(tmp_path, "b.txt", text.replace("\n", " ").replace("  ", " ")), "b.txt")
    assert max(map(len, text_file.pieces(glued))) <= 102


@pytest.mark.parametrize("block", [1 << 16, 3, 2])
def test_line_ends_of_windows_become_line_feeds(block: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(files, "_BLOCK", block)
    source = detected(write(tmp_path, "a.txt", "one\r\ntwo\r\r\nthree\r\n\r\nend\r"))
    assert "".join(text_file.pieces(source)) == "one\ntwo\r\nthree\n\nend\r"
    assert text_file.length(source) == 20 and "read as LF" in remarks_of(source)["line_ends"]
