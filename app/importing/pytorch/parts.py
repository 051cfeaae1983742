"""Groups the tensors around a body into layers and norms, and rejects tensors that belong to neither."""

from __future__ import annotations

import re
from dataclasses import dataclass

import numpy as np

from app.errors import InvalidRequest
from app.importing.pytorch.tensors import Array, Tensors

MOST_NAMES = 30
POSITIONS = re.compile(r"pos|(^|\.)pe(\.|$)", re.IGNORECASE)  # matches the names of position tables
SELF_ATTENTION = "self_attn.in_proj_weight"
CROSS_ATTENTION = "multihead_attn.in_proj_weight"  # only an nn.TransformerDecoderLayer has such a tensor
FOREIGN = (  # (pattern of tensor names, module that is not supported), most specific first
    (
        r"running_(mean|var)$|num_batches_tracked$",
        "batch normalisation (nn.BatchNorm) that is not next to a linear layer",
    ),
    (r"in_proj_weight$|[qkv]_proj_weight$", "an nn.MultiheadAttention outside an encoder layer"),
)


@dataclass(frozen=True, slots=True, eq=False)
class Layer:
    """A linear layer with or without a bias, or an embedding.

    The shape of `weight` is (outputs, inputs) for a linear layer and (rows, width) for an embedding.
    """

    name: str
    weight: Array
    bias: Array | None = None

    @property
    def outputs(self) -> int:
        return len(self.weight)

    @property
    def inputs(self) -> int:
        return int(self.weight.shape[1])

    @property
    def some_bias(self) -> Array:
        """The bias, or zeros if the layer has none."""
        return np.zeros(self.outputs, np.float32) if self.bias is None else self.bias


@dataclass(frozen=True, slots=True, eq=False)
class Norm:
    """The weight and the bias of a LayerNorm, both of shape (width)."""

    name: str
    weight: Array
    bias: Array


class UnknownNetwork(InvalidRequest):
    """The network that the weights belong to cannot be imported. The message lists the tensors that prevent it."""

    code = "unknown_network"

    def __init__(self, reason: str, names: list[str], tensors: Tensors) -> None:
        shown = [f"  {name} {tuple(tensors[name].shape)}" for name in names[:MOST_NAMES]]
        more = [f"  … and {len(names) - MOST_NAMES} more"] if len(names) > MOST_NAMES else []
        super().__init__("\n".join([f"this network cannot be imported: {reason}", *shown, *more]))


def one_prefix(pattern: re.Pattern[str], tensors: Tensors, description: str) -> str:
    """Return the prefix before `pattern` in the matching names. Raises UnknownNetwork unless there is exactly one."""
    names = [name for name in tensors if pattern.search(name)]
    prefixes = sorted({name[: match.start()] for name in names if (match := pattern.search(name))})
    if len(prefixes) != 1:
        raise UnknownNetwork(f"it has {len(prefixes)} {description}", names, tensors)
    return prefixes[0]


def split_layers(tensors: Tensors) -> tuple[list[Layer], list[Norm]]:
    """Group tensors into a list of linear layers and embeddings, and a list of norms, both in the order of the file.

    Raises UnknownNetwork if a tensor belongs to neither group.
    """
    refuse_foreign(tensors)
    layers, norms, used = [], [], set()
    for name, tensor in tensors.items():
        if not name.endswith("weight") or tensor.ndim not in (1, 2):
            continue
        layer = name.removesuffix("weight")
        bias = tensors.get(layer + "bias")
        if bias is not None and bias.shape != tensor.shape[:1]:
            continue
        if tensor.ndim == 2:
            layers.append(Layer(layer.rstrip("."), tensor, bias))
        elif bias is not None:
            norms.append(Norm(layer.rstrip("."), tensor, bias))
        else:
            continue
        used |= {name, layer + "bias"}
    if unknown := [name for name in tensors if name not in used]:
        raise UnknownNetwork("these tensors belong to parts that cannot be imported", unknown, tensors)
    return layers, norms


def refuse_bodies(tensors: Tensors) -> None:
    """Raise UnknownNetwork if the network has decoder layers or convolutions, regardless of its other parts."""
    layers = [name.removesuffix(CROSS_ATTENTION) for name in tensors if name.endswith(CROSS_ATTENTION)]
    decoders = tuple(layer for layer in layers if layer + SELF_ATTENTION in tensors)
    if decoders:
        names = [name for name in tensors if name.startswith(decoders)]
        raise UnknownNetwork("it has nn.TransformerDecoder layers, which read a second sequence", names, tensors)
    convolutions = [
        name for name, t in tensors.items() if name.endswith("weight") and t.ndim > 2 and not POSITIONS.search(name)
    ]
    if convolutions:
        raise UnknownNetwork("it has convolutions (nn.Conv)", convolutions, tensors)


def refuse_foreign(tensors: Tensors) -> None:
    """Raise UnknownNetwork if a tensor belongs to a module that cannot be imported. The message names the module."""
    refuse_bodies(tensors)
    for pattern, kind in FOREIGN:
        if names := [name for name in tensors if re.search(pattern, name)]:
            raise UnknownNetwork(f"it has {kind}", names, tensors)
