import math
from collections import Counter, defaultdict

import numpy as np
import pytest

from app.training.baseline import language
from app.training.baseline.language import UNSEEN, NgramModel, order_for

TEXT = "the cat sat on the mat and the dog sat on the log while the cat and the dog ran on and on " * 3 + "zyx"


def _points(text: str) -> np.ndarray:
    return np.asarray([ord(c) for c in text], dtype=np.int64)


def _by_definition(train: str, text: str, order: int) -> list[float]:
    """The bits of each character, computed by equations 24 to 26 of Chen and Goodman with dictionaries."""
    counts: list[Counter[str]] = [Counter()] * (order + 1)
    counts[order] = Counter(train[i : i + order] for i in range(len(train) - order + 1))
    for n in range(order - 1, 0, -1):
        counts[n] = Counter(gram[1:] for gram in counts[n + 1])

    def discounts(n: int) -> list[float]:
        of = Counter(counts[n].values())
        n1, n2, n3, n4 = (of[k] for k in (1, 2, 3, 4))
        if not (n1 and n2 and n3 and n4):
            return [0.0, 0.5, 0.75, 0.75]
        y = n1 / (n1 + 2 * n2)
        raw = [1 - 2 * y * n2 / n1, 2 - 3 * y * n3 / n2, 3 - 4 * y * n4 / n3]
        return [0.0, *(min(max(d, 0.1), most) for d, most in zip(raw, (0.9, 1.8, 2.7), strict=True))]

    discount = [discounts(n) if n else [] for n in range(order + 1)]
    by_context: list[dict[str, list[str]]] = [defaultdict(list) for _ in range(order + 1)]
    for n in range(1, order + 1):
        for gram in counts[n]:
            by_context[n][gram[:-1]].append(gram)

    def probability(n: int, context: str, symbol: str) -> float:
        if n == 0:
            return 1 / (len(set(train)) + 1)
        shorter = probability(n - 1, context[1:], symbol)
        grams = by_context[n].get(context)
        if not grams:
            return shorter
        total = sum(counts[n][gram] for gram in grams)
        count = counts[n].get(context + symbol, 0)
        left = sum(discount[n][min(counts[n][gram], 3)] for gram in grams)
        return (count - discount[n][min(count, 3)]) / total + left / total * shorter

    bits = []
    for at, symbol in enumerate(text):
        n = min(order, at + 1)
        value = -math.log2(probability(n, text[at - n + 1 : at], symbol))
        bits.append(value if symbol in train else value + math.log2(UNSEEN))
    return bits


@pytest.mark.parametrize("block", [7, 1 << 18])
def test_bits_follow_the_definition(block: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(language, "_BLOCK", block)
    held_out = "the dog sat on the cat, quickly and on the mat"
    model = NgramModel(_points(TEXT))
    assert model.order == 8
    np.testing.assert_allclose(model.bits(_points(held_out), 0), _by_definition(TEXT, held_out, model.order))


def test_a_context_is_read_but_not_measured() -> None:
    model = NgramModel(_points(TEXT))
    whole = model.bits(_points("the cat sat"), 0)
    np.testing.assert_array_equal(model.bits(_points("the cat sat"), 4), whole[4:])


def test_n_grams_of_a_large_alphabet_are_shorter() -> None:
    assert [order_for(size) for size in (2, 100, 255, 4000, 60_000, 2**31)] == [8, 8, 7, 5, 3, 1]


@pytest.mark.parametrize("text", ["a", "ab", "aaaa"])
def test_a_tiny_text_gives_finite_bits(text: str) -> None:
    model = NgramModel(_points(text))
    assert np.isfinite(model.bits(_points("abcabc"), 0)).all()


def test_probabilities_sum_to_one() -> None:
    model = NgramModel(_points(TEXT))
    alphabet = sorted(set(TEXT))
    for context in ("the ca", "zzz", "on and "):
        sums = sum(2.0 ** -model.bits(_points(context + symbol), len(context))[0] for symbol in alphabet)
        unseen = 2.0 ** -(model.bits(_points(f"{context}é"), len(context))[0] - math.log2(UNSEEN))
        assert sums + unseen == pytest.approx(1.0)
