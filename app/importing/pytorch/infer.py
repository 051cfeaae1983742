"""Infers our configuration and our names from the names and shapes of a state dict.

Supports `torch.nn.RNN`, `LSTM`, `GRU` and `TransformerEncoder` with the layers that tutorials put around them.
"""

from __future__ import annotations

from app.importing.pytorch.encoder import LAYER, infer_encoder
from app.importing.pytorch.network import InferredNetwork
from app.importing.pytorch.parts import UnknownNetwork
from app.importing.pytorch.recurrent import PARAMETER, infer_recurrent
from app.importing.pytorch.tensors import Tensors
from app.importing.questions import Answers


def infer(tensors: Tensors, answers: Answers) -> InferredNetwork:
    """The network that `tensors` belong to. Whatever the shapes do not determine comes from `answers`. Raises
    UnknownNetwork.
    """
    if any(PARAMETER.search(name) for name in tensors):
        return infer_recurrent(tensors, answers)
    if any(LAYER.search(name) for name in tensors):
        return infer_encoder(tensors, answers)
    raise UnknownNetwork("it has no nn.RNN, nn.LSTM, nn.GRU or nn.TransformerEncoder", [*tensors], tensors)
