"""Networks with a `torch.nn.RNN`, `LSTM` or `GRU`."""

from __future__ import annotations

import re
from typing import Any

from app.importing.pytorch.network import InferredNetwork, assemble, fill_biases
from app.importing.pytorch.parts import UnknownNetwork, one_prefix, refuse_foreign, split_layers
from app.importing.pytorch.roles import find_roles
from app.importing.pytorch.tensors import Tensors
from app.importing.questions import Answers, Question

# nn.LSTM numbers its layers; nn.LSTMCell is one layer without a number.
PARAMETER = re.compile(r"(?:weight|bias)_(?:ih|hh|hr)(?:_l\d+(?:_reverse)?)?$")
ARCHITECTURES = {1: "rnn", 3: "gru", 4: "lstm"}  # by the number of gates, whose matrices PyTorch stacks
CONTEXT_LENGTH = 4096  # steps
CONTEXT_REASON = "the longest sequence to accept; the network itself has no limit"


def infer_recurrent(tensors: Tensors, answers: Answers, order: list[str] | None) -> InferredNetwork:
    """The network with one recurrent body among `tensors`. Raises UnknownNetwork."""
    refuse_foreign(tensors)
    prefix = one_prefix(PARAMETER, tensors, "recurrent networks; only one is supported")
    names = [name for name in tensors if PARAMETER.search(name)]
    body = {_numbered(name.removeprefix(prefix)): tensors[name] for name in names}
    layers = 1 + max(int(number) for name in body for number in re.findall(r"_l(\d+)", name))
    bidirectional = any(name.endswith("_reverse") for name in body)
    width = body["weight_hh_l0"].shape[-1] if "weight_hh_l0" in body else 0
    rows = body["weight_hh_l0"].shape[0] if width else 0
    architecture = ARCHITECTURES.get(rows // width if width and rows % width == 0 else 0)
    if architecture is None or "weight_ih_l0" not in body:
        raise UnknownNetwork("its recurrent matrices do not fit an RNN, LSTM or GRU", names, tensors)
    sizes = body["weight_ih_l0"].shape[-1], width * (1 + bidirectional)
    linear, norms = split_layers({name: t for name, t in tensors.items() if name not in names})
    roles = find_roles(linear, sizes, names[0], answers, order)
    fields: dict[str, Any] = {
        "architecture": architecture,
        "layers": layers,
        "width": width,
        "input_width": sizes[0],
        "bidirectional": bidirectional,
        "context_length": int(answers.number("context_length", CONTEXT_LENGTH, CONTEXT_REASON)),
    }
    if architecture == "rnn":
        question = Question("nonlinearity", "which function does the nn.RNN apply?", ("tanh", "relu"), "tanh")
        fields["nonlinearity"] = answers.ask(question)
    weights = {f"body.rnn.{name}": t for name, t in body.items()}
    fill_biases(weights, "body.rnn.", f"the layers of the nn.{architecture.upper()}", answers)
    return assemble(fields, weights, roles, norms, answers)


def _numbered(name: str) -> str:
    return name if "_l" in name else f"{name}_l0"
