"""A network computes n-grams from the same bytes as those of the text."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from app.tokenization import training
from app.tokenization.pieces import SEPARATOR, pieces

TOKENIZERS = {kind: training.train(["some text", "more text"], kind, 300) for kind in training.KINDS}


@given(text=st.text(max_size=30), kind=st.sampled_from(training.KINDS))
def test_the_pieces_of_a_text_are_its_bytes(text: str, kind: str) -> None:
    tokenizer = TOKENIZERS[kind]
    table = pieces(tokenizer)
    assert b"".join(table[id_] for id_ in tokenizer.encode(text)) == text.encode()


def test_two_texts_are_separated_and_other_special_tokens_add_nothing() -> None:
    for tokenizer in TOKENIZERS.values():
        table = pieces(tokenizer)
        assert b"".join(table[id_] for id_ in tokenizer.encode_pair("one", "two")) == b"one" + SEPARATOR + b"two"
        assert tokenizer.eos_id is not None
        assert table[tokenizer.eos_id] == b""
