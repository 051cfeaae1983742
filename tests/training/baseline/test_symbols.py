import numpy as np

from app.tokenization import training
from app.tokenization.tokenizer import Tokenizer
from app.training.baseline.symbols import Symbols
from app.training.baseline.texts import Texts
from app.training.prepare.dataset import Rows, Stream

TEXTS = ["ein Bär im Wald", "日本語", "two words"]


def _tokenizer(kind: str = "byte") -> Tokenizer:
    return training.train(iter(TEXTS), kind, 300)


def _rows(sequences: list[list[int]], learned: list[list[int]] | None = None) -> Rows:
    offsets = np.cumsum([0, *map(len, sequences)])
    mask = np.asarray([bit for row in learned or [] for bit in row], dtype=np.uint8)
    return Rows(np.asarray([i for ids in sequences for i in ids], dtype=np.int32), offsets, np.zeros(0), mask)


def _points(text: str) -> list[int]:
    return [ord(c) for c in text]


def test_tokens_become_the_texts_again() -> None:
    for kind in ("byte", "char", "bpe"):
        tokenizer = _tokenizer(kind)
        rows = _rows(tokenizer.encode_batch(TEXTS))
        texts = Texts(tokenizer)
        assert texts.of_rows(rows, np.asarray([2, 0])) == [TEXTS[2], TEXTS[0]]
        assert texts.sizes(rows).tolist() == [len(text.encode()) for text in TEXTS]


def test_the_separator_of_a_pair_becomes_a_space() -> None:
    tokenizer = _tokenizer()
    assert Texts(tokenizer).decode(tokenizer.encode_pair("one", "two")) == "one two"


def test_a_stream_has_characters_and_end_tokens() -> None:
    tokenizer = _tokenizer()
    assert tokenizer.eos_id is not None
    end = -1 - tokenizer.eos_id
    ids = [tokenizer.eos_id, *tokenizer.encode("Bär"), tokenizer.eos_id, *tokenizer.encode("日")]
    text = Symbols(tokenizer).of_stream(Stream(np.asarray(ids, dtype=np.int32), 4, context=1))
    assert text.symbols_T.tolist() == [end, *_points("Bär"), end, *_points("日")]
    assert text.measured_T.tolist() == [False, *[True] * 5]


def test_of_a_long_stream_the_end_is_kept() -> None:
    tokenizer = _tokenizer()
    stream = Stream(np.asarray(tokenizer.encode("abcdef"), dtype=np.int32), 6)
    assert Symbols(tokenizer).of_stream(stream, 2).symbols_T.tolist() == _points("ef")


def test_only_the_learned_part_of_completions_is_measured() -> None:
    tokenizer = _tokenizer()
    assert tokenizer.eos_id is not None
    prompt, answer = tokenizer.encode("Wo? "), [*tokenizer.encode("Bär"), tokenizer.eos_id]
    rows = _rows([[*prompt, *answer]] * 2, [[0] * len(prompt) + [1] * len(answer)] * 2)
    text = Symbols(tokenizer).of_completions(rows, 100)
    one = [*_points("Wo? Bär"), -1 - tokenizer.eos_id]
    assert text.symbols_T.tolist() == one * 2
    assert text.measured_T.tolist() == ([False] * 4 + [True] * 4) * 2
    assert len(Symbols(tokenizer).of_completions(rows, 100, most=12).symbols_T) == len(one)
