"""The size and the training of the n-gram branch depend on the numbers of rows and tokens."""

from __future__ import annotations

import pytest

from app.training.ngram_recipe import LEAST_BUCKETS, TABLE_BYTES, ngrams


@pytest.mark.parametrize("outputs", [1, 2, 7, 60, 5_000])
@pytest.mark.parametrize(("rows", "tokens"), [(2, 10), (200, 5_000), (20_000, 2_000_000), (2_000_000, 100_000_000)])
def test_the_table_is_a_power_of_two_within_its_limit(rows: int, tokens: int, outputs: int) -> None:
    recipe = ngrams(rows, tokens, outputs, "bpe")
    assert recipe.buckets.bit_count() == 1
    assert recipe.buckets == LEAST_BUCKETS or 4 * recipe.buckets * (outputs + 1) <= TABLE_BYTES


def test_more_text_gets_more_buckets_and_more_rows_fewer_passes() -> None:
    small, large = ngrams(500, 10_000, 2, "bpe"), ngrams(500_000, 10_000_000, 2, "bpe")
    assert small.buckets < large.buckets
    assert small.epochs > large.epochs >= 1
    assert small.batch_size < large.batch_size


def test_few_rows_get_more_and_larger_steps() -> None:
    few, some, many = (ngrams(rows, 10_000, 3, "bpe") for rows in (200, 500, 1_000))
    assert few.epochs > some.epochs > many.epochs and few.epochs <= 2 * many.epochs
    assert few.learning_rate > some.learning_rate > many.learning_rate
    assert few.buckets > many.buckets


def test_a_character_is_a_token_of_its_own() -> None:
    assert ngrams(500, 40_000, 2, "char").buckets == ngrams(500, 10_000, 2, "bpe").buckets
