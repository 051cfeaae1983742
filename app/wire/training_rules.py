"""What the settings of a training may be: ranges, words, and which of them mean something where.

One table, for those who take a request (and refuse it at once) and for the trainer (which refuses what only the data
can tell). A setting that would do nothing is refused like one that cannot work. Knows numbers and names; reads nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from app.wire.training_options import TrainingOptions
from models.config import CHOICES, RECURRENT, ConfigError, ModelConfig

DECADE = 315_360_000.0  # seconds
SMALLEST_VOCABULARY = 259  # three special tokens, and one for every byte


class OptionError(ValueError):
    """A setting that cannot be; `field` is its name in `training`."""

    def __init__(self, field: str, message: str) -> None:
        super().__init__(f"training.{field} {message}")
        self.field, self.message = field, message


@dataclass(frozen=True, slots=True)
class Range:
    """Of numbers; `above` and `below`: without the end itself."""

    low: float
    high: float
    above: bool = False
    below: bool = False

    def complaint(self, value: float) -> str | None:
        over = value > self.low or (value == self.low and not self.above)
        under = value < self.high or (value == self.high and not self.below)
        if over and under:  # a number that is none is neither
            return None
        start = f"{'above' if self.above else 'at least'} {self.low:g}"
        return f"must be {start} and {'below' if self.below else 'at most'} {self.high:g}, not {_shown(value)}"


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
}
WORDS: Mapping[str, tuple[str, ...]] = {
    "schedule": ("cosine", "linear", "constant"),
    "optimizer": ("adamw", "sgd"),
    "tokenizer": ("bpe", "char", "byte"),
    "pooling": CHOICES["pooling"],
    "precision": ("float32", "bfloat16"),
}
CLASS_WEIGHT = Range(0, 1e9, above=True)


@dataclass(frozen=True, slots=True)
class Known:
    """What is known of a training so far; None: not yet. `tuned`: it goes on from a version."""

    architecture: str | None = None
    task: str | None = None
    input: str | None = None  # tokens | features
    tuned: bool = False


@dataclass(frozen=True, slots=True)
class Rule:
    """`field` means nothing where `where` holds. `off`: then false and 0 are no harm."""

    field: str
    where: Callable[[Known], bool]
    message: str
    off: bool = True


RULES = (
    *(
        Rule(field, lambda k: k.architecture in RECURRENT, "is for a Transformer; this network has no heads")
        for field in ("heads", "kv_heads")
    ),
    Rule(
        "bidirectional",
        lambda k: k.architecture == "transformer",
        "is for rnn, lstm and gru; a Transformer reads both ways to classify, and from left to right to generate",
        off=False,
    ),
    Rule("bidirectional", lambda k: k.task == "generation", "cannot be: generation reads from left to right only"),
    Rule("pooling", lambda k: k.task == "generation", "makes one vector of a sequence, and generation needs none"),
    Rule("label_smoothing", lambda k: k.task == "regression", "is for labels and tokens, and regression has none"),
    Rule("class_weights", lambda k: k.task in ("regression", "generation"), "is for labels, and this task has none"),
    *(
        Rule(field, lambda k: k.input == "features", "is for texts, and this data is numbers")
        for field in ("tokenizer", "vocab_size")
    ),
    Rule("head_only", lambda k: not k.tuned, "is for fine-tuning: name a version as the model, not an architecture"),
)
SHAPE = ("layers", "width", "heads", "kv_heads", "context_length", "dropout", "pooling", "bidirectional", "vocab_size")
FIXED_BY_BASE = ("layers", "width", "heads", "kv_heads", "vocab_size", "bidirectional", "pooling", "tokenizer")


def check(options: TrainingOptions, known: Known) -> None:
    """Raise OptionError for a value that cannot be, or that would do nothing, by all that is known."""
    _check_values(options)
    for rule in RULES:
        value = getattr(options, rule.field)
        if value is not None and rule.where(known) and (value or not rule.off):
            raise OptionError(rule.field, rule.message)
    if not known.tuned:
        _check_network(options, known)


def _check_values(options: TrainingOptions) -> None:
    for name, bounds in RANGES.items():
        value = getattr(options, name)
        if value is not None and (complaint := bounds.complaint(value)):
            raise OptionError(name, complaint)
    for name, words in WORDS.items():
        value = getattr(options, name)
        if value is not None and value not in words:
            raise OptionError(name, f"can be {', '.join(words)}, not {value!r}")
    if options.tokenizer == "byte" and options.vocab_size is not None:
        raise OptionError("vocab_size", f"is always {SMALLEST_VOCABULARY} with the tokenizer byte; leave it out")
    _check_class_weights(options.class_weights)


def check_base(options: TrainingOptions, base: Mapping[str, Any]) -> None:
    """Fine-tuning keeps the shape of the base, whose config.json is given: settings that say another are refused."""
    for name in FIXED_BY_BASE:
        value, has = getattr(options, name), base.get(name)
        if name == "kv_heads":
            has = has or base.get("heads")
        new = name == "pooling" and base.get("task") == "generation"  # which had none
        if value is not None and value != has and not new:
            known = "comes from" if has is None else f"is {has!r} in"
            raise OptionError(name, f"{known} the model to fine-tune and cannot become {value!r}; leave it out")
    longest = base.get("context_length")
    if longest and base.get("architecture") == "transformer" and (options.context_length or 0) > longest:
        raise OptionError("context_length", f"is {longest} at most in the model to fine-tune")


def heads_and_width(options: TrainingOptions, heads: int, width: int) -> tuple[int, int]:
    """Of a new Transformer: those that are given; what is not follows the wish as closely as it fits."""
    shared = options.kv_heads or 1  # keys and values, each by as many heads
    heads = options.heads or max(shared, heads - heads % shared)
    pair = 2 * heads  # a head turns its values two by two
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
        raise OptionError("class_weights", "is 'balanced', or an object of label: weight")


def _check_network(options: TrainingOptions, known: Known) -> None:
    """Let the configuration itself say what no network can be."""
    heads, width = heads_and_width(options, 4, 128)
    if options.heads is None and options.kv_heads and width % (2 * heads):
        raise OptionError("kv_heads", f"asks for a width that is a multiple of {2 * options.kv_heads}, unlike {width}")
    given = {name: getattr(options, name) for name in SHAPE if getattr(options, name) is not None}
    given |= {"heads": heads, "width": width, "vocab_size": SMALLEST_VOCABULARY}
    task = known.task or "classification"
    try:
        ModelConfig(
            architecture=known.architecture or "lstm", task=task, classes=0 if task == "generation" else 1, **given
        )
    except ConfigError as error:
        raise OptionError(error.field, str(error).partition(": ")[2]) from None


def _shown(value: float) -> str:
    try:
        return f"{value:g}"
    except OverflowError:
        return "a number of that size"
