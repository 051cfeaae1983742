from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from tokenizers import Tokenizer as Native
from tokenizers import models, normalizers, pre_tokenizers, processors

from app.errors import CheckpointInvalid, InvalidRequest
from app.tokenization.children import Children
from app.tokenization.definition import Definition
from app.tokenization.isolated import IsolatedTokenizer, load
from app.tokenization.tokenizer import Tokenizer
from tests.serving import byte_tokenizer


@pytest.fixture
def children() -> Iterator[Children]:
    children = Children()
    yield children
    children.close()


def bert() -> str:
    native = Native(models.WordPiece({"[UNK]": 0, "[CLS]": 1, "[SEP]": 2, "a": 3, "b": 4}, unk_token="[UNK]"))
    native.normalizer = normalizers.BertNormalizer()
    native.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    special = [("[CLS]", 1), ("[SEP]", 2)]
    native.post_processor = processors.TemplateProcessing("[CLS] $A [SEP]", "[CLS] $A [SEP] $B:1 [SEP]:1", special)
    return str(native.to_str())


def test_the_ids_are_those_of_the_tokenizer(children: Children, tmp_path: Path) -> None:
    (tmp_path / "tokenizer.json").write_text(bert())
    there, here = load(tmp_path, children), Tokenizer(bert())
    assert isinstance(there, IsolatedTokenizer)
    texts = ["a b", "", "b c", "é\0"]
    for special in (True, False):
        assert there.encode_batch(texts, special) == here.encode_batch(texts, special)
        assert there.encode_pair("a", "b", special) == here.encode_pair("a", "b", special)
    assert there.encode_within(6, "right", "a b a b", "b a") == here.encode_within(6, "right", "a b a b", "b a")
    assert there.encode_batch([]) == []
    assert there.decode(there.encode("a b")) == here.decode(here.encode("a b"))


def test_errors_of_texts_are_those_of_the_tokenizer(children: Children) -> None:
    there = IsolatedTokenizer(Definition(bert()), children)
    for text, code in (("a\ud800", "invalid_text"), ("a" * 200_000, "text_too_long")):
        with pytest.raises(InvalidRequest) as refusal:
            there.encode(text)
        assert refusal.value.code == code
    with pytest.raises(InvalidRequest, match="special tokens"):
        there.encode_within(1, "right", "a")
    assert there.encode("a") == [1, 3, 2]


def test_processes_keep_few_tokenizers_and_load_the_others_again(children: Children) -> None:
    definitions = [Definition(bert(), ({"number": number},)) for number in range(6)]
    tokenizers = [IsolatedTokenizer(definition, children) for definition in definitions]
    for tokenizer in tokenizers * 2:
        assert tokenizer.encode("a") == [1, 3, 2]


def test_a_tokenizer_trained_here_needs_no_process(children: Children, tmp_path: Path) -> None:
    byte_tokenizer().save(tmp_path)
    tokenizer = load(tmp_path, children)
    assert type(tokenizer) is Tokenizer
    assert tokenizer.quick


def test_an_invalid_tokenizer_is_refused(children: Children, tmp_path: Path) -> None:
    for content in ("{", '{"model": {"type": "WordPiece", "vocab": 1}}'):
        (tmp_path / "tokenizer.json").write_text(content)
        with pytest.raises(CheckpointInvalid) as refusal:
            load(tmp_path, children)
        assert refusal.value.param == "tokenizer.json"
