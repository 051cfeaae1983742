"""Validates training options: ranges, choices, and which options apply to which kind of training.

The job API checks a request's options before it creates a job. The trainer checks the options again once it has read
the data. An option that would have no effect is also rejected.
"""

from __future__ import annotations

import codecs
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import msgspec

from app.wire.lora_rules import check_lora
from app.wire.ranges import OptionError, Range
from app.wire.training_options import TrainingOptions
from app.wording import listed
from models.choices import CHOICES, POSITIONED, RECURRENT
from models.config import ModelConfig
from models.constraints import ConfigError

DECADE = 315_360_000.0  # seconds
SMALLEST_VOCABULARY = 259  # three special tokens and one token for every byte


RANGES: Mapping[str, Range] = {
    "epochs": Range(0, 100_000, above=True),
    "max_steps": Range(1, 10**9),
    "max_seconds": Range(0, DECADE, above=True),
    "batch_size": Range(1, 65_536),
    "accumulation": Range(1, 65_536),
    "learning_rate": Range(0, 100, above=True),
    "learning_rate_multiplier": Range(0, 10_000, above=True),
    "warmup_ratio": Range(0, 1),
    "weight_decay": Range(0, 100),
    "max_grad_norm": Range(0, 1e9, above=True),
    "dropout": Range(0, 1, below=True),
    "label_smoothing": Range(0, 1, below=True),
    "layers": Range(1, 256),
    "width": Range(1, 16_384),
    "heads": Range(1, 1024),
    "kv_heads": Range(1, 1024),
    "context_length": Range(2, 2**20),
    "vocab_size": Range(SMALLEST_VOCABULARY, 1_000_000),
    "patience": Range(1, 10**9),
    "eval_every": Range(1, 10**9),
    "threads": Range(1, 1024),
    "skip_bad_rows": Range(0, 1),
}
WORDS: Mapping[str, tuple[str, ...]] = {
    "schedule": ("cosine", "linear", "constant", "plateau"),
    "optimizer": ("adamw", "muon", "sgd"),
    "tokenizer": ("bpe", "char", "byte"),
    "pooling": CHOICES["pooling"],
    "precision": ("float32", "bfloat16"),
}
_NOT_FOR_FILES = frozenset({"idna", "punycode", "raw-unicode-escape", "unicode-escape", "undefined", "utf-7"})
CLASS_WEIGHT = Range(0, 1e9, above=True)


@dataclass(frozen=True, slots=True)
class TrainingKind:
    """The kind of training. A field is None if its value is not known yet. `tuned` is true for fine-tuning."""

    architecture: str | None = None
    task: str | None = None
    input: str | None = None  # tokens | features
    tuned: bool = False


@dataclass(frozen=True, slots=True)
class Restriction:
    """The option `field` does not apply to any kind of training for which `excludes` returns true.

    With `allow_off`, the values false and 0 are still accepted, because they disable the option.
    """

    field: str
    excludes: Callable[[TrainingKind], bool]
    message: str
    allow_off: bool = True


# Options that have no effect on the architecture `linear`, whose only part is the n-gram branch.
NETWORK_ONLY = (
    "layers", "width", "heads", "kv_heads", "dropout", "pooling", "bidirectional", "optimizer", "weight_decay",
    "max_grad_norm", "warmup_ratio", "schedule", "precision", "head_only", "lora",
)  # fmt: skip


def _other_than(*architectures: str) -> Callable[[TrainingKind], bool]:
    """Return a condition that excludes all architectures except these and `linear`."""
    return lambda k: k.architecture not in (None, "linear", *architectures)


RESTRICTIONS = (
    *(
        Restriction(field, _other_than("transformer"), "applies only to a Transformer; this network has no heads")
        for field in ("heads", "kv_heads")
    ),
    Restriction(
        "bidirectional",
        _other_than(*RECURRENT),
        f"applies only to {listed(RECURRENT, 'and')}; a Transformer reads in both directions to classify, "
        "and from left to right to generate",
        allow_off=False,
    ),
    Restriction(
        "bidirectional",
        lambda k: k.task == "generation",
        "does not apply to generation, which reads from left to right only",
    ),
    Restriction(
        "pooling", lambda k: k.task == "generation", "reduces a sequence to one vector, which generation does not use"
    ),
    Restriction(
        "label_smoothing",
        lambda k: k.task == "regression",
        "does not apply to regression, which has neither labels nor tokens",
    ),
    Restriction(
        "class_weights",
        lambda k: k.task in ("regression", "generation"),
        "applies only to labels, and this task has none",
    ),
    *(
        Restriction(field, lambda k: k.input == "features", "applies only to text, and this data is numeric")
        for field in ("tokenizer", "vocab_size")
    ),
    *(
        Restriction(
            field, lambda k: k.architecture == "linear", "applies only to neural networks, not to a linear model"
        )
        for field in NETWORK_ONLY
    ),
    Restriction(
        "ngrams",
        lambda k: k.architecture == "linear",
        "applies only to networks; a linear model reads only n-grams",
        allow_off=False,
    ),
    Restriction("ngrams", lambda k: k.input == "features", "applies only to text, and this data is numeric"),
    Restriction(
        "head_only",
        lambda k: not k.tuned,
        "applies only to fine-tuning: name a version as the model, not an architecture",
    ),
    Restriction("lora", lambda k: not k.tuned, "applies only to fine-tuning: name a version as the model"),
    Restriction("lora", _other_than("transformer"), "applies only to a Transformer; train all weights or the head"),
)
SHAPE = ("layers", "width", "heads", "kv_heads", "context_length", "dropout", "pooling", "bidirectional", "vocab_size")
FIXED_BY_BASE = ("layers", "width", "heads", "kv_heads", "vocab_size", "bidirectional", "pooling", "tokenizer")


def check(options: TrainingOptions, kind: TrainingKind) -> None:
    """Check each option. Raises OptionError for a value that is invalid or without effect on this training run."""
    _check_values(options)
    for restriction in RESTRICTIONS:
        value = getattr(options, restriction.field)
        if value is not None and restriction.excludes(kind) and (value or not restriction.allow_off):
            raise OptionError(restriction.field, restriction.message)
    if not kind.tuned:
        _check_network(options, kind)


def applicable(options: TrainingOptions, kind: TrainingKind) -> TrainingOptions:
    """Return the options that apply to this kind of training."""
    excluded = {restriction.field: None for restriction in RESTRICTIONS if restriction.excludes(kind)}
    return msgspec.structs.replace(options, **excluded)


def _check_values(options: TrainingOptions) -> None:
    for name, bounds in RANGES.items():
        value = getattr(options, name)
        if value is not None and (complaint := bounds.complaint(value)):
            raise OptionError(name, complaint)
    for name, words in WORDS.items():
        value = getattr(options, name)
        if value is not None and value not in words:
            raise OptionError(name, f"must be one of {', '.join(words)}, not {value!r}")
    if options.tokenizer == "byte" and options.vocab_size is not None:
        raise OptionError(
            "vocab_size", f"is always {SMALLEST_VOCABULARY} with the byte tokenizer; leave this option out"
        )
    _check_class_weights(options.class_weights)
    if options.lora is not None:
        check_lora(options.lora, bool(options.head_only))
    if options.encoding is not None and not is_encoding(options.encoding):
        raise OptionError(
            "encoding", f"must be a text encoding such as utf-8, cp1252 or gb18030, not {options.encoding!r}"
        )


def check_base(options: TrainingOptions, base: Mapping[str, Any]) -> None:
    """Raise OptionError for an option that does not fit the version to fine-tune, whose config.json is `base`."""
    for name in FIXED_BY_BASE:
        value, current = getattr(options, name), base.get(name)
        if name == "kv_heads":
            current = current or base.get("heads")
        new = name == "pooling" and base.get("task") == "generation"  # a generation model has no pooling to preserve
        if value is not None and value != current and not new:
            origin = "comes from" if current is None else f"is {current!r} in"
            raise OptionError(name, f"{origin} the model to fine-tune and cannot be changed to {value!r}; leave it out")
    if options.lora is not None and base.get("adapter"):
        message = "cannot be trained on a version that is an adapter itself; name its base, or leave this option out"
        raise OptionError("lora", message)
    longest = base.get("context_length")
    if longest and base.get("architecture") in POSITIONED and (options.context_length or 0) > longest:
        raise OptionError("context_length", f"can be at most {longest}, the value of the model to fine-tune")


def heads_and_width(options: TrainingOptions, heads: int, width: int) -> tuple[int, int]:
    """Return the number of heads and the width for a new Transformer.

    Values that are set in `options` are not changed. The other values are as close to the arguments as possible while
    the number of heads is a multiple of `kv_heads` and the width is a multiple of twice the number of heads.
    """
    shared = options.kv_heads or 1
    heads = options.heads or max(shared, heads - heads % shared)
    pair = 2 * heads  # rotary positions rotate pairs of values in each head
    if options.width is None:
        return heads, pair * max(1, round(width / pair))
    if options.heads is None:
        fitting = (n for n in range(heads, 0, -shared) if options.width % (2 * n) == 0)
        heads = next(fitting, shared)
    return heads, options.width


def _check_class_weights(weights: str | Mapping[str, float] | None) -> None:
    if isinstance(weights, Mapping):
        for label, weight in weights.items():
            if complaint := CLASS_WEIGHT.complaint(weight):
                raise OptionError(f"class_weights.{label}", complaint)
    elif weights not in (None, "balanced"):
        raise OptionError("class_weights", "must be 'balanced' or an object that maps labels to weights")


def is_encoding(name: str) -> bool:
    """Whether Python has a text encoding with this name. Codecs for other purposes, such as idna, are excluded."""
    try:
        codec = codecs.lookup(name)
        codecs.getincrementaldecoder(name)
    except (LookupError, ValueError):  # ValueError: a null character in the name
        return False
    is_text: bool = codec._is_text_encoding
    return is_text and codec.name not in _NOT_FOR_FILES


def _check_network(options: TrainingOptions, kind: TrainingKind) -> None:
    """Check a new network's shape by building its ModelConfig, with valid defaults for unknown fields."""
    if kind.architecture == "linear":
        return
    heads, width = heads_and_width(options, 4, 128)
    if options.heads is None and options.kv_heads and width % (2 * heads):
        raise OptionError("kv_heads", f"requires a width that is a multiple of {2 * options.kv_heads}, not {width}")
    shape = {name: getattr(options, name) for name in SHAPE if getattr(options, name) is not None}
    shape |= {"heads": heads, "width": width, "vocab_size": SMALLEST_VOCABULARY}
    task = kind.task or "classification"
    try:
        ModelConfig(
            architecture=kind.architecture or "lstm", task=task, classes=0 if task == "generation" else 1, **shape
        )
    except ConfigError as error:
        raise OptionError(error.field, str(error).partition(": ")[2]) from None


def linear_complaint(task: str | None, *, numbers: bool) -> str | None:
    """Return why a linear model cannot be trained for this task, or on numbers. Returns None if it can."""
    if task != "generation" and not numbers:
        return None
    data = "text to continue" if task == "generation" else "numbers"
    return f"linear requires texts with labels or values, but this data is {data}"
