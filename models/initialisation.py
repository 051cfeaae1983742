"""How a new network's weights are drawn: all of it, in one place.

What must hold: the loss of a new network is about ln(classes), and signals neither die nor grow with depth.
"""

from __future__ import annotations

import math

import torch
from torch import Generator, Tensor, nn

from models.config import ModelConfig

RESIDUAL = ("attention.out.weight", "mlp.down.weight")  # what is added to the stream, twice a layer


def initialise(network: nn.Module, config: ModelConfig, generator: Generator | None = None) -> None:
    """Draw every parameter, in the order of their names, so that it depends on nothing else."""
    with torch.no_grad():
        for name, parameter in sorted(network.named_parameters()):
            if ".rnn." in name:
                _recurrent(name.rpartition(".")[2], parameter, config, generator)
            else:
                _draw(name, parameter, config, generator)


def _draw(name: str, parameter: Tensor, config: ModelConfig, generator: Generator | None) -> None:
    if name.endswith("bias"):
        parameter.zero_()
    elif "norm" in name:
        parameter.fill_(1.0)
    elif name == "input.projection.weight":
        parameter.normal_(0.0, 1.0 / math.sqrt(config.features), generator=generator)
    else:
        parameter.normal_(0.0, _spread(name, parameter, config), generator=generator)


def _spread(name: str, parameter: Tensor, config: ModelConfig) -> float:
    """The standard deviation of a matrix."""
    if name == "input.embedding.weight":
        # A recurrent network reads it with no norm between, and its small outputs keep tied logits small;
        # after a Transformer's last norm tied logits are sqrt(width) times as wide as this.
        return 0.1 if config.recurrent else 0.25 / math.sqrt(config.width)
    if name.startswith("head.") or name.startswith("pooling."):
        return 0.02 if config.recurrent else 0.1 / math.sqrt(parameter.shape[-1])
    if name == "body.positions.weight":
        return 0.25 / math.sqrt(config.width)
    spread = 1.0 / math.sqrt(parameter.shape[-1])
    return spread / math.sqrt(2.0 * config.layers) if name.endswith(RESIDUAL) else spread


def _recurrent(name: str, parameter: Tensor, config: ModelConfig, generator: Generator | None) -> None:
    """Orthogonal recurrences, one a gate (Saxe et al. 2014); an LSTM begins by remembering (Jozefowicz et al. 2015)."""
    width = config.width
    if name.startswith("weight_hh"):
        for gate in torch.split(parameter, width):
            nn.init.orthogonal_(gate, generator=generator)
    elif name.startswith("weight_ih"):
        for gate in torch.split(parameter, width):
            nn.init.xavier_uniform_(gate, generator=generator)
    else:
        parameter.zero_()
        if config.architecture == "lstm" and name.startswith("bias_ih"):
            parameter[width : 2 * width] = 1.0
