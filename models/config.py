"""The configuration of a network, as plain data. Imports no torch, so that the API can check configurations.

`models/catalog.py` maps architectures to classes.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from typing import Any, Self

RECURRENT = ("rnn", "lstm", "gru")
NETWORKS = (*RECURRENT, "transformer")  # architectures with a body
ARCHITECTURES = ("linear", *NETWORKS)
POSITIONED = ("transformer",)  # architectures whose sequences have at most `context_length` positions
TASKS = ("classification", "multilabel", "regression", "generation")
ACTIVATIONS = ("none", "relu", "tanh", "gelu", "sigmoid", "silu", "elu", "leaky_relu")  # with PyTorch's defaults
CHOICES: Mapping[str, tuple[str, ...]] = {
    "architecture": ARCHITECTURES,
    "task": TASKS,
    "input": ("tokens", "features"),
    "nonlinearity": ("tanh", "relu"),
    "norm": ("rms", "layer"),
    "positions": ("rotary", "learned", "sinusoidal"),
    "activation": ("swiglu", "gelu", "relu"),
    "pooling": ("last", "last_step", "first", "mean", "max", "attention"),
    "input_activation": ACTIVATIONS,
    "output_norm": ("none", "steps", "pooled"),
    "output_activation": ACTIVATIONS,
    "pooling_activation": ACTIVATIONS,
    "head_activation": ACTIVATIONS,
}
POSITIVE = ("layers", "width", "heads", "context_length")
COUNTS = (
    "vocab_size", "features", "classes", "input_width", "kv_heads", "inner", "pad_id", "pooling_width",
    "ngram_buckets", "ngram_characters", "ngram_words", "ngram_tokens",
)  # fmt: skip
MOST_HEAD_LAYERS = 16
FEWEST_BUCKETS, LONGEST_NGRAM = 16, 8
# Fields that are written only if they differ from their defaults. The bytes of configurations that do not use these
# fields therefore stay the same.
OPTIONAL = (
    "input_activation", "output_norm", "output_activation", "pooling_width", "pooling_activation", "head_widths",
    "head_activation", "ngram_buckets", "ngram_characters", "ngram_words", "ngram_tokens",
)  # fmt: skip


class ConfigError(ValueError):
    """A field of a configuration is missing or has an invalid value. `field` is the name of the field."""

    def __init__(self, field: str, message: str) -> None:
        super().__init__(f"{field}: {message}")
        self.field = field


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelConfig:
    """All data needed to build a network, except for its weights.

    `features` is the number of values in a numeric step. `classes` is the number of labels: 1 for regression, 0 for
    generation. `input_width` is the width of the input vectors of a recurrent network (0: the same as `width`). If it
    equals `features`, numeric steps are read without a projection, unless there is an `input_activation`. `kv_heads` is
    the number of key-value heads (0: the same as `heads`). `inner` is the inner width of the Transformer's MLP (0: a
    default, see `inner_width`). Networks ignore `pad_id`, because they identify padding by the lengths of the rows. The
    field exists for other programs.

    `ngram_buckets` is the number of rows in the table of the n-gram branch (0: no branch). The branch of a text
    classifier reads n-grams of 2 to `ngram_characters` characters and of 1 to `ngram_words` words (`models/ngrams.py`);
    the branch of a language model reads n-grams of 2 to `ngram_tokens` tokens (`models/token_ngrams.py`).

    Fields of the last group are for imported networks. `input_activation` is applied after the projection of numeric
    steps. `output_norm` is a LayerNorm that is applied either to the body's vector at every step or to the pooled
    vector. `output_activation` is applied to the pooled vector after that norm. `pooling_width` is the width of the
    hidden layer that scores steps for attention pooling (0: no hidden layer). `head_widths` are the widths of the
    head's layers, except for the last layer.
    """

    architecture: str
    task: str
    input: str = "tokens"
    vocab_size: int = 0
    features: int = 0
    classes: int = 0
    layers: int = 2
    width: int = 256
    input_width: int = 0
    heads: int = 4
    kv_heads: int = 0
    inner: int = 0
    context_length: int = 512
    dropout: float = 0.0
    # recurrent networks
    bidirectional: bool = False
    nonlinearity: str = "tanh"
    # Transformers
    norm: str = "rms"
    norm_first: bool = True
    final_norm: bool = True
    norm_eps: float = 1e-5
    positions: str = "rotary"
    activation: str = "swiglu"
    bias: bool = False
    # heads of the tasks
    pooling: str = "mean"
    tie_embeddings: bool = True
    head_bias: bool = True
    pad_id: int = 0
    # the n-gram branch
    ngram_buckets: int = 0
    ngram_characters: int = 0
    ngram_words: int = 0
    ngram_tokens: int = 0
    # parts of imported networks
    input_activation: str = "none"
    output_norm: str = "none"
    output_activation: str = "none"
    pooling_width: int = 0
    pooling_activation: str = "tanh"
    head_widths: tuple[int, ...] = ()
    head_activation: str = "relu"

    def __post_init__(self) -> None:
        for name, allowed in CHOICES.items():
            if getattr(self, name) not in allowed:
                raise ConfigError(name, f"{getattr(self, name)!r} is unknown; it must be one of {', '.join(allowed)}")
        self._check_numbers()
        self._check_input()
        self._check_task()
        self._check_ngrams()
        if self.architecture == "transformer":
            self._check_attention()

    def _check_numbers(self) -> None:
        for name in POSITIVE:
            if getattr(self, name) < 1:
                raise ConfigError(name, "must be 1 or more")
        for name in COUNTS:
            if getattr(self, name) < 0:
                raise ConfigError(name, "must be 0 or more")
        if len(self.head_widths) > MOST_HEAD_LAYERS or min(self.head_widths, default=1) < 1:
            raise ConfigError("head_widths", f"must be at most {MOST_HEAD_LAYERS} numbers, each 1 or more")
        if not 0.0 < self.norm_eps < 1.0:
            raise ConfigError("norm_eps", "must be between 0 and 1")
        if not 0.0 <= self.dropout < 1.0:
            raise ConfigError("dropout", "must be at least 0 and below 1")

    def _check_input(self) -> None:
        needed = "vocab_size" if self.input == "tokens" else "features"
        if getattr(self, needed) < 1:
            raise ConfigError(needed, f"must be 1 or more if input is {self.input!r}")
        if self.input_activation != "none" and self.input == "tokens":
            raise ConfigError("input_activation", "must be none unless input is 'features'")
        if self.vector_width != self.width and not self.recurrent:
            raise ConfigError("input_width", f"must be 0 or width ({self.width}) for {self.architecture}")

    def _check_task(self) -> None:
        if self.task == "generation":
            if self.input != "tokens":
                raise ConfigError("input", "must be tokens for generation")
            if self.bidirectional:
                raise ConfigError("bidirectional", "must be false for generation, which reads from left to right only")
            if self.recurrent and self.tie_embeddings and self.vector_width != self.width:
                raise ConfigError("tie_embeddings", "must be false if input_width differs from width")
            self._check_vocabulary_head()
            return
        if self.classes < 1:
            raise ConfigError("classes", f"must be 1 or more for {self.task}")
        if self.task == "regression" and self.classes != 1:
            raise ConfigError("classes", "must be 1 for regression")
        self._check_pooling()

    def _check_ngrams(self) -> None:
        if not self.ngram_buckets:
            if self.architecture == "linear":
                raise ConfigError("ngram_buckets", "must be 1 or more if architecture is 'linear'")
            return
        if self.input != "tokens":
            raise ConfigError("ngram_buckets", "must be 0 unless input is 'tokens'")
        if self.ngram_buckets < FEWEST_BUCKETS or self.ngram_buckets.bit_count() != 1:
            raise ConfigError("ngram_buckets", f"must be a power of 2 of {FEWEST_BUCKETS} or more")
        self._check_ngram_lengths()

    def _check_ngram_lengths(self) -> None:
        for name in ("ngram_characters", "ngram_words", "ngram_tokens"):
            if getattr(self, name) > LONGEST_NGRAM:
                raise ConfigError(name, f"must be at most {LONGEST_NGRAM}")
        if self.task == "generation" and self.ngram_tokens < 2:
            raise ConfigError("ngram_tokens", "must be 2 or more if ngram_buckets is set")
        if self.task != "generation" and self.ngram_characters < 2 and not self.ngram_words:
            raise ConfigError("ngram_words", "must be 1 or more if ngram_characters is below 2")

    def _check_pooling(self) -> None:
        reads_both_ways = self.architecture == "transformer" or (self.recurrent and self.bidirectional)
        if self.pooling == "first" and not reads_both_ways and self.architecture != "linear":
            raise ConfigError(
                "pooling",
                "can be first only if bidirectional is true, because otherwise the first step contains no information "
                "about later steps",
            )
        if self.pooling_width and self.pooling != "attention":
            raise ConfigError("pooling_width", "must be 0 unless pooling is attention")

    def _check_vocabulary_head(self) -> None:
        if self.output_norm == "pooled":
            raise ConfigError("output_norm", "must be 'steps' or 'none' for generation, which has no pooled vector")
        for name, empty in (("output_activation", "none"), ("pooling_width", 0), ("head_widths", ())):
            if getattr(self, name) != empty:
                raise ConfigError(name, f"must be {empty if empty != () else 'empty'} for generation")

    def _check_attention(self) -> None:
        if self.width % self.heads:
            raise ConfigError("heads", f"must divide width ({self.width})")
        if self.heads % (self.kv_heads or self.heads):
            raise ConfigError("kv_heads", f"must divide heads ({self.heads})")
        if self.positions == "rotary" and (self.width // self.heads) % 2:
            raise ConfigError("heads", "must give each head an even number of values for rotary positions")
        if self.positions == "sinusoidal" and self.width % 2:
            raise ConfigError("width", "must be even for sinusoidal positions")

    @property
    def recurrent(self) -> bool:
        """Whether the body is recurrent (and not a Transformer)."""
        return self.architecture in RECURRENT

    @property
    def vector_width(self) -> int:
        """The width of the vectors that the body reads, (…, vector_width)."""
        return self.input_width or self.width

    @property
    def projected(self) -> bool:
        """Whether numeric steps go through a linear projection before the body reads them."""
        return self.input == "features" and (self.input_width != self.features or self.input_activation != "none")

    @property
    def groups(self) -> int:
        """The number of key-value heads (Ainslie et al., 2023)."""
        return self.kv_heads or self.heads

    @property
    def inner_width(self) -> int:
        """The inner width of the MLP: `inner`, or by default 4 times `width`.

        With `swiglu`, the gate adds a third matrix. The default is therefore 8/3 times `width`, rounded up to a
        multiple of 64, which keeps the number of weights about the same (Shazeer, 2020, section 2).
        """
        if self.inner:
            return self.inner
        return 4 * self.width if self.activation != "swiglu" else -(-8 * self.width // (3 * 64)) * 64

    @property
    def position_limit(self) -> int | None:
        """The maximum number of positions of a sequence, or None if unlimited, as for every recurrent network."""
        return self.context_length if self.architecture in POSITIONED else None

    def to_dict(self) -> dict[str, Any]:
        """Return the fields as JSON values, except `OPTIONAL` fields with default values. Inverse: `from_dict`."""
        values = asdict(self)
        for field in fields(self):
            if field.name in OPTIONAL and values[field.name] == field.default:
                del values[field.name]
        return {name: list(value) if isinstance(value, tuple) else value for name, value in values.items()}

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Self:
        """Build a configuration from parsed JSON; keys that are not fields are ignored.

        Raises `ConfigError` for a missing field, a value of the wrong type or a value that is not allowed.
        """
        types = {f.name: f.type for f in fields(cls)}
        kinds: dict[str, tuple[type, ...]] = {"str": (str,), "int": (int,), "float": (int, float), "bool": (bool,)}
        chosen = {name: values[name] for name in types if name in values}
        for name, value in chosen.items():
            if name == "head_widths":
                chosen[name] = _widths(value)
                continue
            allowed = kinds[str(types[name])]
            # In Python, a bool is also an int; in a configuration, it is not accepted as a number.
            if not isinstance(value, allowed) or (isinstance(value, bool) and bool not in allowed):
                raise ConfigError(name, f"must be of type {types[name]}, not {type(value).__name__}")
        for name in ("architecture", "task"):
            if name not in chosen:
                raise ConfigError(name, "is missing")
        return cls(**chosen)


def _widths(value: object) -> tuple[int, ...]:
    """Convert the value of `head_widths`, a list of integers in JSON, to a tuple."""
    if not isinstance(value, list | tuple) or any(type(width) is not int for width in value):
        raise ConfigError("head_widths", "must be a list of integers")
    return tuple(value)
