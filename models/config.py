"""The shape of a network, as plain data.

Knows the standard library alone, so that the API can check a configuration without torch.
What a name in `architecture` builds is said in `models/catalog.py`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from typing import Any, Self

RECURRENT = ("rnn", "lstm", "gru")
TASKS = ("classification", "multilabel", "regression", "generation")
CHOICES: Mapping[str, tuple[str, ...]] = {
    "architecture": (*RECURRENT, "transformer"),
    "task": TASKS,
    "input": ("tokens", "features"),
    "nonlinearity": ("tanh", "relu"),
    "norm": ("rms", "layer"),
    "positions": ("rotary", "learned", "sinusoidal"),
    "activation": ("swiglu", "gelu", "relu"),
    "pooling": ("last", "last_step", "first", "mean", "max", "attention"),
}
POSITIVE = ("layers", "width", "heads", "context_length")
COUNTS = ("vocab_size", "features", "classes", "input_width", "kv_heads", "inner", "pad_id")


class ConfigError(ValueError):
    """A configuration that no network can have; `field` names the place."""

    def __init__(self, field: str, message: str) -> None:
        super().__init__(f"{field}: {message}")
        self.field = field


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelConfig:
    """Everything needed to build a network, apart from its weights.

    Sizes are counts; `inner` is the width of the Transformer's MLP (0: chosen from `width` and `activation`);
    `input_width` is the width of the input vectors of a recurrent network (0: `width`); where it equals `features`,
    numeric steps are read as they are, without a projection. `kv_heads` 0 means `heads`.
    `classes` is the number of labels (1 for regression, 0 for generation). `features` is the width of a numeric step.
    `pad_id` is never read by a network (padding is known by length); it is kept for other programs.
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

    def __post_init__(self) -> None:
        for name, allowed in CHOICES.items():
            if getattr(self, name) not in allowed:
                raise ConfigError(name, f"{getattr(self, name)!r} is unknown; it can be {', '.join(allowed)}")
        self._check_numbers()
        self._check_input()
        self._check_task()
        if self.architecture == "transformer":
            self._check_attention()

    def _check_numbers(self) -> None:
        for name in POSITIVE:
            if getattr(self, name) < 1:
                raise ConfigError(name, "must be 1 or more")
        for name in COUNTS:
            if getattr(self, name) < 0:
                raise ConfigError(name, "must be 0 or more")
        if not 0.0 < self.norm_eps < 1.0:
            raise ConfigError("norm_eps", "must be between 0 and 1")
        if not 0.0 <= self.dropout < 1.0:
            raise ConfigError("dropout", "must be at least 0 and below 1")

    def _check_input(self) -> None:
        needed = "vocab_size" if self.input == "tokens" else "features"
        if getattr(self, needed) < 1:
            raise ConfigError(needed, f"must be 1 or more where input is {self.input!r}")

    def _check_task(self) -> None:
        if self.task == "generation":
            if self.input != "tokens":
                raise ConfigError("input", "generation needs tokens")
            if self.bidirectional:
                raise ConfigError("bidirectional", "generation reads from left to right only")
            if self.recurrent and self.tie_embeddings and self.vector_width != self.width:
                raise ConfigError("tie_embeddings", "needs input vectors as wide as the hidden ones (input_width)")
        elif self.classes < 1:
            raise ConfigError("classes", f"must be 1 or more for {self.task}")
        elif self.task == "regression" and self.classes != 1:
            raise ConfigError("classes", "must be 1 for regression")
        elif self.pooling == "first" and self.recurrent and not self.bidirectional:
            raise ConfigError("pooling", "cannot be first: read from left to right, that step knows none of the others")

    def _check_attention(self) -> None:
        if self.vector_width != self.width:
            raise ConfigError("input_width", f"must be 0 or width ({self.width}) for a Transformer")
        if self.width % self.heads:
            raise ConfigError("heads", f"must divide width ({self.width})")
        if self.heads % (self.kv_heads or self.heads):
            raise ConfigError("kv_heads", f"must divide heads ({self.heads})")
        if self.positions == "rotary" and (self.width // self.heads) % 2:
            raise ConfigError("heads", "rotary positions need an even number of values in each head")
        if self.positions == "sinusoidal" and self.width % 2:
            raise ConfigError("width", "must be even for sinusoidal positions")

    @property
    def recurrent(self) -> bool:
        return self.architecture in RECURRENT

    @property
    def vector_width(self) -> int:
        """The width of the vectors that the body reads."""
        return self.input_width or self.width

    @property
    def projected(self) -> bool:
        """Numeric steps go through a projection, unless the body is said to read them as they are."""
        return self.input == "features" and self.input_width != self.features

    @property
    def groups(self) -> int:
        """Key-value heads."""
        return self.kv_heads or self.heads

    @property
    def inner_width(self) -> int:
        """The MLP's width: 4 times `width`, or, with a gate, about as many weights in all (Shazeer 2020)."""
        if self.inner:
            return self.inner
        return 4 * self.width if self.activation != "swiglu" else -(-8 * self.width // (3 * 64)) * 64

    @property
    def position_limit(self) -> int | None:
        """How many positions a sequence can have; None: any number (a recurrent network has no places)."""
        return None if self.recurrent else self.context_length

    def to_dict(self) -> dict[str, Any]:
        return asdict(self)

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Self:
        """Read the fields that belong to a network; raise `ConfigError` for one of the wrong type."""
        known = {f.name: f.type for f in fields(cls)}
        kinds: dict[str, tuple[type, ...]] = {"str": (str,), "int": (int,), "float": (int, float), "bool": (bool,)}
        chosen = {name: values[name] for name in known if name in values}
        for name, value in chosen.items():
            allowed = kinds[str(known[name])]
            if not isinstance(value, allowed) or (isinstance(value, bool) and bool not in allowed):
                raise ConfigError(name, f"must be of type {known[name]}, not {type(value).__name__}")
        for name in ("architecture", "task"):
            if name not in chosen:
                raise ConfigError(name, "is missing")
        return cls(**chosen)
