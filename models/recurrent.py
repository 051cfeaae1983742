"""The common base of RNN, LSTM and GRU: computes whole sequences, single steps and chunks, in one or both directions.

The parameters have the same names and shapes as those of `torch.nn.RNN`, `LSTM` and `GRU`, so that weights trained with
PyTorch can be loaded unchanged. Whole sequences are computed by torch's fused kernels on right-padded batches, because
a PackedSequence is 5 to 100 times slower on a CPU (pytorch#149194). Single steps are computed by a cell, because the
fused kernels rearrange their weights in every call, which would be slow for a single step.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import ClassVar

import torch
from torch import Tensor, nn

from models import interruption
from models.config import ModelConfig
from models.interface import Context
from models.kernels.port import KernelLayer, Kernels
from models.state import State

PIECE_STEPS = 2048  # steps of a long sequence that are computed between two calls of `interruption.check`
RowIndex = slice | Tensor
Cell = Callable[[Tensor, Sequence[Tensor]], tuple[Tensor, ...]]  # (x_BD, state) -> new state, output first


class Recurrent(KernelLayer):
    """The base class of recurrent bodies. A layer's state has `tensors` vectors (two for an LSTM: hidden and cell)."""

    tensors: ClassVar[int] = 1
    whole_sequences: ClassVar[bool] = False
    rnn: nn.RNNBase

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.causal = not config.bidirectional
        self.layers, self.hidden = config.layers, config.width
        self.width = config.width * (2 if config.bidirectional else 1)
        self.rnn = self._network(config)
        self._bound: list[Cell] | None = None  # the cell of each layer

    def _network(self, config: ModelConfig) -> nn.RNNBase:
        raise NotImplementedError

    def _run(self, x_BTD: Tensor, state: list[Tensor]) -> tuple[Tensor, list[Tensor]]:
        """Run all layers over all steps. Returns hidden_BTD and the new state, a list of tensors of shape (L, B, D)."""
        hidden_BTD, last_LBD = self.rnn(x_BTD, state[0])
        return hidden_BTD, [last_LBD]

    def _torch_cell(self, weights: Sequence[Tensor]) -> Cell:
        """Return torch's function for one step of one layer: two matrix products and, on a GPU, one fused kernel."""
        raise NotImplementedError

    def _cell(self, kernels: Kernels, weights: Sequence[Tensor]) -> Cell:
        """Return a function for one step of one layer, which computes the cell's formula with `kernels`."""
        raise NotImplementedError

    def _one_way(self, x_BTD: Tensor, weights: Sequence[Tensor]) -> Tensor:
        """Compute one layer in one direction over every step, starting from a state of zeros."""
        raise NotImplementedError

    def bind(self, kernels: Kernels) -> int:
        # Whole sequences still use torch's fused kernels, which need the parameters, so these weights are in memory
        # twice.
        self._bound = [self._cell(kernels, self.rnn.all_weights[layer]) for layer in range(self.layers)]
        return sum(weight.nbytes for weight in self.parameters())

    def new_state(self, slots: int) -> State:
        if not self.causal:
            raise TypeError("a bidirectional network has no state, because it reads only whole sequences")
        weight = self.rnn.all_weights[0][0]
        shapes = [[(self.hidden,)] * self.tensors] * self.layers
        return State.new(shapes, slots, dtype=weight.dtype, device=weight.device)

    def forward(self, x_BTD: Tensor, context: Context) -> Tensor:
        """Return hidden_BTD. A call with a state is for inference only: the state has no gradients."""
        if context.state is not None:
            steps = context.steps(x_BTD)
            advance = self._step if x_BTD.shape[1] == 1 else self._chunk
            hidden_BTD = advance(x_BTD, steps, context.state)
            context.state.advance(steps)
            return hidden_BTD
        with _supported_precision(x_BTD):
            if self.causal or context.lengths_B is None:
                # Padding is on the right: a causal body reads it after all real steps, so it cannot change their
                # results.
                return self._forwards(x_BTD)
            return self._both_ways(x_BTD, context.lengths_B.to(x_BTD.device))

    def _forwards(self, x_BTD: Tensor) -> Tensor:
        """Compute whole sequences.

        For inference, long sequences are computed in pieces, between which the computation can be stopped. The result
        is the same, because each piece of a causal network continues from the state after the previous one.
        """
        if not self.causal or torch.is_grad_enabled() or x_BTD.shape[1] <= PIECE_STEPS:
            hidden: Tensor = self.rnn(x_BTD)[0]
            return hidden
        state = [x_BTD.new_zeros(self.layers, x_BTD.shape[0], self.hidden)] * self.tensors
        pieces = []
        for piece_BTD in torch.split(x_BTD, PIECE_STEPS, 1):
            interruption.check()
            hidden_BTD, state = self._run(piece_BTD, state)
            pieces.append(hidden_BTD)
        return torch.cat(pieces, 1)

    def _step(self, x_B1D: Tensor, steps: list[int], state: State) -> Tensor:
        """Compute one step of every row. The state of a row without a real step remains bit-identical."""
        x_BD = x_B1D[:, 0]
        keep_B1 = None if all(steps) else torch.tensor(steps, dtype=torch.bool, device=x_BD.device)[:, None]
        cells = self._bound or [self._torch_cell(weights) for weights in self.rnn.all_weights]
        for cell, tensors in zip(cells, state.layers, strict=True):
            new = cell(x_BD, tensors)
            x_BD = new[0]
            for old_BD, new_BD in zip(tensors, new, strict=True):
                # Rows without a step are computed as well, but their results are discarded. `where` discards even a
                # NaN; multiplication by a mask would not.
                old_BD.copy_((new_BD if keep_B1 is None else torch.where(keep_B1, new_BD, old_BD)).detach())
        return x_BD[:, None]

    def _chunk(self, x_BTD: Tensor, steps: list[int], state: State) -> Tensor:
        """Compute a chunk of several steps, in which rows may have different numbers of real steps.

        The fused kernels return only the state after the last column. Therefore, the chunk is cut at every column where
        a row ends, and each row's state is stored after its last real step.
        """
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
        """Compute both directions over rows of different lengths.

        With padded rows, torch's bidirectional networks would start the backward direction in the padding. Therefore,
        each row is reversed within its length, read forwards, and reversed again. The caller can stop the computation
        before each direction.
        """
        index_BT = _reversal(lengths_B, x_BTD.shape[1])
        for layer in range(self.layers):
            if layer and self.rnn.dropout:
                x_BTD = nn.functional.dropout(x_BTD, self.rnn.dropout, self.training)
            interruption.check()
            forward_BTD = self._one_way(x_BTD, self.rnn.all_weights[2 * layer])
            interruption.check()
            backward_BTD = self._one_way(_reordered(x_BTD, index_BT), self.rnn.all_weights[2 * layer + 1])
            x_BTD = torch.cat((forward_BTD, _reordered(backward_BTD, index_BT)), 2)
        return x_BTD


def _supported_precision(x_BTD: Tensor) -> AbstractContextManager[object]:
    """Return a context manager that disables autocast on processors where it would fail.

    Under autocast, torch requests bfloat16 recurrences from oneDNN even on processors that do not support them, and
    fails. On these processors, the recurrence is computed in float32, which is faster than emulated bfloat16.
    """
    cast = x_BTD.device.type == "cpu" and torch.is_autocast_enabled("cpu")
    if cast and not torch.ops.mkldnn._is_mkldnn_bf16_supported():
        return torch.autocast("cpu", enabled=False)
    return nullcontext()


def _segments(steps: list[int], device: torch.device) -> Iterator[tuple[int, int, RowIndex]]:
    """Yield pieces (start, stop, rows): `rows` have real steps from `start` to `stop`, and at least one ends at `stop`.

    For steps [3, 1, 3]: (0, 1, all rows), (1, 3, rows 0 and 2). There is one piece per distinct number of steps.
    """
    start = 0
    for stop in sorted({count for count in steps if count}):
        rows = [row for row, count in enumerate(steps) if count >= stop]
        yield start, stop, slice(None) if len(rows) == len(steps) else torch.tensor(rows, device=device)
        start = stop


def _reversal(lengths_B: Tensor, steps: int) -> Tensor:
    """Return index_BT, which reverses each row within its length, keeps padding in place, and is its own inverse."""
    time_T = torch.arange(steps, device=lengths_B.device)
    turned_BT = lengths_B[:, None] - 1 - time_T
    return torch.where(turned_BT < 0, time_T, turned_BT)


def _reordered(x_BTD: Tensor, index_BT: Tensor) -> Tensor:
    """Return a tensor with x[b, index_BT[b, t]] at (b, t)."""
    rows, steps, width = x_BTD.shape
    flat_N = (index_BT + torch.arange(rows, device=x_BTD.device)[:, None] * steps).flatten()
    return x_BTD.reshape(rows * steps, width).index_select(0, flat_N).view(rows, steps, width)
