"""Complete networks: input, body and head.

Training losses are in `app/training/loop/objective.py`. The names and shapes of all parameters are listed in
`models/parameters.py`.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import torch
from torch import Generator, Tensor, nn
from torch.nn import functional
from torch.overrides import TorchFunctionMode

from models import catalog, pooling
from models.activations import ACTIVATIONS
from models.config import ModelConfig
from models.initialisation import initialise
from models.interface import Body, Context
from models.kernels import reference
from models.kernels.port import KernelLayer, Kernels, Product
from models.linear import LinearClassifier
from models.ngrams import Ngrams
from models.snapshot import Snapshot
from models.state import State
from models.token_ngrams import TokenNgrams


class Input(nn.Module):
    """Maps token ids (B, T) or numeric steps (B, T, F) to the vectors that the body reads (B, T, D)."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        tokens = config.input == "tokens"
        self.embedding = nn.Embedding(config.vocab_size, config.vector_width) if tokens else None
        self.types = nn.Embedding(config.token_types, config.width) if config.token_types else None
        self.separator_id = config.separator_id
        self.projection = nn.Linear(config.features, config.vector_width) if config.projected else None
        self.activation = ACTIVATIONS[config.input_activation]
        # A Transformer applies the first dropout itself, after adding the positions.
        self.dropout = nn.Dropout(config.dropout if config.recurrent else 0.0)

    def forward(self, steps: Tensor) -> Tensor:
        """Return vectors_BTD from ids_BT or x_BTF."""
        if self.embedding is not None:
            ids_BT, steps = steps, self.embedding(steps)
            steps = steps if self.types is None else steps + self.types(self._parts(ids_BT))
        elif self.projection is not None:
            steps = self.activation(self.projection(steps))
        vectors_BTD: Tensor = self.dropout(steps)
        return vectors_BTD

    def _parts(self, ids_BT: Tensor) -> Tensor:
        """Return each token's type: the number of separators before the token, capped at the last type."""
        assert self.types is not None
        ends_BT = (ids_BT == self.separator_id).long()
        return (ends_BT.cumsum(1) - ends_BT).clamp(max=self.types.num_embeddings - 1)


class Network(nn.Module):
    """The base class of the networks for all tasks: an input and a body."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.config = config
        self.input = Input(config)
        body = catalog.body_class(catalog.body_name(config))(config)
        self.body: Body = body
        normed = config.output_norm != "none"
        self.norm = nn.LayerNorm(self.body.width, eps=config.norm_eps) if normed else None
        self.dropout = nn.Dropout(config.dropout)

    def hidden(self, inputs: Tensor, context: Context) -> Tensor:
        """Return hidden_BTD, one vector per step, from ids_BT or x_BTF. Vectors at padding are unspecified."""
        return self.normed(self.body.forward(self.input(inputs), context))

    def normed(self, body_BTD: Tensor) -> Tensor:
        """Return hidden_BTD from the output of the body."""
        if self.norm is not None and self.config.output_norm == "steps":
            body_BTD = self.norm(body_BTD)
        return body_BTD

    def embed(self, inputs: Tensor, lengths_B: Tensor) -> Tensor:
        """Return an embedding of each row, with shape (B, D): the mean of its hidden vectors, scaled to length 1."""
        return self.embedded(self.hidden(inputs, Context(lengths_B)), lengths_B)

    def embedded(self, hidden_BTD: Tensor, lengths_B: Tensor) -> Tensor:
        """Return the embeddings, as `embed` does, from hidden vectors."""
        return functional.normalize(pooling.mean(hidden_BTD, lengths_B), dim=1)


class LanguageModel(Network, KernelLayer):
    """Predicts the next token.

    `forward` returns hidden vectors and `logits` maps them to the vocabulary, so that logits are computed only for the
    steps that need them, such as the last step of a long prompt.
    """

    def __init__(self, config: ModelConfig) -> None:
        super().__init__(config)
        if not self.body.causal:
            raise ValueError("a language model needs a causal body")
        self.head = VocabularyHead(config)
        self.ngrams = TokenNgrams(config) if config.ngram_buckets else None
        self._bound: Product | None = None

    def forward(self, ids_BT: Tensor, context: Context) -> Tensor:
        """Return hidden_BTD. With `context.state`, each row continues from its state, which is updated in place."""
        if self.ngrams is None:
            return self.hidden(ids_BT, context)
        state = None if context.state is None else context.state.without_last_layer()
        # The body is called first, because it raises an error if the state is full.
        hidden_BTD = self.hidden(ids_BT, Context(context.lengths_B, state))
        vectors_BTD: Tensor = self.ngrams(ids_BT, context)
        return hidden_BTD + vectors_BTD

    def logits(self, hidden: Tensor) -> Tensor:
        """Return unnormalised log-probabilities (…, V) from hidden vectors (…, D)."""
        head = self._bound or self._product(reference)
        return head(hidden)

    def new_state(self, slots: int) -> State:
        state = self.body.new_state(slots)
        return state if self.ngrams is None else state.extended(self.ngrams.state_shape)

    def divides(self, state: State) -> bool:
        """Whether a snapshot contains the state after any prefix, which requires a body without fixed tensors."""
        axes = state.axes if self.ngrams is None else state.axes[:-1]
        return all(axis is not None for layer in axes for axis in layer)

    def resume(self, state: State, slot: int, snapshot: Snapshot, ids: Sequence[int]) -> None:
        """Overwrite a slot with a snapshot taken after the tokens `ids`.

        The snapshot must contain the body's fixed tensors. The previous tokens that the n-gram branch stores in the
        state are taken from `ids`.
        """
        if self.ngrams is not None:
            layers = (*snapshot.layers[:-1], (self.ngrams.history(ids),))
            snapshot = replace(snapshot, layers=layers)
        state.restore(slot, snapshot)

    def _product(self, kernels: Kernels) -> Product:
        weight_VD = self._embedding_VD if self.head.weight is None else self.head.weight
        return kernels.linear(weight_VD, self.head.bias)

    def bind(self, kernels: Kernels) -> int:
        self._bound = self._product(kernels)
        # Keep a tied embedding, because looking up token ids needs the matrix in its plain layout.
        twice = self._embedding_VD.nbytes if self.head.weight is None else 0
        self.head.weight = self.head.bias = None
        return twice

    @property
    def _embedding_VD(self) -> Tensor:
        embedding = self.input.embedding
        assert embedding is not None  # `ModelConfig` requires tokens for generation
        return embedding.weight


class VocabularyHead(nn.Module):
    """The parameters of a language model's head.

    With tied embeddings (Press and Wolf, 2017), the head has no separate matrix.
    """

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        shape = (config.vocab_size, config.width)
        self.weight = None if config.tie_embeddings else nn.Parameter(torch.empty(shape))
        self.bias = nn.Parameter(torch.empty(config.vocab_size)) if config.head_bias else None


class Classifier(Network):
    """Maps a sequence to one output: scores for classes or for independent labels, or a single regression value."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__(config)
        self.pooling = pooling.Pooling(config, self.body.width)
        self.output_activation = ACTIVATIONS[config.output_activation]
        widths = (self.body.width, *config.head_widths)
        self.head_layers = nn.ModuleList(nn.Linear(*pair) for pair in itertools.pairwise(widths))
        self.head_activation = ACTIVATIONS[config.head_activation]
        self.head_norm = (
            nn.LayerNorm(widths[-1], eps=config.norm_eps, bias=config.norm_bias) if config.head_norm else None
        )
        self.head = nn.Linear(widths[-1], config.classes, bias=config.head_bias)
        self.ngrams = Ngrams(config) if config.ngram_buckets else None
        self.mix = nn.Parameter(torch.empty(2), requires_grad=False) if self.ngrams is not None else None

    def forward(self, inputs: Tensor, lengths_B: Tensor) -> Tensor:
        """Return logits_BC from ids_BT or x_BTF; for regression, value_B1."""
        return self.combine(self.outputs(inputs, lengths_B))

    def outputs(
        self, inputs: Tensor, lengths_B: Tensor, *, branch: bool = True, host: tuple[Tensor, Tensor] | None = None
    ) -> list[Tensor]:
        """Return the outputs of the network and of its n-gram branch, each with shape (B, C).

        Without a branch, or if `branch` is false, there is only one output. `host` contains `inputs` and `lengths_B` on
        the host. The branch reads those, so that the host does not wait for the device.
        """
        outputs = [self._scores(self.hidden(inputs, Context(lengths_B)), lengths_B)]
        if self.ngrams is not None and branch:
            outputs.append(self.ngrams(*(host or (inputs, lengths_B))))
        return outputs

    def combine(self, outputs: list[Tensor]) -> Tensor:
        """Return the sum of the two outputs, weighted by `mix`. Without a branch, return the only output."""
        if self.mix is None:
            return outputs[0]
        return self.mix[0] * outputs[0] + self.mix[1] * outputs[1]

    def classified(self, hidden_BTD: Tensor, inputs: Tensor, lengths_B: Tensor) -> Tensor:
        """Return the output, as `forward` does, from hidden vectors. Only the n-gram branch reads `inputs`."""
        branch = [] if self.ngrams is None else [self.ngrams(inputs, lengths_B)]
        return self.combine([self._scores(hidden_BTD, lengths_B), *branch])

    def _scores(self, hidden_BTD: Tensor, lengths_B: Tensor) -> Tensor:
        vector_BD = self.pooling(hidden_BTD, lengths_B)
        if self.norm is not None and self.config.output_norm == "pooled":
            vector_BD = self.norm(vector_BD)
        vector_BD = self.dropout(self.output_activation(vector_BD))
        for layer in self.head_layers:
            vector_BD = self.dropout(self.head_activation(layer(vector_BD)))
        if self.head_norm is not None:
            vector_BD = self.head_norm(vector_BD)
        logits_BC: Tensor = self.head(vector_BD)
        return logits_BC


class Embedder(Network):
    """Maps a sequence to a vector. The network has no head; `embed` returns the pooled vector."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__(config)
        self.pooling = pooling.Pooling(config, self.body.width)

    def embedded(self, hidden_BTD: Tensor, lengths_B: Tensor) -> Tensor:
        """Return the pooled vector of each row, with shape (B, D), scaled to length 1."""
        return functional.normalize(self.pooling(hidden_BTD, lengths_B), dim=1)


class _Uninitialised(TorchFunctionMode):
    """A mode in which new modules have undefined parameters until `initialise` or a weights file sets them.

    The "meta" device would have the same effect, but imports parts of torch's compiler, which takes 1.7 seconds and 75
    MB.
    """

    def __torch_function__(
        self, func: Callable[..., Any], types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        if getattr(func, "__module__", "") == "torch.nn.init":
            return (kwargs or {}).get("tensor", args[0] if args else None)
        return func(*args, **(kwargs or {}))


RowNetwork = Classifier | LinearClassifier
TaskNetwork = LanguageModel | RowNetwork  # the networks that can be trained


def build(config: ModelConfig, generator: Generator | None = None, *, initialised: bool = True) -> TaskNetwork:
    """Build a configuration's network on the CPU, in float32 and in training mode.

    The weights are drawn from `generator` or from torch's global random state. With `initialised=False`, the weights
    are left undefined, for callers that load weights afterwards. Raises ValueError for the task `embedding`.
    """
    with _Uninitialised():
        network = _network(config)
    if isinstance(network, Embedder):
        raise ValueError("a network for embeddings has no output to train; use build_for_inference")
    if initialised:
        initialise(network, config, generator)
    return network


def build_for_inference(config: ModelConfig) -> TaskNetwork | Embedder:
    """Build a configuration's network, for any task, on the CPU, in float32 and with undefined weights."""
    with _Uninitialised():
        return _network(config)


def _network(config: ModelConfig) -> TaskNetwork | Embedder:
    if config.task == "generation":
        return LanguageModel(config)
    if config.task == "embedding":
        return Embedder(config)
    return LinearClassifier(config) if config.architecture == "linear" else Classifier(config)
