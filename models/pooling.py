"""Pooling: combines the hidden vectors of a sequence's steps into one vector."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from models.activations import ACTIVATIONS
from models.config import ModelConfig


class Pooling(nn.Module):
    """Pools over the real steps of each row. For a row without real steps, the result is finite but unspecified.

    - `last`: the last real step. For a bidirectional recurrent network, the step that each direction reads last, which
      is step 0 for the backward direction (as in torch's `h_n`).
    - `last_step`: both directions at the last real step (as in `out[:, -1]`).
    - `first`: step 0, where some encoders place a special token.
    - `mean`, `max`: the mean or the maximum over the steps, separately for each dimension.
    - `attention`: a weighted mean. The weights are a softmax over the scores of the steps. A learned query scores each
      step's vector or, with `pooling_width`, the output of a hidden layer that reads this vector (Yang et al., 2016,
      section 2.2). `pooling_input_activation` is applied to the vector before it is scored (tanh in Zhou et al., 2016,
      section 3.3).
    """

    def __init__(self, config: ModelConfig, width: int) -> None:
        super().__init__()
        self.kind = config.pooling
        self.halves = config.bidirectional and config.recurrent and self.kind == "last"
        attends = self.kind == "attention"
        self.hidden = nn.Linear(width, config.pooling_width) if attends and config.pooling_width else None
        self.input_activation = ACTIVATIONS[config.pooling_input_activation]
        self.activation = ACTIVATIONS[config.pooling_activation]
        self.query = nn.Linear(config.pooling_width or width, 1, bias=False) if attends else None

    def forward(self, hidden_BTD: Tensor, lengths_B: Tensor) -> Tensor:
        """Return pooled_BD, one vector per row."""
        lengths_B = lengths_B.to(hidden_BTD.device)
        if self.kind in ("last", "last_step"):
            return self._last(hidden_BTD, lengths_B.clamp(min=1) - 1)
        if self.kind == "first":
            return hidden_BTD[:, 0]
        if self.kind == "mean":
            return mean(hidden_BTD, lengths_B)
        # Keep at least one step of each row, because the maximum and the softmax over no steps are not finite.
        padding_BT1 = _padding(hidden_BTD, lengths_B.clamp(min=1))
        if self.query is None:
            return hidden_BTD.masked_fill(padding_BT1, float("-inf")).amax(1)
        read_BTA = self.input_activation(hidden_BTD)
        read_BTA = read_BTA if self.hidden is None else self.activation(self.hidden(read_BTA))
        weights_BT1: Tensor = self.query(read_BTA).masked_fill(padding_BT1, float("-inf")).softmax(1)
        return (weights_BT1 * hidden_BTD).sum(1)

    def _last(self, hidden_BTD: Tensor, last_B: Tensor) -> Tensor:
        last_BD = hidden_BTD[torch.arange(len(last_B), device=last_B.device), last_B]
        if not self.halves:
            return last_BD
        half = last_BD.shape[1] // 2
        return torch.cat((last_BD[:, :half], hidden_BTD[:, 0, half:]), 1)


def mean(hidden_BTD: Tensor, lengths_B: Tensor) -> Tensor:
    """Return the mean over each row's real steps, with shape (B, D). The mean of a row without real steps is 0."""
    lengths_B = lengths_B.to(hidden_BTD.device)
    summed_BD = hidden_BTD.masked_fill(_padding(hidden_BTD, lengths_B), 0.0).sum(1)
    return summed_BD / lengths_B.clamp(min=1)[:, None]


def _padding(hidden_BTD: Tensor, lengths_B: Tensor) -> Tensor:
    """Return padding_BT1, which is True at padding steps."""
    return (torch.arange(hidden_BTD.shape[1], device=lengths_B.device) >= lengths_B[:, None])[:, :, None]
