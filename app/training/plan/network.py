"""Derives the configuration of the network from the request, the recipe and the version to fine-tune."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

import numpy as np

from app.training.base import BaseCheckpoint
from app.training.failures import BadOption, TrainingFailure
from app.training.ngram_recipe import NgramRecipe, ngrams, token_ngrams
from app.training.prepare.dataset import Facts, Rows, Stream
from app.training.recipes import Recipe
from app.wire.trainer import TrainSpec
from app.wire.training_options import TrainingOptions
from app.wire.training_rules import heads_and_width
from models.choices import POSITIONED
from models.config import ModelConfig
from models.constraints import WITHOUT_WINDOW, ConfigError

LONGEST_CONTEXT = 1024  # the default maximum context, in tokens or steps, except for one long text
LINEAR_CONTEXT = 65_536  # tokens; serves only to limit the length of an input
UNLIMITED_CONTEXT = 8192  # tokens; limits memory and time, since the network itself has no limit


def model(
    spec: TrainSpec, facts: Facts, recipe: Recipe, train: Rows | Stream, base: BaseCheckpoint | None
) -> ModelConfig:
    """Return the configuration of the network to train.

    Raises BadOption for invalid options, and TrainingFailure `invalid_base_model` for a base version that cannot be
    fine-tuned for the task.
    """
    options = spec.training
    architecture = spec.model if base is None else base.config.architecture
    context = options.context_length or _context(facts, recipe, architecture, train)
    if base is None:
        new = _new(options, facts, recipe, architecture)
        branch = _branch(facts, train, new.get("width", 0)) if has_branch(options, facts, architecture) else {}
        return _built(new | branch | {"context_length": context})
    before = base.config
    if options.context_length is None:
        # Unlike a Transformer, a network without a maximum length can get a longer context than its base version.
        context = before.position_limit or max(before.context_length, context)
    changes = _tuned(options, facts, recipe, base) | {"context_length": context}
    return _built(asdict(before) | changes)


def _context(facts: Facts, recipe: Recipe, architecture: str, train: Rows | Stream) -> int:
    if isinstance(train, Stream):
        return recipe.window if architecture in POSITIONED else UNLIMITED_CONTEXT
    if architecture == "linear":
        return LINEAR_CONTEXT
    longest = int(train.lengths_N.max())
    room: int = 2 ** max(6, (int(np.percentile(train.lengths_N, 99.9)) * 2 - 1).bit_length())
    # Requests may be longer than the training rows, so the context is at least twice the length of almost all rows, up
    # to the maximum. Longer rows are cut.
    return min(max(room, 128), LONGEST_CONTEXT) if longest <= LONGEST_CONTEXT else LONGEST_CONTEXT


def has_branch(options: TrainingOptions, facts: Facts, architecture: str) -> bool:
    """Whether a new network gets an n-gram branch."""
    return architecture == "linear" or (facts.input == "tokens" and options.ngrams is not False)


def ngram_recipe(facts: Facts, train: Rows) -> NgramRecipe:
    """Return the n-gram branch's recipe for the training rows."""
    return ngrams(len(train), int(train.lengths_N.sum()), _classes(facts), facts.tokenizer)


def train_tokens(train: Rows | Stream) -> int:
    """Return the number of tokens in the training data."""
    return int(train.lengths_N.sum()) if isinstance(train, Rows) else len(train.ids_T)


def _branch(facts: Facts, train: Rows | Stream, width: int) -> dict[str, Any]:
    if facts.task == "generation":
        of_tokens = token_ngrams(train_tokens(train), width)
        return {"ngram_buckets": of_tokens.buckets, "ngram_tokens": of_tokens.tokens}
    assert isinstance(train, Rows)
    recipe = ngram_recipe(facts, train)
    return {
        "ngram_buckets": recipe.buckets,
        "ngram_characters": recipe.characters,
        "ngram_words": recipe.words,
    }


def _linear(facts: Facts) -> dict[str, Any]:
    return {
        "architecture": "linear",
        "task": facts.task,
        "input": facts.input,
        "vocab_size": facts.vocab_size,
        "classes": _classes(facts),
    }


def _new(options: TrainingOptions, facts: Facts, recipe: Recipe, architecture: str) -> dict[str, Any]:
    if architecture == "linear":
        return _linear(facts)
    heads, width = recipe.heads, options.width or recipe.width
    if architecture == "transformer":
        heads, width = heads_and_width(options, recipe.heads, recipe.width)
    both = recipe.bidirectional and options.pooling not in ("last", "last_step")
    if options.bidirectional is not None:
        both = options.bidirectional
    return {
        "architecture": architecture,
        "task": facts.task,
        "input": facts.input,
        "vocab_size": facts.vocab_size,
        "features": facts.features,
        "classes": _classes(facts),
        "layers": options.layers or recipe.layers,
        "width": width,
        "input_width": recipe.input_width if options.width is None else 0,
        "heads": heads,
        "kv_heads": options.kv_heads or 0,
        "dropout": recipe.dropout if options.dropout is None else options.dropout,
        "bidirectional": both and facts.task != "generation",
        "pooling": options.pooling or recipe.pooling,
    }


def _tuned(options: TrainingOptions, facts: Facts, recipe: Recipe, base: BaseCheckpoint) -> dict[str, Any]:
    """Return the changes that fine-tuning makes to the base version's configuration."""
    before = base.config
    changes: dict[str, Any] = {"task": facts.task, "classes": _classes(facts)}
    if facts.task == "generation":
        if before.bidirectional:
            message = "the version to fine-tune is bidirectional, but generation reads from left to right only"
            raise TrainingFailure("invalid_base_model", message, "model")
        # The head needs its own matrix if only the head is trained, or if its width differs from the embedding's width.
        tied = before.tie_embeddings and before.vector_width == before.width
        changes["tie_embeddings"] = tied and not options.head_only
        changes |= {"head_widths": (), "output_activation": "none", "pooling_width": 0, "token_types": 0}
        changes |= {"pooling_input_activation": "none", "head_norm": False, "attention_window": 0, **WITHOUT_WINDOW}
        if before.output_norm == "pooled":
            changes["output_norm"] = "none"
    elif before.task == "generation":
        changes["pooling"] = options.pooling or recipe.pooling
    # The branch of a language model uses n-grams of tokens; other branches use n-grams of characters and words.
    if (facts.task == "generation") != (before.task == "generation"):
        changes |= dict.fromkeys(("ngram_buckets", "ngram_characters", "ngram_words", "ngram_tokens"), 0)
    if options.dropout is not None:
        changes["dropout"] = options.dropout
    return changes


def _classes(facts: Facts) -> int:
    return {"regression": 1, "generation": 0}.get(facts.task, len(facts.labels))


def _built(values: dict[str, Any]) -> ModelConfig:
    try:
        return ModelConfig(**values)
    except ConfigError as error:
        raise BadOption(f"training.{error.field}", str(error).partition(": ")[2]) from None
