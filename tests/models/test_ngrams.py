"""For any batch and tokenization, the n-gram branch has the same features as a simple computation with strings."""

from __future__ import annotations

import itertools
import math
import re
from collections import Counter

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from models.config import ModelConfig
from models.ngrams import DocumentFrequencies, Ngrams
from models.tasks import build

BUCKETS = 2**20  # so many that n-grams of short texts almost never share a bucket
CONFIG = ModelConfig(
    architecture="linear", task="classification", classes=3, vocab_size=256, ngram_buckets=BUCKETS, ngram_characters=4,
    ngram_words=3,
)  # fmt: skip
BYTES = [bytes([i]) for i in range(256)]
texts = st.lists(st.text(st.sampled_from("abAB é\t\n.,!7_中\u0130"), max_size=12), min_size=1, max_size=4)


@pytest.fixture(scope="module")
def branch() -> Ngrams:
    torch.manual_seed(0)
    ngrams = Ngrams(CONFIG).eval()
    for parameter in ngrams.parameters():
        parameter.requires_grad_(False).normal_()
    ngrams.idf.abs_().add_(0.5)
    ngrams.bind_tokens(BYTES)
    return ngrams


def ids_of(rows: list[bytes]) -> tuple[Tensor, Tensor]:
    lengths = [len(row) for row in rows]
    ids_BT = torch.randint(256, (len(rows), max(lengths, default=0)))  # padding is random
    for i, row in enumerate(rows):
        ids_BT[i, : len(row)] = torch.tensor(list(row))
    return ids_BT, torch.tensor(lengths)


def plain_ngrams(text: str) -> tuple[Counter[str], Counter[str]]:
    """Count the n-grams of characters and those of words, as strings."""
    spaced = f" {' '.join(text.lower().split())} "
    characters = Counter(
        spaced[i : i + size] for size in range(2, CONFIG.ngram_characters + 1) for i in range(len(spaced) - size + 1)
    )
    words = re.findall(r"\w+", spaced)
    sequences = Counter(
        " ".join(words[i : i + size]) for size in range(1, CONFIG.ngram_words + 1) for i in range(len(words) - size + 1)
    )
    return characters, sequences


@settings(max_examples=150)
@given(rows=texts)
def test_the_counts_are_those_of_strings(rows: list[str], branch: Ngrams) -> None:
    rows_N, buckets_N, counts_N = branch.count(*ids_of([row.encode() for row in rows]))
    counted: list[tuple[dict[int, int], dict[int, int]]] = [({}, {}) for _ in rows]
    for row, bucket, count in zip(rows_N.tolist(), buckets_N.tolist(), counts_N.tolist(), strict=True):
        counted[row][bucket >= BUCKETS // 2][bucket] = count
    expected = [plain_ngrams(row) for row in rows]
    for counters, buckets in zip(expected, counted, strict=True):
        for strings, hashed in zip(counters, buckets, strict=True):
            assert sorted(strings.values()) == sorted(hashed.values())
    for one, two in itertools.combinations(range(len(rows)), 2):
        for family in (0, 1):  # two texts share as many buckets as n-grams
            assert len(expected[one][family] & expected[two][family]) == len(
                counted[one][family].keys() & counted[two][family].keys()
            )


@settings(max_examples=60)
@given(rows=texts)
def test_scores_do_not_depend_on_the_batch(rows: list[str], branch: Ngrams) -> None:
    encoded = [row.encode() for row in rows]
    together_BC = branch(*ids_of(encoded))
    for row, scores_C in zip(encoded, together_BC, strict=True):
        assert torch.equal(branch(*ids_of([row]))[0], scores_C)


def test_another_tokenization_gives_the_same_scores(branch: Ngrams) -> None:
    longer = Ngrams(CONFIG).eval()
    longer.load_state_dict(branch.state_dict())
    longer.bind_tokens([b"caf", b"\xc3", b"\xa9 au", b" lait"])
    scores_1C = longer(torch.tensor([[0, 1, 2, 3]]), torch.tensor([4]))
    assert torch.equal(scores_1C, branch(*ids_of(["café au lait".encode()])))


def test_weights_are_tf_idf_and_each_family_has_norm_1(branch: Ngrams) -> None:
    ids_BT, lengths_B = ids_of([b"the cat sat on the cat", b"x"])
    rows_N, buckets_N, counts_N = branch.count(ids_BT, lengths_B)
    weights = [
        (1 + math.log(count)) * float(branch.idf[bucket]) for count, bucket in zip(counts_N, buckets_N, strict=True)
    ]
    expected_BC = branch.bias.repeat(2, 1)
    for row, family in itertools.product(range(2), range(2)):
        chosen = [i for i in range(len(weights)) if rows_N[i] == row and (buckets_N[i] >= BUCKETS // 2) == family]
        norm = math.sqrt(sum(weights[i] ** 2 for i in chosen))
        for i in chosen:
            expected_BC[row] += weights[i] / norm * branch.weight[buckets_N[i]]
    torch.testing.assert_close(branch(ids_BT, lengths_B), expected_BC, atol=1e-5, rtol=1e-5)


def test_rows_without_text_have_the_scores_of_the_bias(branch: Ngrams) -> None:
    scores_BC = branch(*ids_of([b"", b"   "]))
    assert scores_BC.isfinite().all()


def test_long_batches_are_counted_in_chunks(branch: Ngrams, monkeypatch: pytest.MonkeyPatch) -> None:
    rows = [b"some words here", b"others", b"and some more words", b""]
    expected_BC = branch(*ids_of(rows))
    monkeypatch.setattr("models.ngrams._CHUNK", 10)
    assert torch.equal(branch(*ids_of(rows)), expected_BC)


def test_document_frequencies_count_rows(branch: Ngrams) -> None:
    ngrams = Ngrams(CONFIG)
    ngrams.bind_tokens(BYTES)
    frequencies = DocumentFrequencies(ngrams)
    frequencies.add(*ids_of([b"cat cat", b"cat dog"]))
    frequencies.add(*ids_of([b"bird"]))
    with torch.no_grad():
        frequencies.apply()
    _, buckets_N, _ = ngrams.count(*ids_of([b"cat", b"bird"]))
    values = sorted({round(float(ngrams.idf[bucket]), 4) for bucket in buckets_N})
    assert values == [round(math.log(4 / 3) + 1, 4), round(math.log(4 / 2) + 1, 4)]


def test_the_document_frequencies_stay_on_the_host() -> None:
    ngrams = Ngrams(CONFIG)
    with torch.no_grad():
        ngrams.idf.normal_()
    expected_N = ngrams.idf.detach().bfloat16()
    ngrams.to("meta", torch.bfloat16)
    assert ngrams.weight.device.type == ngrams.bias.device.type == "meta"
    assert torch.equal(ngrams.idf, expected_N) and not ngrams.idf.requires_grad
    assert list(dict(ngrams.named_parameters())) == ["weight", "bias", "idf"]


def test_tokens_must_be_bound_first() -> None:
    network = build(CONFIG)
    with pytest.raises(RuntimeError, match="bind_tokens"):
        network(torch.tensor([[1]]), torch.tensor([1]))


@pytest.mark.parametrize(
    ("changes", "field"),
    [
        ({"ngram_buckets": 0}, "ngram_buckets"),
        ({"ngram_buckets": 100}, "ngram_buckets"),
        ({"ngram_buckets": 8}, "ngram_buckets"),
        ({"ngram_characters": 1, "ngram_words": 0}, "ngram_words"),
        ({"ngram_characters": 9}, "ngram_characters"),
        ({"ngram_words": 9}, "ngram_words"),
        ({"input": "features", "features": 2}, "ngram_buckets"),
    ],
)
def test_configurations_that_no_branch_can_have_are_refused(changes: dict[str, object], field: str) -> None:
    with pytest.raises(ValueError, match=f"^{field}:"):
        ModelConfig.from_dict(CONFIG.to_dict() | changes)
