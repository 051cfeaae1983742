"""Every architecture has a recipe for every task. The recipe depends on the amount of data."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import pytest

from app.training.recipes import LEAST_STEPS, Recipe, generation, is_pretrained, pretrained, rows, tokenizer
from app.wire.training_options import TrainingOptions
from app.wire.training_rules import RANGES, WORDS
from models.choices import ARCHITECTURES, NETWORKS, RECURRENT
from models.config import ModelConfig

TARGETS = ("classification", "multilabel", "regression")
SIZES = [(1, 0), (30, 600), (5_000, 100_000), (200_000, 50_000_000), (5_000_000, 10**10)]  # rows, tokens


def check(recipe: Recipe) -> None:
    """Check that each value of the recipe could also be set in a request."""
    for field in ("layers", "width", "heads", "dropout", "learning_rate", "batch_size", "epochs", "weight_decay"):
        assert RANGES[field].complaint(getattr(recipe, field)) is None, (field, recipe)
    for field in ("optimizer", "schedule", "pooling"):
        assert getattr(recipe, field) in WORDS[field]


def network(recipe: Recipe, architecture: str, task: str, **sizes: int | str) -> ModelConfig:
    return ModelConfig(
        architecture=architecture, task=task, layers=recipe.layers, width=recipe.width, heads=recipe.heads,
        input_width=recipe.input_width, dropout=recipe.dropout, bidirectional=recipe.bidirectional,
        pooling=recipe.pooling, classes=0 if task == "generation" else 1, **sizes,
    )  # type: ignore[arg-type]  # fmt: skip


@pytest.mark.parametrize("architecture", NETWORKS)
@pytest.mark.parametrize(("count", "tokens"), SIZES)
def test_every_network_has_a_recipe_for_every_task(architecture: str, count: int, tokens: int) -> None:
    for task in TARGETS:
        for features in (False, True):
            recipe = rows(architecture, task, count, tokens, features)
            check(recipe)
            size = {"input": "features", "features": 3} if features else {"vocab_size": 300}
            network(recipe, architecture, task, **size)  # type: ignore[arg-type]
            steps = recipe.epochs * -(-count // recipe.batch_size)
            assert steps >= LEAST_STEPS or count > 5_000 or tokens > 10**6
    recipe = generation(architecture, tokens)
    check(recipe)
    network(recipe, architecture, "generation", vocab_size=300)


@pytest.mark.parametrize(("count", "tokens"), SIZES)
def test_the_linear_model_has_no_network(count: int, tokens: int) -> None:
    recipe = rows("linear", "classification", count, tokens, features=False)
    check(recipe)
    assert (recipe.layers, recipe.width, recipe.dropout) == (1, 1, 0.0)


def test_an_architecture_without_a_recipe_is_refused() -> None:
    for call in (
        lambda: rows("no-such-network", "classification", 100, 1000, features=False),
        lambda: rows("no-such-network", "regression", 100, 1000, features=True),
        lambda: generation("no-such-network", 1000),
        lambda: generation("linear", 1000),
    ):
        with pytest.raises(NotImplementedError, match=r"has no recipe; .* app/training/recipes\.py"):
            call()


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_more_rows_get_fewer_epochs(architecture: str) -> None:
    epochs = [rows(architecture, "classification", n, 20 * n, features=False).epochs for n in (100, 10_000, 1_000_000)]
    assert epochs == sorted(epochs, reverse=True) and epochs[0] > epochs[-1] >= 1


@pytest.mark.parametrize("architecture", NETWORKS)
def test_labels_are_smoothed_and_values_are_not(architecture: str) -> None:
    classes, values = (rows(architecture, t, 1000, 20_000, features=False) for t in ("classification", "regression"))
    assert classes.label_smoothing > 0 == values.label_smoothing
    assert replace(classes, label_smoothing=0.0) == values


@pytest.mark.parametrize("architecture", RECURRENT)
def test_recurrent_networks_read_rows_in_both_directions_and_streams_in_one(architecture: str) -> None:
    assert rows(architecture, "classification", 1000, 20_000, features=False).bidirectional
    assert not generation(architecture, 10_000).bidirectional


def large(width: int = 384, layers: int = 6, **fields: Any) -> ModelConfig:
    """The configuration of a version that is as large as imported ones."""
    values = {"architecture": "transformer", "task": "embedding", "vocab_size": 300, "heads": 4, "norm": "layer"}
    return ModelConfig(**(values | {"width": width, "layers": layers} | fields))


def test_a_large_transformer_is_fine_tuned_with_small_steps() -> None:
    new = rows("transformer", "classification", 5_000, 100_000, features=False)
    tuned = pretrained(new, large(), 5_000, 100_000)
    check(tuned)
    assert tuned.learning_rate == pytest.approx(1e-4) and tuned.head_rate > 1 and tuned.patience == 0
    assert pretrained(new, large(768), 5_000, 100_000).learning_rate == pytest.approx(5e-5)
    assert tuned.batch_size == new.batch_size and tuned.epochs == 3


def test_few_rows_need_more_epochs_and_many_tokens_fewer() -> None:
    epochs = []
    for count in (1, 50, 500, 5_000, 50_000, 5_000_000):
        tokens = 30 * count
        recipe = pretrained(rows("transformer", "regression", count, tokens, features=False), large(), count, tokens)
        epochs.append(recipe.epochs)
    assert epochs == sorted(epochs, reverse=True) and epochs[-1] == 1
    assert epochs[1] * math.ceil(50 / 16) >= LEAST_STEPS
    one_text = pretrained(generation("transformer", 10_000), large(task="generation"), 0, 10_000)
    assert one_text.optimizer == "adamw" and one_text.epochs == 2


def test_small_and_recurrent_networks_are_not_pretrained() -> None:
    assert is_pretrained(large()) and is_pretrained(large(256, 4))
    assert not is_pretrained(large(128, 2))
    assert not is_pretrained(ModelConfig(architecture="lstm", task="generation", vocab_size=300, width=1024))
    assert not is_pretrained(
        ModelConfig(
            architecture="linear", task="regression", vocab_size=300, classes=1, ngram_buckets=2**20, ngram_words=1
        )
    )


def test_tokenizers_follow_the_text() -> None:
    default = TrainingOptions()
    assert tokenizer("generation", 1000, 0, default) == ("bpe", 512)
    assert tokenizer("generation", 10**9, 0, default) == ("bpe", 4096)
    assert tokenizer("classification", 10**9, 0, default) == ("bpe", 8192)
    assert tokenizer("generation", 1000, 400, default) == ("char", 8192)
    assert tokenizer("generation", 1000, 400, TrainingOptions(tokenizer="bpe", vocab_size=300)) == ("bpe", 300)
