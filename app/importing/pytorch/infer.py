"""Infers the model configuration and our tensor names from the names and shapes in a state dict.

Supports `torch.nn.RNN`, `LSTM`, `GRU` and `TransformerEncoder`, single cells or layers of these modules, and the layers
that tutorials usually put around them.
"""

from __future__ import annotations

from app.importing.pytorch.batch_norm import fold_batch_norms
from app.importing.pytorch.encoder import MARKER, infer_encoder
from app.importing.pytorch.network import InferredNetwork
from app.importing.pytorch.parts import UnknownNetwork, refuse_bodies, refuse_foreign
from app.importing.pytorch.recurrent import PARAMETER, infer_recurrent
from app.importing.pytorch.tensors import Tensors
from app.importing.questions import Answers


def infer(tensors: Tensors, answers: Answers, order: list[str] | None = None) -> InferredNetwork:
    """Infer the network that `tensors` belong to. `answers` supplies the settings that the shapes do not determine.

    `order` lists the names of the tensors in the order in which the original program defines them, or is None if the
    file does not preserve this order. Raises UnknownNetwork if the network is not supported.
    """
    refuse_bodies(tensors)  # first, because a batch norm after a convolution cannot be folded
    tensors = fold_batch_norms(tensors, answers)
    recurrent = any(PARAMETER.search(name) for name in tensors)
    encoder = any(MARKER.search(name) for name in tensors)
    if recurrent and encoder:
        raise UnknownNetwork("it has a recurrent network and a Transformer", [*tensors], tensors)
    if recurrent:
        return infer_recurrent(tensors, answers, order)
    if encoder:
        return infer_encoder(tensors, answers, order)
    refuse_foreign(tensors)
    raise UnknownNetwork("it has no nn.RNN, nn.LSTM, nn.GRU or nn.TransformerEncoder", [*tensors], tensors)
