"""Trains tokenizers. Training on the same texts in the same order yields the same tokenizer, byte for byte.

The texts are streamed, so they are read only once and not kept in memory.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator

import tokenizers
from tokenizers import decoders, models, pre_tokenizers, trainers

from app.errors import InvalidRequest
from app.tokenization.tokenizer import Tokenizer
from app.tokenization.vocabulary import SPECIALS, byte_characters

KINDS = ("bpe", "char", "byte")
SMALLEST = len(SPECIALS) + 256  # every byte has a token, so that every text can be encoded
SEEN_TWICE = 2  # a pair that occurs only once is not merged


def train(texts: Iterable[str], kind: str = "bpe", vocab_size: int = 8192) -> Tokenizer:
    """Train a tokenizer with at most `vocab_size` tokens. Every kind can encode every Unicode text without loss.

    - bpe: byte-level byte-pair encoding.
    - char: one token for each of the most frequent characters; all other characters are encoded as bytes.
    - byte: one token for each byte; `texts` is not read.

    Raises InvalidRequest if the kind is unknown, the vocabulary is too small for all bytes, or a text is not valid
    Unicode.
    """
    if kind not in KINDS:
        raise InvalidRequest(f"tokenizer {kind!r} is unknown; the tokenizers are {', '.join(KINDS)}", param="tokenizer")
    if vocab_size < SMALLEST:
        raise InvalidRequest(
            f"vocab_size must be at least {SMALLEST}, the number of special tokens and bytes", param="vocab_size"
        )
    if kind == "bpe":
        native = _train_bpe(_checked(texts), vocab_size)
    elif kind == "char":
        native = _train_char(_checked(texts), vocab_size)
    else:
        native = _byte()
    native.add_special_tokens(list(SPECIALS))
    return Tokenizer(native.to_str())


def _checked(texts: Iterable[str]) -> Iterator[str]:
    for number, text in enumerate(texts, start=1):
        try:
            text.encode()
        except UnicodeEncodeError:
            raise InvalidRequest(
                f"text {number} is not valid Unicode: it contains a lone surrogate", code="invalid_text"
            ) from None
        yield text


def _train_bpe(texts: Iterator[str], vocab_size: int) -> tokenizers.Tokenizer:
    native = tokenizers.Tokenizer(models.BPE())
    # The split pattern separates punctuation from letters, so no merge can ever form the name of a special token.
    native.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=True)
    native.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=vocab_size,
        min_frequency=SEEN_TWICE,
        special_tokens=list(SPECIALS),
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    native.train_from_iterator(texts, trainer=trainer)
    return native


def _train_char(texts: Iterator[str], vocab_size: int) -> tokenizers.Tokenizer:
    counts: Counter[str] = Counter()
    for text in texts:
        counts.update(text)
    by_frequency = sorted(counts, key=lambda character: (-counts[character], character))
    tokens = [*SPECIALS, *(f"<0x{byte:02X}>" for byte in range(256)), *by_frequency[: vocab_size - SMALLEST]]
    vocabulary = {token: i for i, token in enumerate(tokens)}
    native = tokenizers.Tokenizer(models.BPE(vocab=vocabulary, merges=[], byte_fallback=True))
    native.decoder = decoders.Sequence([decoders.ByteFallback(), decoders.Fuse()])
    return native


def _byte() -> tokenizers.Tokenizer:
    vocabulary = {token: i for i, token in enumerate([*SPECIALS, *byte_characters()])}
    native = tokenizers.Tokenizer(models.BPE(vocab=vocabulary, merges=[]))
    native.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    native.decoder = decoders.ByteLevel()
    return native
