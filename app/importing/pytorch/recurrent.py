"""Infers networks with a `torch.nn.RNN`, `LSTM` or `GRU`."""

from __future__ import annotations

import itertools
import re
from dataclasses import replace
from typing import Any

from app.importing.pytorch.network import InferredNetwork, assemble, fill_biases
from app.importing.pytorch.parts import UnknownNetwork, refuse_foreign, split_layers
from app.importing.pytorch.projections import MARKER, fold_projections, read_unprojected
from app.importing.pytorch.roles import find_roles
from app.importing.pytorch.tensors import Tensors
from app.importing.questions import Answers, Question

# The names in nn.LSTM end with the layer's number; those in nn.LSTMCell have no number.
PARAMETER = re.compile(r"(?:weight|bias)_(?:ih|hh|hr)(?:_l\d+(?:_reverse)?)?$")
ARCHITECTURE_BY_GATES = {1: "rnn", 3: "gru", 4: "lstm"}  # by number of gates; PyTorch stacks the matrices of all gates
MOST_PARTS = 5  # maximum number of recurrent modules that are applied one after the other
CONTEXT_LENGTH = 4096  # the assumed maximum number of steps
CONTEXT_REASON = "the maximum sequence length; the network itself has no limit"


def infer_recurrent(tensors: Tensors, answers: Answers, order: list[str] | None) -> InferredNetwork:
    """Infer a network with one recurrent body. Raises UnknownNetwork if the tensors do not fit such a network."""
    refuse_foreign(tensors)
    names = [name for name in tensors if PARAMETER.search(name)]
    if any(tensors[name].ndim != (2 if "weight_" in name else 1) or not tensors[name].size for name in names):
        raise UnknownNetwork(
            "its recurrent matrices must have two dimensions, and its biases must have one", names, tensors
        )
    stacked = _stacked(tensors, names, answers)
    projected = stacked[f"{MARKER}0"].shape[0] if f"{MARKER}0" in stacked else 0
    body, projection = fold_projections(stacked)
    layers = 1 + max(int(number) for name in body for number in re.findall(r"_l(\d+)", name))
    bidirectional = any(name.endswith("_reverse") for name in body)
    width = body["weight_hh_l0"].shape[-1] if "weight_hh_l0" in body else 0
    rows = body["weight_hh_l0"].shape[0] if width else 0
    architecture = ARCHITECTURE_BY_GATES.get(rows // width if width and rows % width == 0 else 0)
    if architecture is None or "weight_ih_l0" not in body:
        raise UnknownNetwork("its recurrent matrices do not match an RNN, LSTM or GRU", names, tensors)
    sizes = body["weight_ih_l0"].shape[-1], (projected or width) * (1 + bidirectional)
    linear, norms = split_layers({name: t for name, t in tensors.items() if name not in names})
    roles = find_roles(linear, sizes, names[0], answers, order)
    fields: dict[str, Any] = {
        "architecture": architecture,
        "layers": layers,
        "width": width,
        "input_width": sizes[0],
        "bidirectional": bidirectional,
        "context_length": answers.count("context_length", CONTEXT_LENGTH, CONTEXT_REASON),
    }
    if architecture == "rnn":
        question = Question("nonlinearity", "which function does the nn.RNN apply?", ("tanh", "relu"), "tanh")
        fields["nonlinearity"] = answers.ask(question)
    weights = {f"body.rnn.{name}": t for name, t in body.items()}
    fill_biases(weights, "body.rnn.", f"the layers of the nn.{architecture.upper()}", answers)
    if projection is None:
        return assemble(fields, weights, roles, norms, answers)
    if norms:
        raise _unfoldable("a norm", tensors, names)
    network = assemble(fields, weights, read_unprojected(roles, projection), norms, answers)
    return _tell_projection(network, projected, tensors, names, answers)


def _tell_projection(
    network: InferredNetwork, size: int, tensors: Tensors, names: list[str], answers: Answers
) -> InferredNetwork:
    """Record that the projections were folded. Raises UnknownNetwork if a step before the head prevents this."""
    fields = network.fields
    if fields.get("pooling") == "max":
        raise _unfoldable("the maximum over all steps", tensors, names)
    if fields.get("output_activation", "none") != "none":
        raise _unfoldable("a function before the head", tensors, names)
    if fields.get("pooling_input_activation", "none") != "none":
        raise _unfoldable("a function before the attention scores", tensors, names)
    answers.assumed.append(
        f"proj_size={size}: the projections are folded into the matrices that use their output; the results are the "
        "same"
    )
    shown = network.computation.replace("from a state of zeros)", f"projected to {size}, from a state of zeros)", 1)
    return replace(network, computation=shown)


def _unfoldable(between: str, tensors: Tensors, names: list[str]) -> UnknownNetwork:
    reason = f"it has an nn.LSTM with proj_size and {between}, so the projection cannot be merged into the head"
    return UnknownNetwork(reason, [name for name in names if MARKER in name], tensors)


def _stacked(tensors: Tensors, names: list[str], answers: Answers) -> Tensors:
    """Return the tensors of all layers under PyTorch's names.

    Several recurrent modules that are applied one after the other are renumbered as the layers of a single module.
    """
    parts: dict[str, Tensors] = {}
    for name in names:
        own = PARAMETER.search(name)[0]  # type: ignore[index]
        parts.setdefault(name.removesuffix(own), {})[own if "_l" in own else f"{own}_l0"] = tensors[name]
    if len(parts) == 1:
        return next(iter(parts.values()))
    if {"encoder", "decoder"} <= {word for prefix in parts for word in re.findall("encoder|decoder", prefix.lower())}:
        raise UnknownNetwork("it has an encoder and a decoder, which read different sequences", names, tensors)
    orders = (order for order in itertools.permutations(parts) if _fit([parts[prefix] for prefix in order]))
    order = next(orders, None) if len(parts) <= MOST_PARTS else None
    if order is None:
        reason = f"it has {len(parts)} recurrent networks of different kinds or widths, which cannot be stacked"
        raise UnknownNetwork(reason, names, tensors)
    shown = " applied to all steps of ".join(repr(prefix.rstrip(".")) for prefix in reversed(order))
    text = f"is {shown}, with nothing between them? Otherwise, this network cannot be imported"
    if answers.ask(Question("stack", text, ("yes", "no"))) == "no":
        raise UnknownNetwork(f"it has {len(parts)} recurrent networks; only one is supported", names, tensors)
    body: Tensors = {}
    below = 0
    for part in (parts[prefix] for prefix in order):
        numbers = {name: int(re.findall(r"_l(\d+)", name)[0]) for name in part}
        body |= {name.replace(f"_l{n}", f"_l{n + below}"): part[name] for name, n in numbers.items()}
        below += 1 + max(numbers.values())
    return body


def _fit(parts: list[Tensors]) -> bool:
    """Whether each module's input size equals the previous module's output size, and all layers are alike.

    Layers are alike if they have the same kind, width and number of directions, and either all or none have biases.
    """
    if not all("weight_hh_l0" in part and "weight_ih_l0" in part for part in parts):
        return False
    first, both = parts[0]["weight_hh_l0"], "weight_hh_l0_reverse" in parts[0]
    gives = first.shape[-1] * (1 + both)
    biased = "bias_ih_l0" in parts[0]
    return all(
        part["weight_hh_l0"].shape == first.shape
        and ("weight_hh_l0_reverse" in part, "bias_ih_l0" in part) == (both, biased)
        and part.get(f"{MARKER}0", first).shape == parts[0].get(f"{MARKER}0", first).shape
        and (part is parts[0] or part["weight_ih_l0"].shape[-1] == gives)
        for part in parts
    )
