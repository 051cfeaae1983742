"""The bytes that each token adds to a text. A network computes n-grams from these bytes."""

from __future__ import annotations

from app.tokenization.tokenizer import Tokenizer

SEPARATOR = b" \0 "  # word n-grams do not span it, and no single text contains a character n-gram that does


def pieces(tokenizer: Tokenizer) -> list[bytes]:
    """Return the bytes of each token, by id. Special tokens have no bytes, except for the separator of two texts.

    Supports only tokenizers whose `token_bytes` is not None.
    """
    assert tokenizer.token_bytes is not None
    shown = [b"" if i in tokenizer.hidden_ids else piece for i, piece in enumerate(tokenizer.token_bytes)]
    if tokenizer.sep_id is not None:
        shown[tokenizer.sep_id] = SEPARATOR
    return shown
