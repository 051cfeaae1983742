"""Whole networks: input + body + head. Knows ids and numeric steps; knows no text and no labels' names.

What training makes small is in `app/training/loop/objective.py`. The names and shapes of all parameters are listed in
`models/parameters.py`.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Generator, Tensor, nn
from torch.nn import functional
from torch.overrides import TorchFunctionMode

from models import catalog, pooling
from models.config import ModelConfig
from models.initialisation import initialise
from models.interface import Body, Context
from models.state import State


class Input(nn.Module):
    """Token ids, or numeric steps, to the vectors that the body reads."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        tokens = config.input == "tokens"
        self.embedding = nn.Embedding(config.vocab_size, config.vector_width) if tokens else None
        self.projection = nn.Linear(config.features, config.vector_width) if config.projected else None
        # A Transformer has this dropout after its positions.
        self.dropout = nn.Dropout(config.dropout if config.recurrent else 0.0)

    def forward(self, steps: Tensor) -> Tensor:
        if self.embedding is not None:
            steps = self.embedding(steps)
        elif self.projection is not None:
            steps = self.projection(steps)
        vectors_BTD: Tensor = self.dropout(steps)
        return vectors_BTD


class Network(nn.Module):
    """What every task shares: an input and a body."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.config = config
        self.input = Input(config)
        body = catalog.body_class(catalog.body_name(config))(config)
        self.body: Body = body
        self.dropout = nn.Dropout(config.dropout)

    def hidden(self, inputs: Tensor, context: Context) -> Tensor:
        """ids_BT or x_BTF to hidden_BTD: one vector a step; at padding, unspecified ones."""
        return self.body.forward(self.input(inputs), context)

    def embed(self, inputs: Tensor, lengths_B: Tensor) -> Tensor:
        """One vector of length 1 a row (B, D): the direction of the mean over the body's last hidden vectors."""
        hidden_BTD = self.hidden(inputs, Context(lengths_B))
        return functional.normalize(pooling.mean(hidden_BTD, lengths_B), dim=1)


class LanguageModel(Network):
    """Predicts the next token. `forward` gives hidden vectors, so that logits are made only where they are needed."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__(config)
        if not self.body.causal:
            raise ValueError("a language model needs a body that reads from left to right")
        self.head: nn.Module = Vocabulary(config)

    def forward(self, ids_BT: Tensor, context: Context) -> Tensor:
        """hidden_BTD. With `context.state` each row goes on from where it stands, and its state is moved on."""
        return self.hidden(ids_BT, context)

    def logits(self, hidden: Tensor) -> Tensor:
        """(…, D) to (…, V), unnormalised."""
        embedding = self.input.embedding
        assert embedding is not None  # generation needs tokens: `ModelConfig` sees to it
        logits: Tensor = self.head(hidden, embedding.weight)
        return logits

    def new_state(self, slots: int) -> State:
        return self.body.new_state(slots)


class Vocabulary(nn.Module):
    """The head of a language model; with tied embeddings it owns no matrix, only the bias where one is asked for."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        shape = (config.vocab_size, config.width)
        self.weight = None if config.tie_embeddings else nn.Parameter(torch.empty(shape))
        self.bias = nn.Parameter(torch.empty(config.vocab_size)) if config.head_bias else None

    def forward(self, hidden: Tensor, embedding_VD: Tensor) -> Tensor:
        return functional.linear(hidden, embedding_VD if self.weight is None else self.weight, self.bias)


class Classifier(Network):
    """One vector of scores a sequence: classes, independent labels, or a single value."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__(config)
        self.pooling = pooling.Pooling(config, self.body.width)
        self.head = nn.Linear(self.body.width, config.classes, bias=config.head_bias)

    def forward(self, inputs: Tensor, lengths_B: Tensor) -> Tensor:
        """logits_BC from ids_BT or x_BTF; for a regression value_B1."""
        hidden_BTD = self.hidden(inputs, Context(lengths_B))
        logits_BC: Tensor = self.head(self.dropout(self.pooling(hidden_BTD, lengths_B)))
        return logits_BC


class _Unfilled(TorchFunctionMode):
    """Modules made within leave their parameters as allocated: memory is filled once, by `initialise` or by a file.

    The "meta" device would do the same, but brings half of torch's compiler along: 1.7 seconds and 75 MB, measured.
    """

    def __torch_function__(
        self, func: Callable[..., Any], types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        if getattr(func, "__module__", "") == "torch.nn.init":
            return (kwargs or {}).get("tensor", args[0] if args else None)
        return func(*args, **(kwargs or {}))


def build(
    config: ModelConfig, generator: Generator | None = None, *, initialised: bool = True
) -> LanguageModel | Classifier:
    """The network of a configuration, on the CPU in float32, in training mode.

    Its weights follow from torch's random state, or from `generator`'s. `initialised` False leaves them undefined:
    for those who load them.
    """
    with _Unfilled():
        network = LanguageModel(config) if config.task == "generation" else Classifier(config)
    if initialised:
        initialise(network, config, generator)
    return network
