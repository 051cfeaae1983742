"""RNN, LSTM and GRU: one base, three short classes. Knows vectors in and vectors out; knows no tokens and no task.

Weights are those of `torch.nn.RNN`, `LSTM`, `GRU`, under the same names, so that other people's load as they are.
Whole sequences go through torch's fused kernels over right-padded batches (a PackedSequence is 5 to 100 times slower
on a CPU, pytorch#149194); one step at a time goes through the cell, which the fused kernels are slow at: they
rearrange their weights at each call.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import ClassVar

import torch
from torch import Tensor, nn

from models.config import ModelConfig
from models.interface import Context
from models.state import State

Rows = slice | Tensor
Step = Callable[[Tensor, Sequence[Tensor]], tuple[Tensor, ...]]  # (x_BD, state) to the new state, the output first


class Recurrent(nn.Module):
    """What the three have in common. `tensors` is how many vectors a layer remembers (an LSTM: hidden and cell)."""

    tensors: ClassVar[int] = 1
    rnn: nn.RNNBase

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.causal = not config.bidirectional
        self.layers, self.hidden = config.layers, config.width
        self.width = config.width * (2 if config.bidirectional else 1)
        self.rnn = self._network(config)
        self.steps: list[Step] | None = None  # faster cells than torch's, a layer each (see models/packed.py)

    def _network(self, config: ModelConfig) -> nn.RNNBase:
        raise NotImplementedError

    def _run(self, x_BTD: Tensor, state: list[Tensor]) -> tuple[Tensor, list[Tensor]]:
        """Every layer over every step, from and to a state of tensors (L, B, D)."""
        hidden_BTD, last_LBD = self.rnn(x_BTD, state[0])
        return hidden_BTD, [last_LBD]

    def _cell(self, x_BD: Tensor, state: Sequence[Tensor], weights: Sequence[Tensor]) -> tuple[Tensor, ...]:
        """One layer, one step: the new state, the output first."""
        raise NotImplementedError

    def _one_way(self, x_BTD: Tensor, weights: Sequence[Tensor]) -> Tensor:
        """One layer in one direction over every step, from nothing."""
        raise NotImplementedError

    def new_state(self, slots: int) -> State:
        if not self.causal:
            raise TypeError("a bidirectional network reads whole sequences only: it has no state")
        weight = self.rnn.all_weights[0][0]
        shapes = [[(self.hidden,)] * self.tensors] * self.layers
        return State.new(shapes, slots, dtype=weight.dtype, device=weight.device)

    def forward(self, x_BTD: Tensor, context: Context) -> Tensor:
        """With a state the pass is for inference: no gradient goes back through the state."""
        if context.state is not None:
            steps = context.steps(x_BTD)
            advance = self._step if x_BTD.shape[1] == 1 else self._chunk
            hidden_BTD = advance(x_BTD, steps, context.state)
            context.state.advance(steps)
            return hidden_BTD
        with _possible_precision(x_BTD):
            if self.causal or context.lengths_B is None:
                # Padding on the right is read after everything that is real, and so changes nothing.
                hidden: Tensor = self.rnn(x_BTD)[0]
                return hidden
            return self._both_ways(x_BTD, context.lengths_B.to(x_BTD.device))

    def _step(self, x_B1D: Tensor, steps: list[int], state: State) -> Tensor:
        x_BD = x_B1D[:, 0]
        keep_B1 = None if all(steps) else torch.tensor(steps, dtype=torch.bool, device=x_BD.device)[:, None]
        for layer, tensors in enumerate(state.layers):
            if self.steps is None:
                fresh = self._cell(x_BD, tensors, self.rnn.all_weights[layer])
            else:
                fresh = self.steps[layer](x_BD, tensors)
            x_BD = fresh[0]
            for old_BD, new_BD in zip(tensors, fresh, strict=True):
                old_BD.copy_((new_BD if keep_B1 is None else torch.where(keep_B1, new_BD, old_BD)).detach())
        return x_BD[:, None]

    def _chunk(self, x_BTD: Tensor, steps: list[int], state: State) -> Tensor:
        """Cut the chunk where rows end, so that each row's state is the one after its own last real step."""
        hidden_BTD = x_BTD.new_zeros(*x_BTD.shape[:2], self.hidden)
        for start, stop, rows in _segments(steps, x_BTD.device):
            before = [torch.stack([layer[i][rows] for layer in state.layers]) for i in range(self.tensors)]
            piece_BTD, after = self._run(x_BTD[rows, start:stop], before)
            hidden_BTD[rows, start:stop] = piece_BTD
            for i, stacked_LBD in enumerate(after):
                for layer, new_BD in zip(state.layers, stacked_LBD.detach(), strict=True):
                    layer[i][rows] = new_BD
        return hidden_BTD

    def _both_ways(self, x_BTD: Tensor, lengths_B: Tensor) -> Tensor:
        """Two directions over rows of unequal length: the second reads each row from its own last step back."""
        index_BT = _reversal(lengths_B, x_BTD.shape[1])
        for layer in range(self.layers):
            if layer and self.rnn.dropout:
                x_BTD = nn.functional.dropout(x_BTD, self.rnn.dropout, self.training)
            forward_BTD = self._one_way(x_BTD, self.rnn.all_weights[2 * layer])
            backward_BTD = self._one_way(_reordered(x_BTD, index_BT), self.rnn.all_weights[2 * layer + 1])
            x_BTD = torch.cat((forward_BTD, _reordered(backward_BTD, index_BT)), 2)
        return x_BTD


def _possible_precision(x_BTD: Tensor) -> AbstractContextManager[object]:
    """Under autocast torch asks oneDNN for bfloat16 recurrences also where the processor has none, and fails.

    There the recurrence stays in float32, which is faster than an emulation would be.
    """
    cast = x_BTD.device.type == "cpu" and torch.is_autocast_enabled("cpu")
    if cast and not torch.ops.mkldnn._is_mkldnn_bf16_supported():
        return torch.autocast("cpu", enabled=False)
    return nullcontext()


def _segments(steps: list[int], device: torch.device) -> Iterator[tuple[int, int, Rows]]:
    """Pieces (start, stop, rows) such that every row of a piece has all its steps, and ends at the end of one."""
    start = 0
    for stop in sorted({count for count in steps if count}):
        rows = [row for row, count in enumerate(steps) if count >= stop]
        yield start, stop, slice(None) if len(rows) == len(steps) else torch.tensor(rows, device=device)
        start = stop


def _reversal(lengths_B: Tensor, steps: int) -> Tensor:
    """index_BT: where each step goes when every row is turned round within its own length; padding stays."""
    time_T = torch.arange(steps, device=lengths_B.device)
    turned_BT = lengths_B[:, None] - 1 - time_T
    return torch.where(turned_BT < 0, time_T, turned_BT)


def _reordered(x_BTD: Tensor, index_BT: Tensor) -> Tensor:
    rows, steps, width = x_BTD.shape
    flat_N = (index_BT + torch.arange(rows, device=x_BTD.device)[:, None] * steps).flatten()
    return x_BTD.reshape(rows * steps, width).index_select(0, flat_N).view(rows, steps, width)


class RNN(Recurrent):
    """Elman's network: h = f(W x + b + U h + c), f the hyperbolic tangent or the rectifier."""

    def _network(self, config: ModelConfig) -> nn.RNNBase:
        return nn.RNN(*_sizes(config), nonlinearity=config.nonlinearity, **_options(config))

    def _cell(self, x_BD: Tensor, state: Sequence[Tensor], weights: Sequence[Tensor]) -> tuple[Tensor, ...]:
        cell = torch.rnn_tanh_cell if self.rnn.mode == "RNN_TANH" else torch.rnn_relu_cell
        return (cell(x_BD, state[0], *weights),)

    def _one_way(self, x_BTD: Tensor, weights: Sequence[Tensor]) -> Tensor:
        layer = torch.rnn_tanh if self.rnn.mode == "RNN_TANH" else torch.rnn_relu
        first_1BD = x_BTD.new_zeros(1, x_BTD.shape[0], self.hidden)
        return layer(x_BTD, first_1BD, list(weights), True, 1, 0.0, self.training, False, True)[0]


class LSTM(Recurrent):
    """Long short-term memory (Hochreiter and Schmidhuber 1997, with the forget gate of Gers et al. 2000)."""

    tensors = 2

    def _network(self, config: ModelConfig) -> nn.RNNBase:
        return nn.LSTM(*_sizes(config), **_options(config))

    def _run(self, x_BTD: Tensor, state: list[Tensor]) -> tuple[Tensor, list[Tensor]]:
        hidden_BTD, last = self.rnn(x_BTD, (state[0], state[1]))
        return hidden_BTD, list(last)

    def _cell(self, x_BD: Tensor, state: Sequence[Tensor], weights: Sequence[Tensor]) -> tuple[Tensor, ...]:
        return torch.lstm_cell(x_BD, (state[0], state[1]), *weights)

    def _one_way(self, x_BTD: Tensor, weights: Sequence[Tensor]) -> Tensor:
        first = [x_BTD.new_zeros(1, x_BTD.shape[0], self.hidden)] * 2
        return torch.lstm(x_BTD, first, list(weights), True, 1, 0.0, self.training, False, True)[0]


class GRU(Recurrent):
    """The gated recurrent unit (Cho et al. 2014), in the variant of cuDNN and PyTorch."""

    def _network(self, config: ModelConfig) -> nn.RNNBase:
        return nn.GRU(*_sizes(config), **_options(config))

    def _cell(self, x_BD: Tensor, state: Sequence[Tensor], weights: Sequence[Tensor]) -> tuple[Tensor, ...]:
        return (torch.gru_cell(x_BD, state[0], *weights),)

    def _one_way(self, x_BTD: Tensor, weights: Sequence[Tensor]) -> Tensor:
        first_1BD = x_BTD.new_zeros(1, x_BTD.shape[0], self.hidden)
        return torch.gru(x_BTD, first_1BD, list(weights), True, 1, 0.0, self.training, False, True)[0]


def _sizes(config: ModelConfig) -> tuple[int, int, int]:
    return config.vector_width, config.width, config.layers


def _options(config: ModelConfig) -> dict[str, object]:
    dropout = config.dropout if config.layers > 1 else 0.0  # between layers; torch warns where there is one only
    return {"batch_first": True, "bidirectional": config.bidirectional, "dropout": dropout}
