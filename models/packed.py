"""Language models with their matrices laid out once for oneDNN: faster on a processor, and for inference alone.

torch's own products rearrange a matrix at every call and share out few rows badly; with a handful of rows, as in
decoding, that costs up to half of the time. With many rows, as in classification, they are as fast as these (the
figures are in docs/log.md).
"""

from __future__ import annotations

import platform

import torch
from torch import Tensor, nn

from models.layers import MLP
from models.recurrent import GRU, LSTM, RNN, Recurrent, Step
from models.tasks import LanguageModel, Vocabulary

_ACTIVATIONS = {"swiglu": "swish", "gelu": "gelu", "relu": "relu"}


def packable(device: torch.device, dtype: torch.dtype) -> bool:
    """Whether this processor has kernels for packed matrices of that type."""
    if device.type != "cpu" or platform.machine().lower() not in ("x86_64", "amd64"):
        return False
    if not torch.backends.mkldnn.is_available():  # type: ignore[no-untyped-call]
        return False
    return dtype == torch.float32 or (dtype == torch.bfloat16 and torch.ops.mkldnn._is_mkldnn_bf16_supported())


def pack(network: LanguageModel) -> int:
    """In place; no gradient goes through it afterwards, and its `state_dict` no longer holds what was packed.

    Returns the bytes that it takes beyond those of the plain network, for what is needed in both forms.
    """
    embedding, head = network.input.embedding, network.head
    assert embedding is not None and isinstance(head, Vocabulary)
    with torch.no_grad():
        twice = _pack(network) + (embedding.weight.nbytes if head.weight is None else 0)
        network.head = PackedVocabulary(head, embedding.weight)
    return twice


def _pack(parent: nn.Module) -> int:
    twice = 0
    for name, child in parent.named_children():
        if isinstance(child, MLP):
            setattr(parent, name, PackedMLP(child))
        elif type(child) is nn.Linear:
            setattr(parent, name, PackedLinear(child.weight, child.bias))
        elif isinstance(child, Recurrent):
            # Whole sequences keep torch's fused kernels; only a state is moved on step by step.
            child.steps = [_step(child, layer) for layer in range(child.layers)]
            twice += sum(weight.nbytes for weight in child.parameters())
        else:
            twice += _pack(child)
    return twice


class PackedLinear(nn.Module):
    """x W' + b, and what often follows it, in one kernel."""

    def __init__(self, weight: Tensor, bias: Tensor | None, activation: str = "none") -> None:
        super().__init__()
        self._weight = torch.ops.mkldnn._reorder_linear_weight(weight.detach().contiguous(), None)
        self._bias = None if bias is None else bias.detach()
        self._activation, self._algorithm = activation, "none" if activation == "gelu" else ""

    def forward(self, x: Tensor) -> Tensor:
        output: Tensor = torch.ops.mkldnn._linear_pointwise(
            x, self._weight, self._bias, self._activation, [], self._algorithm
        )
        return output

    def plus(self, x: Tensor, other: Tensor) -> Tensor:
        output: Tensor = torch.ops.mkldnn._linear_pointwise.binary(x, other, self._weight, self._bias, "add")
        return output

    def times(self, x: Tensor, other: Tensor) -> Tensor:
        output: Tensor = torch.ops.mkldnn._linear_pointwise.binary(x, other, self._weight, self._bias, "mul")
        return output


class PackedMLP(nn.Module):
    """`MLP` with its activation, and the product with its gate, inside of the matrix kernels."""

    def __init__(self, mlp: MLP) -> None:
        super().__init__()
        parts = 2 if mlp.gated else 1
        weights = mlp.up.weight.chunk(parts)
        biases = [None] * parts if mlp.up.bias is None else mlp.up.bias.chunk(parts)
        self.active = PackedLinear(weights[0], biases[0], _ACTIVATIONS[mlp.activation])
        self.up = PackedLinear(weights[1], biases[1]) if mlp.gated else None
        self.down = PackedLinear(mlp.down.weight, mlp.down.bias)

    def forward(self, x_BTD: Tensor) -> Tensor:
        inner = self.active(x_BTD)
        if self.up is not None:
            inner = self.up.times(x_BTD, inner)
        output_BTD: Tensor = self.down(inner)
        return output_BTD


class PackedVocabulary(nn.Module):
    """`Vocabulary`. Where it was tied this is a second copy of the embedding, in which ids are still looked up."""

    def __init__(self, head: Vocabulary, embedding_VD: Tensor) -> None:
        super().__init__()
        self.linear = PackedLinear(embedding_VD if head.weight is None else head.weight, head.bias)

    def forward(self, hidden: Tensor, embedding_VD: Tensor) -> Tensor:
        logits: Tensor = self.linear(hidden)
        return logits


def _step(body: Recurrent, layer: int) -> Step:
    """One step of one layer, by the formulas of torch.nn."""
    weight_ih, weight_hh, bias_ih, bias_hh = body.rnn.all_weights[layer]
    if isinstance(body, GRU):  # its candidate looks at one half of the sum alone, so each half keeps its bias
        read, recall = PackedLinear(weight_ih, bias_ih), PackedLinear(weight_hh, bias_hh)
        return lambda x_BD, state: _gru(read(x_BD), recall(state[0]), state[0])
    read, recall = PackedLinear(weight_ih, bias_ih + bias_hh), PackedLinear(weight_hh, None)
    if isinstance(body, LSTM):
        return lambda x_BD, state: _lstm(recall.plus(state[0], read(x_BD)), state[1])
    assert isinstance(body, RNN)
    active = torch.tanh if body.rnn.mode == "RNN_TANH" else torch.relu
    return lambda x_BD, state: (active(recall.plus(state[0], read(x_BD))),)


def _lstm(gates: Tensor, cell_BD: Tensor) -> tuple[Tensor, Tensor]:
    width = cell_BD.shape[1]
    taken_BD, kept_BD = torch.sigmoid(gates[:, : 2 * width]).chunk(2, 1)
    fresh_BD = torch.addcmul(kept_BD * cell_BD, taken_BD, torch.tanh(gates[:, 2 * width : 3 * width]))
    return torch.sigmoid(gates[:, 3 * width :]) * torch.tanh(fresh_BD), fresh_BD


def _gru(read: Tensor, recalled: Tensor, hidden_BD: Tensor) -> tuple[Tensor]:
    width = hidden_BD.shape[1]
    reset_BD, kept_BD = torch.sigmoid(read[:, : 2 * width] + recalled[:, : 2 * width]).chunk(2, 1)
    candidate_BD = torch.tanh(torch.addcmul(read[:, 2 * width :], reset_BD, recalled[:, 2 * width :]))
    return (torch.lerp(candidate_BD, hidden_BD, kept_BD),)
