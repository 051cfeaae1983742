"""RNN, LSTM and GRU: the formulas for one step, and torch's kernels for whole sequences.

The rows of a matrix are grouped by gate, in the order of `torch.nn` (LSTM: input, forget, cell, output; GRU: reset,
update, new). In the formulas, x is the input of a step, and h' and cell' are the vectors from the previous step.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from models.config import ModelConfig
from models.kernels.port import Kernels
from models.recurrent import Cell, Recurrent


class RNN(Recurrent):
    """The simple recurrent network (Elman, 1990): h = f(W x + b + U h' + c), where f is tanh or ReLU."""

    def _network(self, config: ModelConfig) -> nn.RNNBase:
        return nn.RNN(*_sizes(config), nonlinearity=config.nonlinearity, **_options(config))

    @property
    def _rectified(self) -> bool:
        return self.rnn.mode == "RNN_RELU"

    def _torch_cell(self, weights: Sequence[Tensor]) -> Cell:
        cell = torch.rnn_relu_cell if self._rectified else torch.rnn_tanh_cell
        return lambda x_BD, state: (cell(x_BD, state[0], *weights),)

    def _cell(self, kernels: Kernels, weights: Sequence[Tensor]) -> Cell:
        weight_ih, weight_hh, bias_ih, bias_hh = weights
        read, recall = kernels.linear(weight_ih, bias_ih + bias_hh), kernels.linear_add(weight_hh, None)
        activation = torch.relu if self._rectified else torch.tanh

        def step(x_BD: Tensor, state: Sequence[Tensor]) -> tuple[Tensor, ...]:
            return (activation(recall(state[0], read(x_BD))),)

        return step

    def _one_way(self, x_BTD: Tensor, weights: Sequence[Tensor]) -> Tensor:
        layer = torch.rnn_relu if self._rectified else torch.rnn_tanh
        first_1BD = x_BTD.new_zeros(1, x_BTD.shape[0], self.hidden)
        return layer(x_BTD, first_1BD, list(weights), True, 1, 0.0, self.training, False, True)[0]


class LSTM(Recurrent):
    """Long short-term memory (Hochreiter and Schmidhuber, 1997, section 4), with the forget gate of Gers et al., 2000.

    i, f, o = sigmoid(…);  g = tanh(…);  cell = f * cell' + i * g;  h = o * tanh(cell)

    Each … stands for W x + b + U h' + c with the weights of that gate.
    """

    tensors = 2

    def _network(self, config: ModelConfig) -> nn.RNNBase:
        return nn.LSTM(*_sizes(config), **_options(config))

    def _run(self, x_BTD: Tensor, state: list[Tensor]) -> tuple[Tensor, list[Tensor]]:
        hidden_BTD, last = self.rnn(x_BTD, (state[0], state[1]))
        return hidden_BTD, list(last)

    def _torch_cell(self, weights: Sequence[Tensor]) -> Cell:
        return lambda x_BD, state: torch.lstm_cell(x_BD, (state[0], state[1]), *weights)

    def _cell(self, kernels: Kernels, weights: Sequence[Tensor]) -> Cell:
        weight_ih, weight_hh, bias_ih, bias_hh = weights
        read, recall = kernels.linear(weight_ih, bias_ih + bias_hh), kernels.linear_add(weight_hh, None)
        width = self.hidden

        def step(x_BD: Tensor, state: Sequence[Tensor]) -> tuple[Tensor, ...]:
            hidden_BD, cell_BD = state
            gates_B4D = recall(hidden_BD, read(x_BD))
            # The input and forget gates are adjacent, so one call computes both.
            input_BD, forget_BD = torch.sigmoid(gates_B4D[:, : 2 * width]).chunk(2, 1)
            candidate_BD = torch.tanh(gates_B4D[:, 2 * width : 3 * width])
            new_BD = torch.addcmul(forget_BD * cell_BD, input_BD, candidate_BD)
            return torch.sigmoid(gates_B4D[:, 3 * width :]) * torch.tanh(new_BD), new_BD

        return step

    def _one_way(self, x_BTD: Tensor, weights: Sequence[Tensor]) -> Tensor:
        first = [x_BTD.new_zeros(1, x_BTD.shape[0], self.hidden)] * 2
        return torch.lstm(x_BTD, first, list(weights), True, 1, 0.0, self.training, False, True)[0]


class GRU(Recurrent):
    """The gated recurrent unit (Cho et al., 2014, section 2.3), in the variant used by cuDNN and PyTorch.

    r, z = sigmoid(W x + b + U h' + c);  n = tanh(W x + b + r * (U h' + c));  h = (1 - z) * n + z * h'

    The reset gate r is applied after the recurrent product and its bias. In the paper, r is applied to h' before the
    recurrent product.
    """

    def _network(self, config: ModelConfig) -> nn.RNNBase:
        return nn.GRU(*_sizes(config), **_options(config))

    def _torch_cell(self, weights: Sequence[Tensor]) -> Cell:
        return lambda x_BD, state: (torch.gru_cell(x_BD, state[0], *weights),)

    def _cell(self, kernels: Kernels, weights: Sequence[Tensor]) -> Cell:
        weight_ih, weight_hh, bias_ih, bias_hh = weights
        # The reset gate multiplies only the recurrent part, so the two products and their biases are kept separate.
        read, recall = kernels.linear(weight_ih, bias_ih), kernels.linear(weight_hh, bias_hh)
        width = self.hidden

        def step(x_BD: Tensor, state: Sequence[Tensor]) -> tuple[Tensor, ...]:
            hidden_BD = state[0]
            read_B3D, recalled_B3D = read(x_BD), recall(hidden_BD)
            gates_B2D = torch.sigmoid(read_B3D[:, : 2 * width] + recalled_B3D[:, : 2 * width])
            reset_BD, update_BD = gates_B2D.chunk(2, 1)
            new_BD = torch.tanh(torch.addcmul(read_B3D[:, 2 * width :], reset_BD, recalled_B3D[:, 2 * width :]))
            return (torch.lerp(new_BD, hidden_BD, update_BD),)

        return step

    def _one_way(self, x_BTD: Tensor, weights: Sequence[Tensor]) -> Tensor:
        first_1BD = x_BTD.new_zeros(1, x_BTD.shape[0], self.hidden)
        return torch.gru(x_BTD, first_1BD, list(weights), True, 1, 0.0, self.training, False, True)[0]


def _sizes(config: ModelConfig) -> tuple[int, int, int]:
    return config.vector_width, config.width, config.layers


def _options(config: ModelConfig) -> dict[str, object]:
    dropout = config.dropout if config.layers > 1 else 0.0  # applied between layers; torch warns if there is only one
    return {"batch_first": True, "bidirectional": config.bidirectional, "dropout": dropout}
