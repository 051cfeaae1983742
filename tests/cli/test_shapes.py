"""The line that describes the size of a version."""

from __future__ import annotations

from app.cli.shapes import shape_of, used_fields

LINEAR = {
    "architecture": "linear", "layers": 2, "width": 256, "pooling": "mean", "tie_embeddings": True,
    "ngram_buckets": 65536, "ngram_characters": 5, "ngram_words": 2,
}  # fmt: skip


def test_a_linear_model_is_described_by_its_n_grams() -> None:
    assert shape_of(LINEAR) == "65,536 buckets, n-grams of 2 to 5 characters, n-grams of 1 to 2 words"
    assert shape_of(LINEAR | {"ngram_characters": 0, "ngram_words": 1}) == "65,536 buckets, single words"
    assert not {"layers", "width", "pooling", "tie_embeddings"} & used_fields(LINEAR).keys()


def test_a_network_is_described_by_its_size() -> None:
    network = LINEAR | {"architecture": "gru", "vocab_size": 900}
    assert shape_of(network) == "layers 2, width 256, vocab_size 900" and used_fields(network) == network
    assert shape_of({}) == ""
