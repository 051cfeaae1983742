"""The initial weights of a new network.

With these weights, the loss before the first step is about ln(number of classes), and hidden vectors neither vanish nor
grow with depth.
"""

from __future__ import annotations

import math

import torch
from torch import Generator, Tensor, nn

from models.config import ModelConfig

# The matrices whose outputs are added to the residual stream, two in every layer.
RESIDUAL = ("attention.out.weight", "mlp.down.weight")


def initialise(network: nn.Module, config: ModelConfig, generator: Generator | None = None) -> None:
    """Initialise every parameter in place, with random numbers from `generator` or torch's global random state.

    Parameters are drawn in the order of their names, so that the same seed gives the same weights regardless of the
    order in which modules are constructed. Raises NotImplementedError for a parameter without a rule. There are rules
    for matrices, biases and gains. Any other parameter needs a separate rule.
    """
    with torch.no_grad():
        for name, parameter in sorted(network.named_parameters()):
            if ".rnn." in name:
                _recurrent(name, parameter, config, generator)
            else:
                _draw(name, parameter, config, generator)


def _draw(name: str, parameter: Tensor, config: ModelConfig, generator: Generator | None) -> None:
    if name.endswith("bias") or name == "ngrams.weight":
        parameter.zero_()
    elif "norm" in name or name in ("ngrams.idf", "mix"):
        parameter.fill_(1.0)
    elif name == "input.projection.weight":
        parameter.normal_(0.0, 1.0 / math.sqrt(config.features), generator=generator)
    elif name.endswith(".weight") and parameter.ndim == 2:
        parameter.normal_(0.0, _spread(name, parameter, config), generator=generator)
    else:
        raise _unknown(name)


def _spread(name: str, parameter: Tensor, config: ModelConfig) -> float:
    """Return the standard deviation of the initial entries of a matrix."""
    if name == "input.embedding.weight":
        # If embeddings are tied, the same matrix computes the logits. A recurrent network reads the embedding without a
        # norm, and its small outputs keep the logits small. After a Transformer's last norm, logits are sqrt(width)
        # times as large as the entries of the embedding.
        return 0.1 if config.recurrent else 0.25 / math.sqrt(config.width)
    if name in ("head.weight", "pooling.query.weight"):
        return 0.02 if config.recurrent else 0.1 / math.sqrt(parameter.shape[-1])
    if name in ("body.positions.weight", "input.types.weight"):
        return 0.25 / math.sqrt(config.width)
    spread = 1.0 / math.sqrt(parameter.shape[-1])
    # The residual stream is the sum of 2 L outputs in a network of L layers. With this scale, its variance does not
    # depend on L (GPT-2: Radford et al., 2019, section 2.3).
    return spread / math.sqrt(2.0 * config.layers) if name.endswith(RESIDUAL) else spread


def _recurrent(name: str, parameter: Tensor, config: ModelConfig, generator: Generator | None) -> None:
    """Initialise a parameter of a recurrent layer, separately for each gate.

    Recurrent matrices are orthogonal (Saxe et al., 2014), the entries of input matrices are uniformly distributed
    (Glorot and Bengio, 2010), and biases are 0. The exception is the forget gate of an LSTM, whose bias is 1, so that
    the cell retains its contents at the start of training (Jozefowicz et al., 2015).
    """
    kind, width = name.rpartition(".")[2], config.width
    if kind.startswith("weight_hh"):
        for gate in torch.split(parameter, width):
            nn.init.orthogonal_(gate, generator=generator)
    elif kind.startswith("weight_ih"):
        for gate in torch.split(parameter, width):
            nn.init.xavier_uniform_(gate, generator=generator)
    elif kind.startswith("bias"):
        parameter.zero_()
        # torch adds two biases for each gate, so only one of them is set to 1.
        if config.architecture == "lstm" and kind.startswith("bias_ih"):
            parameter[width : 2 * width] = 1.0
    else:
        raise _unknown(name)


def _unknown(name: str) -> NotImplementedError:
    return NotImplementedError(f"the parameter {name!r} has no initial values; define them in models/initialisation.py")
