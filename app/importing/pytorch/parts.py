"""What the tensors of a state dict are parts of: recurrent layers, encoder layers, and what stands around them.

Knows the names that PyTorch's own modules give; a name that it does not know is refused, with all the others.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from app.errors import InvalidRequest
from app.importing.pytorch.tensors import Array, Tensors
from app.importing.questions import Answers, Question

MOST_NAMES = 30


@dataclass(frozen=True, slots=True)
class Ends:
    """What stands before the body and after it. `embedding` or `projection` or neither: plain numeric steps."""

    head: Array
    head_bias: Array | None
    embedding: Array | None = None
    projection: Array | None = None
    projection_bias: Array | None = None
    projection_name: str = ""


class UnknownNetwork(InvalidRequest):
    """Weights of a network that is not known here."""

    code = "unknown_network"

    def __init__(self, reason: str, names: list[str], tensors: Tensors) -> None:
        shown = [f"  {name} {tuple(tensors[name].shape)}" for name in names[:MOST_NAMES]]
        more = [f"  … and {len(names) - MOST_NAMES} more"] if len(names) > MOST_NAMES else []
        super().__init__("\n".join([f"this network is not known here: {reason}", *shown, *more]))


def one_prefix(pattern: re.Pattern[str], tensors: Tensors, what: str) -> str:
    """The part before the matched names, which must be the same for all of them."""
    names = [name for name in tensors if pattern.search(name)]
    prefixes = sorted({name[: match.start()] for name in names if (match := pattern.search(name))})
    if len(prefixes) != 1:
        raise UnknownNetwork(f"it has {len(prefixes)} {what}", names, tensors)
    return prefixes[0]


def linear_layers(tensors: Tensors) -> dict[str, tuple[Array, Array | None]]:
    """Matrices with their biases, by the name of the layer; anything else is unknown."""
    layers: dict[str, tuple[Array, Array | None]] = {}
    taken = set()
    for name, tensor in tensors.items():
        if name.endswith("weight") and tensor.ndim == 2:
            layer = name.removesuffix("weight")
            bias = tensors.get(layer + "bias")
            if bias is None or bias.shape == (tensor.shape[0],):
                layers[layer.rstrip(".")] = (tensor, bias)
                taken |= {name, layer + "bias"}
    unknown = [name for name in tensors if name not in taken]
    if unknown:
        raise UnknownNetwork("these tensors belong to nothing that can be imported", unknown, tensors)
    return layers


def find_ends(tensors: Tensors, entry: int, exit_: int, answers: Answers) -> Ends:
    """The head (it reads `exit_` numbers) and, maybe, an embedding or a projection (it gives `entry` numbers)."""
    layers = linear_layers(tensors)
    first = {name for name, layer in layers.items() if _may_begin(layer, entry)}
    heads = [name for name, (weight, _) in layers.items() if weight.shape[1] == exit_]
    if len(layers) == 2:
        heads = [name for name in heads if first - {name}]
    if len(layers) > 2 or not heads:
        names = list(tensors)
        raise UnknownNetwork("beside its body it must have one linear head and at most one input layer", names, tensors)
    head = heads[0] if len(heads) == 1 else _choose_head(heads, answers)
    weight, bias = layers.pop(head)
    for name, (before, before_bias) in layers.items():
        if before_bias is None and before.shape[1] == entry:
            return Ends(weight, bias, embedding=before)
        return Ends(weight, bias, projection=before, projection_bias=before_bias, projection_name=name)
    return Ends(weight, bias)


def _may_begin(layer: tuple[Array, Array | None], entry: int) -> bool:
    """An embedding is a table with `entry` columns and no bias; a projection has `entry` rows."""
    weight, bias = layer
    return (bias is None and weight.shape[1] == entry) or (bias is not None and weight.shape[0] == entry)


def _choose_head(heads: list[str], answers: Answers) -> str:
    named = [name for name in heads if "emb" in name.lower()]
    if len(named) == 1 and len(heads) == 2:
        other = next(name for name in heads if name not in named)
        return answers.assume("head", other, f"{named[0]!r} is the embedding, by its name", tuple(heads))
    return answers.ask(Question("head", "which of these layers is the last one?", tuple(heads)))
