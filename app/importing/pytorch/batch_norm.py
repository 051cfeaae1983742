"""Folds batch normalisation in evaluation mode into the linear layer before or after it.

In evaluation mode, `nn.BatchNorm1d` (Ioffe and Szegedy 2015) multiplies each number by a constant and adds another
constant. Both constants can be included in the weights of an adjacent linear layer.
"""

from __future__ import annotations

import itertools
from dataclasses import dataclass

import numpy as np

from app.importing.pytorch.folding import Wide
from app.importing.pytorch.tensors import Array, Tensors
from app.importing.questions import Answers, Question

STATISTIC = "running_var"
PARTS = ("weight", "bias", "running_mean", STATISTIC, "num_batches_tracked")
MOST_NORMS = 4
BEFORE, AFTER = "before:", "after:"  # "before:NAME": the norm is applied before the layer NAME


@dataclass(frozen=True, slots=True, eq=False)
class _Scale:
    """A batch norm in evaluation mode: `factor` times the input plus `offset`, both of shape (width)."""

    name: str
    factor: Wide
    offset: Wide


def fold_batch_norms(tensors: Tensors, answers: Answers) -> Tensors:
    """Return the tensors with all batch norms folded into linear layers.

    Asks the user where the norms are applied, unless their widths allow only one answer. Returns the tensors unchanged
    if there is no batch norm, if there are more than `MOST_NORMS`, or if no layer fits one of the norms.
    """
    prefixes = [name.removesuffix(STATISTIC) for name in tensors if name.endswith(STATISTIC)]
    rest = {name: tensor for name, tensor in tensors.items() if not _is_part(name, prefixes)}
    places = [_places(rest, len(tensors[prefix + STATISTIC])) for prefix in prefixes]
    if not prefixes or len(prefixes) > MOST_NORMS or not all(places):
        return tensors
    eps = answers.number("batch_norm_eps", 1e-5, "PyTorch's default eps of nn.BatchNorm1d")
    chosen = _choose([prefix.rstrip(".") for prefix in prefixes], places, answers)
    for prefix, place in zip(prefixes, chosen, strict=True):
        _fold(rest, _scale(tensors, prefix, eps), place)
    return rest


def _is_part(name: str, prefixes: list[str]) -> bool:
    return any(name.startswith(prefix) and name.removeprefix(prefix) in PARTS for prefix in prefixes)


def _places(tensors: Tensors, width: int) -> list[str]:
    """Return the layers that a norm of this width can be folded into.

    A norm cannot be folded into a layer after it that has no bias, because this layer may be an embedding.
    """
    places = []
    for name, tensor in tensors.items():
        layer = name.removesuffix(".weight")
        if layer == name or tensor.ndim != 2 or "emb" in layer.lower() or _in_encoder(layer, tensors):
            continue
        if tensor.shape[0] == width:
            places.append(AFTER + layer)
        if tensor.shape[1] == width and layer + ".bias" in tensors:
            places.append(BEFORE + layer)
    return places


def _in_encoder(layer: str, tensors: Tensors) -> bool:
    """Whether the layer belongs to an `nn.TransformerEncoderLayer`, which contains no batch norm."""
    owner = layer.rpartition(".")[0].removesuffix("self_attn").rstrip(".")
    return f"{owner}.self_attn.in_proj_weight".lstrip(".") in tensors


def _choose(names: list[str], places: list[list[str]], answers: Answers) -> list[str]:
    options = tuple("+".join(choice) for choice in itertools.product(*places))
    shown = ", ".join(map(repr, names))
    each = " (one place each, in this order, joined by +)" if len(names) > 1 else ""
    verb = "is" if len(names) == 1 else "are"
    if len(options) == 1:
        reason = (
            f"{shown} {verb} applied at this place, with no function in between, and {verb} folded into the "
            "layer with the running statistics"
        )
        return answers.assume("batch_norm", options[0], reason, options).split("+")
    text = f"directly before or after which layer {verb} {shown} applied{each}, with no function between them?"
    return answers.ask(Question("batch_norm", text, options)).split("+")


def _scale(tensors: Tensors, prefix: str, eps: float) -> _Scale:
    mean, variance = (tensors[prefix + part].astype(np.float64) for part in ("running_mean", STATISTIC))
    factor = _or(tensors, prefix + "weight", 1.0) / np.sqrt(variance + eps)
    return _Scale(prefix.rstrip("."), factor, _or(tensors, prefix + "bias", 0.0) - mean * factor)


def _or(tensors: Tensors, name: str, default: float) -> Wide:
    """Return the tensor `name` or, if it is missing (as with affine=False), the scalar `default`."""
    return np.asarray(tensors.get(name, np.float32(default)), np.float64)


def _fold(tensors: Tensors, scale: _Scale, place: str) -> None:
    """Replace a layer with one that also applies the norm."""
    kind, _, layer = place.partition(":")
    weight = tensors[layer + ".weight"].astype(np.float64)
    bias = _or(tensors, layer + ".bias", 0.0)
    if kind + ":" == AFTER:
        weight, bias = weight * scale.factor[:, None], bias * scale.factor + scale.offset
    else:
        weight, bias = weight * scale.factor, bias + weight @ scale.offset
    tensors[layer + ".weight"], tensors[layer + ".bias"] = _single(weight), _single(bias)


def _single(values: Wide) -> Array:
    return values.astype(np.float32)
