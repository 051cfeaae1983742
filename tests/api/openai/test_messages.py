"""The text of answers: the space with which the chat format begins each of them is left out."""

from __future__ import annotations

import pytest

from app.api.openai.messages import AnswerText
from app.inference.generation import Piece


@pytest.mark.parametrize(
    ("texts", "whole"),
    [([" Ho", " ha"], "Ho ha"), (["", " ", " ", "a"], " a"), (["Ho"], "Ho"), (["", "", ""], ""), (["\n a"], "\n a")],
)
def test_only_the_first_space_of_an_answer_is_left_out(texts: list[str], whole: str) -> None:
    read = AnswerText()
    pieces = [Piece(index, text) for text in texts for index in (0, 1)]
    parts = [(piece.index, read.read(piece)) for piece in pieces]
    for index in (0, 1):
        assert "".join(text for i, text in parts if i == index) == whole
    assert AnswerText().whole([Piece(0, text) for text in texts]) == whole
