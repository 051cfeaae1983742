"""A Keras Tokenizer splits texts into the same ids after its import. The expected ids were computed by Keras."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from app.checkpoint.tokenizer_rules import check
from app.errors import InvalidRequest
from app.importing.questions import Answers
from app.importing.vocabulary import tokenizer_of
from app.tokenization.definition import Definition

FILTERS = '!"#$%&()*+,-./:;<=>?@[\\]^_`{|}~\t\n'
INDEX = {"<OOV>": 1, "the": 2, "film": 3, "don't": 4, "é": 5, "rare": 6}


def saved(folder: Path, twice: bool = False, **changes: Any) -> Path:
    config = {
        "num_words": 6, "filters": FILTERS, "lower": True, "split": " ", "char_level": False, "oov_token": "<OOV>",
        "document_count": 4, "word_index": json.dumps(INDEX),
    }  # fmt: skip
    text = json.dumps({"class_name": "Tokenizer", "config": config | changes})
    (folder / "tokenizer.json").write_text(json.dumps(text) if twice else text)
    return folder / "tokenizer.json"


@pytest.mark.parametrize(
    ("changes", "text", "ids"),
    [
        ({}, "The FILM, don't\tthe-film  É rare!", [2, 3, 4, 2, 3, 5, 1]),
        ({"twice": True}, "new (film)", [1, 3]),
        ({"oov_token": None}, "the new rare film", [2, 3]),
        ({"num_words": None}, "the rare film", [2, 6, 3]),
        ({"lower": False, "filters": ""}, "The film, film", [1, 1, 3]),
        ({"filters": FILTERS}, "the\u00a0film the\rfilm", [1, 1]),  # Keras splits only at spaces
        ({"char_level": True, "word_index": '{"<OOV>": 1, "a": 2, " ": 3, "!": 4}'}, "A a!b", [2, 3, 2, 4, 1]),
    ],
)  # fmt: skip
def test_texts_become_the_ids_of_keras(changes: dict[str, Any], text: str, ids: list[int], tmp_path: Path) -> None:
    answers = Answers({})
    tokenizer = tokenizer_of(saved(tmp_path, **changes), 10, answers)
    tokenizer.save(tmp_path)
    check(Definition.read(tmp_path).parse())
    assert tokenizer.encode(text) == ids
    assert not answers.open and "Keras Tokenizer in tokenizer.json" in str(answers.assumed)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"split": "|"}, "must be a space"),
        ({"word_index": "{}"}, "has no words"),
        ({"word_index": '{"a": 0}'}, "different id of 1 or more"),
        ({"word_index": "{"}, "not valid JSON"),
        ({"oov_token": "<none>"}, "oov_token"),
        ({"num_words": None, "word_index": '{"<OOV>": 1, "a": 12}'}, "ids up to 12"),
    ],
)
def test_tokenizers_that_cannot_be_reproduced(changes: dict[str, Any], message: str, tmp_path: Path) -> None:
    with pytest.raises(InvalidRequest, match=message):
        tokenizer_of(saved(tmp_path, **changes), 10, Answers({}))
