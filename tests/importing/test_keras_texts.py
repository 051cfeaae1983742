"""A Keras Tokenizer splits texts into the same ids after its import. The expected ids were computed by Keras."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import tokenizers

from app.checkpoint.tokenizer_rules import check
from app.errors import InvalidRequest
from app.importing.questions import Answers
from app.importing.splitting import add_splitting
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
        ({"filters": ["-", "!", "-"]}, "don't-film !", [4, 3]),
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
        ({"num_words": None, "word_index": json.dumps({"<OOV>": 1, "a": 2**40})}, "ids up to 1099511627776"),
        ({"num_words": "200"}, "num_words='200'; it must be an integer or null"),
        ({"oov_token": []}, r"oov_token='\[\]'; it must be a string or null"),
        ({"filters": ["ab"]}, "filters=.*it must be a string, a list of single characters, or null"),
        ({"filters": 3}, "filters=3; it must be a string"),
        ({"filters": "".join(map(chr, range(300, 400)))}, "more than 62 characters in its filters"),
        ({"lower": "yes"}, "lower='yes'; it must be true or false"),
        ({"char_level": 1}, "char_level=1; it must be true or false"),
    ],
)
def test_tokenizers_that_cannot_be_reproduced(changes: dict[str, Any], message: str, tmp_path: Path) -> None:
    with pytest.raises(InvalidRequest, match=message):
        tokenizer_of(saved(tmp_path, **changes), 10, Answers({}))


def test_words_that_our_lowercasing_never_writes(tmp_path: Path) -> None:
    """Python lowercases a final Σ to ς; the tokenizers library to σ. The import says so, and nothing else changes."""
    index = json.dumps({"<OOV>": 1, "οδος": 2, "the": 3})
    answers = Answers({})
    tokenizer = tokenizer_of(saved(tmp_path, word_index=index), 10, answers)
    assert tokenizer.encode("οδος ΟΔΟΣ The") == [2, 1, 3] and "capital Σ" in answers.assumed[-1]
    tokenizer_of(saved(tmp_path, word_index=index, lower=False), 10, answers)
    assert "Σ" not in answers.assumed[-1]
    words = ["ένας", "the"]
    answers = Answers({"split": "whitespace", "lowercase": "yes", "unknown": "skip"})
    add_splitting(tokenizers.Tokenizer(tokenizers.models.WordLevel({}, "x")), words, answers)
    assert "capital Σ" in answers.assumed[-1]
