"""Checks the fields of a configuration, and their combinations. Imports no torch."""

from __future__ import annotations

from collections.abc import Mapping

from models.choices import CHOICES, COUNTS, FEWEST_BUCKETS, LONGEST_NGRAM, MOST_HEAD_LAYERS, POSITIVE
from models.fields import ConfigFields

WITHOUT_WINDOW: Mapping[str, float] = {"global_every": 0, "local_rotary_base": 10_000.0}  # if no layers are local


class ConfigError(ValueError):
    """A field of a configuration is missing or has an invalid value. `field` is the name of the field."""

    def __init__(self, field: str, message: str) -> None:
        super().__init__(f"{field}: {message}")
        self.field = field


def check(config: ConfigFields) -> None:
    """Raise `ConfigError` for the first field with an invalid value."""
    for name, allowed in CHOICES.items():
        if getattr(config, name) not in allowed:
            raise ConfigError(name, f"{getattr(config, name)!r} is unknown; it must be one of {', '.join(allowed)}")
    _check_numbers(config)
    _check_input(config)
    _check_task(config)
    _check_ngrams(config)
    if config.architecture == "transformer":
        _check_attention(config)


def _check_numbers(config: ConfigFields) -> None:
    for name in POSITIVE:
        if getattr(config, name) < 1:
            raise ConfigError(name, "must be 1 or more")
    for name in COUNTS:
        if getattr(config, name) < 0:
            raise ConfigError(name, "must be 0 or more")
    if len(config.head_widths) > MOST_HEAD_LAYERS or min(config.head_widths, default=1) < 1:
        raise ConfigError("head_widths", f"must have at most {MOST_HEAD_LAYERS} numbers, each 1 or more")
    if not 0.0 < config.norm_eps < 1.0:
        raise ConfigError("norm_eps", "must be between 0 and 1")
    if not 0.0 <= config.dropout < 1.0:
        raise ConfigError("dropout", "must be at least 0 and below 1")


def _check_input(config: ConfigFields) -> None:
    needed = "vocab_size" if config.input == "tokens" else "features"
    if getattr(config, needed) < 1:
        raise ConfigError(needed, f"must be 1 or more if input is {config.input!r}")
    if config.input_activation != "none" and config.input == "tokens":
        raise ConfigError("input_activation", "must be none unless input is 'features'")
    if config.vector_width != config.width and not config.recurrent:
        raise ConfigError("input_width", f"must be 0 or width ({config.width}) for {config.architecture}")
    if config.architecture != "transformer":
        _check_other_body(config)
    if config.token_types:
        _check_token_types(config)


def _check_other_body(config: ConfigFields) -> None:
    """Check that a body other than a Transformer has no parts of a Transformer."""
    parts = {"input_norm": False, "norm_bias": True, "first_norm": True, "attention_window": 0, **WITHOUT_WINDOW}
    for name, needed in parts.items():
        if getattr(config, name) != needed:
            raise ConfigError(name, f"must be {str(needed).lower()} unless architecture is 'transformer'")


def _check_token_types(config: ConfigFields) -> None:
    if config.architecture != "transformer" or config.input != "tokens" or config.task == "generation":
        raise ConfigError(
            "token_types",
            "must be 0 unless architecture is 'transformer', input is 'tokens' and task is not 'generation'",
        )
    if config.separator_id >= config.vocab_size:
        raise ConfigError("separator_id", f"must be below vocab_size ({config.vocab_size})")


def _check_task(config: ConfigFields) -> None:
    if config.task == "generation":
        _check_generation(config)
        return
    if config.head_norm and not config.head_widths:
        raise ConfigError("head_norm", "must be false unless head_widths has at least one number")
    if config.task == "embedding":
        _check_vectors(config)
        return
    if config.classes < 1:
        raise ConfigError("classes", f"must be 1 or more for {config.task}")
    if config.task == "regression" and config.classes != 1:
        raise ConfigError("classes", "must be 1 for regression")
    _check_pooling(config)


def _check_generation(config: ConfigFields) -> None:
    if config.input != "tokens":
        raise ConfigError("input", "must be tokens for generation")
    if config.bidirectional:
        raise ConfigError("bidirectional", "must be false for generation, which reads from left to right only")
    if config.attention_window:
        raise ConfigError("attention_window", "must be 0 for generation")
    if config.recurrent and config.tie_embeddings and config.vector_width != config.width:
        raise ConfigError("tie_embeddings", "must be false if input_width differs from width")
    _check_vocabulary_head(config)


def _check_ngrams(config: ConfigFields) -> None:
    if not config.ngram_buckets:
        if config.architecture == "linear":
            raise ConfigError("ngram_buckets", "must be 1 or more if architecture is 'linear'")
        return
    if config.input != "tokens":
        raise ConfigError("ngram_buckets", "must be 0 unless input is 'tokens'")
    if config.ngram_buckets < FEWEST_BUCKETS or config.ngram_buckets.bit_count() != 1:
        raise ConfigError("ngram_buckets", f"must be a power of 2 and at least {FEWEST_BUCKETS}")
    _check_ngram_lengths(config)


def _check_ngram_lengths(config: ConfigFields) -> None:
    for name in ("ngram_characters", "ngram_words", "ngram_tokens"):
        if getattr(config, name) > LONGEST_NGRAM:
            raise ConfigError(name, f"must be at most {LONGEST_NGRAM}")
    if config.task == "generation" and config.ngram_tokens < 2:
        raise ConfigError("ngram_tokens", "must be 2 or more if ngram_buckets is set")
    if config.task != "generation" and config.ngram_characters < 2 and not config.ngram_words:
        raise ConfigError("ngram_words", "must be 1 or more if ngram_characters is below 2")


def _check_pooling(config: ConfigFields) -> None:
    reads_both_ways = config.architecture == "transformer" or (config.recurrent and config.bidirectional)
    if config.pooling == "first" and not reads_both_ways and config.architecture != "linear":
        raise ConfigError(
            "pooling",
            "can be first only if bidirectional is true; otherwise, the first step would not read any other step",
        )
    if config.pooling_width and config.pooling != "attention":
        raise ConfigError("pooling_width", "must be 0 unless pooling is attention")
    if config.pooling_input_activation != "none" and config.pooling != "attention":
        raise ConfigError("pooling_input_activation", "must be none unless pooling is attention")


def _check_vectors(config: ConfigFields) -> None:
    """Check the configuration of a network without a head, whose output is the pooled vector."""
    for name, empty in (("classes", 0), ("ngram_buckets", 0), ("output_activation", "none"), ("head_widths", ())):
        if getattr(config, name) != empty:
            raise ConfigError(name, f"must be {empty if empty != () else 'empty'} for embedding")
    if config.output_norm == "pooled" or config.pooling == "attention":
        name = "pooling" if config.pooling == "attention" else "output_norm"
        raise ConfigError(name, f"must not be {getattr(config, name)} for embedding, which has no head")
    _check_pooling(config)


def _check_vocabulary_head(config: ConfigFields) -> None:
    if config.output_norm == "pooled":
        raise ConfigError("output_norm", "must be 'steps' or 'none' for generation, which has no pooled vector")
    parts = {"output_activation": "none", "pooling_width": 0, "pooling_input_activation": "none"}
    for name, empty in (parts | {"head_widths": (), "head_norm": False}).items():
        if getattr(config, name) != empty:
            raise ConfigError(name, f"must be {empty if empty != () else 'empty'} for generation")


def _check_attention(config: ConfigFields) -> None:
    if config.width % config.heads and not config.head_width:
        raise ConfigError("heads", f"must divide width ({config.width})")
    if config.heads % (config.kv_heads or config.heads):
        raise ConfigError("kv_heads", f"must divide heads ({config.heads})")
    if config.positions == "rotary" and config.key_width % 2:
        raise ConfigError(
            "head_width" if config.head_width else "heads",
            "must result in an even number of values per head for rotary positions",
        )
    if config.positions == "sinusoidal" and config.width % 2:
        raise ConfigError("width", "must be even for sinusoidal positions")
    if not config.first_norm and not config.norm_first:
        raise ConfigError("first_norm", "must be true unless norm_first is true")
    for name, needed in WITHOUT_WINDOW.items():
        if not config.attention_window and getattr(config, name) != needed:
            raise ConfigError(name, f"must be {needed} unless attention_window is 1 or more")
    _check_rotary(config)


def _check_rotary(config: ConfigFields) -> None:
    for name in ("rotary_base", "local_rotary_base"):
        if not 1.0 < getattr(config, name) < float("inf"):
            raise ConfigError(name, "must be a finite number above 1")
    scaling = config.rotary_scaling
    if len(scaling) not in (0, 1, 4) or not all(0.0 < value < float("inf") for value in scaling):
        raise ConfigError("rotary_scaling", "must be empty, or contain one or four numbers above 0")
    if len(scaling) == 4 and scaling[1] >= scaling[2]:
        raise ConfigError("rotary_scaling", "must have a second number that is less than the third")
