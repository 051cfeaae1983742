"""Sorts the tensors of a state dict into the parts of a network. Tensors of an unknown part are refused by name."""

from __future__ import annotations

import re
from dataclasses import dataclass

from app.errors import InvalidRequest
from app.importing.pytorch.tensors import Array, Tensors
from app.importing.questions import Answers, Question

MOST_NAMES = 30


@dataclass(frozen=True, slots=True)
class Ends:
    """The layers before and after the body.

    The input is an `embedding` (vocabulary, width), a `projection` (width, features), or neither if the body reads
    numeric features directly. The `head` is (outputs, width of the body's output).
    """

    head: Array
    head_bias: Array | None
    embedding: Array | None = None
    projection: Array | None = None
    projection_bias: Array | None = None
    projection_name: str = ""


class UnknownNetwork(InvalidRequest):
    """The weights belong to a kind of network that cannot be imported. The message lists the tensors concerned."""

    code = "unknown_network"

    def __init__(self, reason: str, names: list[str], tensors: Tensors) -> None:
        shown = [f"  {name} {tuple(tensors[name].shape)}" for name in names[:MOST_NAMES]]
        more = [f"  … and {len(names) - MOST_NAMES} more"] if len(names) > MOST_NAMES else []
        super().__init__("\n".join([f"this network cannot be imported: {reason}", *shown, *more]))


def one_prefix(pattern: re.Pattern[str], tensors: Tensors, description: str) -> str:
    """The common prefix of all names that match `pattern`, up to the match. Raises UnknownNetwork if they differ."""
    names = [name for name in tensors if pattern.search(name)]
    prefixes = sorted({name[: match.start()] for name in names if (match := pattern.search(name))})
    if len(prefixes) != 1:
        raise UnknownNetwork(f"it has {len(prefixes)} {description}", names, tensors)
    return prefixes[0]


def linear_layers(tensors: Tensors) -> dict[str, tuple[Array, Array | None]]:
    """Matrices with their biases, by the name of the layer. Raises UnknownNetwork if any tensor is left over."""
    layers: dict[str, tuple[Array, Array | None]] = {}
    used = set()
    for name, tensor in tensors.items():
        if name.endswith("weight") and tensor.ndim == 2:
            layer = name.removesuffix("weight")
            bias = tensors.get(layer + "bias")
            if bias is None or bias.shape == (tensor.shape[0],):
                layers[layer.rstrip(".")] = (tensor, bias)
                used |= {name, layer + "bias"}
    unknown = [name for name in tensors if name not in used]
    if unknown:
        raise UnknownNetwork("these tensors do not belong to a part that can be imported", unknown, tensors)
    return layers


def find_ends(tensors: Tensors, input_width: int, output_width: int, answers: Answers) -> Ends:
    """The head, which reads the body's `output_width` numbers, and the input layer that gives it `input_width` numbers.

    Raises UnknownNetwork if there are more layers than these, or no head.
    """
    layers = linear_layers(tensors)
    inputs = {name for name, layer in layers.items() if _may_be_input(layer, input_width)}
    heads = [name for name, (weight, _) in layers.items() if weight.shape[1] == output_width]
    if len(layers) == 2:  # the other layer must be the input
        heads = [name for name in heads if inputs - {name}]
    if len(layers) > 2 or not heads:
        reason = "it must have exactly one linear head, at most one input layer, and nothing else besides its body"
        raise UnknownNetwork(reason, list(tensors), tensors)
    head = heads[0] if len(heads) == 1 else _choose_head(heads, answers)
    weight, bias = layers.pop(head)
    for name, (input_weight, input_bias) in layers.items():
        if input_bias is None and input_weight.shape[1] == input_width:
            return Ends(weight, bias, embedding=input_weight)
        return Ends(weight, bias, projection=input_weight, projection_bias=input_bias, projection_name=name)
    return Ends(weight, bias)


def _may_be_input(layer: tuple[Array, Array | None], input_width: int) -> bool:
    """An embedding has `input_width` columns and no bias; a projection has `input_width` rows and a bias."""
    weight, bias = layer
    return (bias is None and weight.shape[1] == input_width) or (bias is not None and weight.shape[0] == input_width)


def _choose_head(heads: list[str], answers: Answers) -> str:
    embeddings = [name for name in heads if "emb" in name.lower()]
    if len(embeddings) == 1 and len(heads) == 2:
        other = next(name for name in heads if name not in embeddings)
        return answers.assume("head", other, f"{embeddings[0]!r} is the embedding, by its name", tuple(heads))
    return answers.ask(Question("head", "which of these layers is the last one?", tuple(heads)))
