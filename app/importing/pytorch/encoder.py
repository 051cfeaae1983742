"""Infers networks with a `torch.nn.TransformerEncoder`."""

from __future__ import annotations

import math
import re

import numpy as np

from app.importing.pytorch.functions import ask_function
from app.importing.pytorch.network import InferredNetwork, assemble, fill_biases
from app.importing.pytorch.parts import POSITIONS, UnknownNetwork, one_prefix, split_layers
from app.importing.pytorch.roles import find_roles
from app.importing.pytorch.tensors import Array, Tensors
from app.importing.questions import Answers, Question

MARKER = re.compile(r"(?<![^.])self_attn\.in_proj_weight$")  # every encoder layer has such a tensor
LAYER = re.compile(r"(?<![^.])\d+\.self_attn\.in_proj_weight$")  # the same tensor in a numbered stack of layers
NAMES = {  # parts of an nn.TransformerEncoderLayer -> our names
    "self_attn.in_proj_": "attention.qkv.",
    "self_attn.out_proj.": "attention.out.",
    "linear1.": "mlp.up.",
    "linear2.": "mlp.down.",
    "norm1.": "norm_attention.",
    "norm2.": "norm_mlp.",
}


def infer_encoder(tensors: Tensors, answers: Answers, order: list[str] | None) -> InferredNetwork:
    """Infer a network whose body is a Transformer encoder or a single encoder layer.

    Raises UnknownNetwork if the tensors do not fit such a network.
    """
    prefix, pattern = _stack(tensors)
    body = {name: match for name in tensors if (match := pattern.fullmatch(name))}
    parts = {theirs + kind: ours + kind for theirs, ours in NAMES.items() for kind in ("weight", "bias")}
    if unknown := [name for name, match in body.items() if match[2] not in parts]:
        raise UnknownNetwork("its layers have parts that nn.TransformerEncoderLayer does not have", unknown, tensors)
    weights = {f"body.blocks.{match[1] or 0}.{parts[match[2]]}": tensors[name] for name, match in body.items()}
    rest = {name: t for name, t in tensors.items() if name not in body}
    final_norm = prefix.removesuffix("layers.") + "norm."
    if prefix.endswith(".layers."):  # an nn.TransformerEncoder; a plain list of layers has no norm
        weights |= {f"body.norm.{p}": rest.pop(final_norm + p) for p in ("weight", "bias") if final_norm + p in rest}
    fill_biases(weights, "body.blocks.", "the encoder's layers", answers)
    fill_biases(weights, "body.norm.", "the encoder's final norm", answers)
    _drop_template(rest, answers)
    marker = next(name for name in body if name.endswith("self_attn.in_proj_weight"))
    if tensors[marker].ndim != 2 or not tensors[marker].size:
        raise UnknownNetwork("its attention does not have a weight matrix", [marker], tensors)
    width = tensors[marker].shape[-1]
    table, positions = _take_positions(rest, width, answers)
    weights["body.positions.weight"] = table
    fields = {
        "architecture": "transformer",
        "layers": 1 + max(int(match[1] or 0) for match in body.values()),
        "width": width,
        "inner": weights.get("body.blocks.0.mlp.up.weight", np.zeros((0, 0), np.float32)).shape[0],
        "norm": "layer",
        "bias": True,
        "positions": "learned",
        "context_length": len(table),
        "final_norm": "body.norm.weight" in weights,
        "norm_eps": answers.number("norm_eps", 1e-5, "PyTorch's default layer_norm_eps"),
        "heads": _heads(width, answers),
        "activation": ask_function(
            "activation", "which activation do the layers use?", answers, ("relu", "gelu"), "relu"
        ),
        "norm_first": answers.ask(
            Question("norm_first", "is the norm applied before each sublayer (pre-norm)?", ("no", "yes"), "no")
        )
        == "yes",
    }
    linear, norms = split_layers(rest)
    roles = find_roles(linear, (width, width), marker, answers, order)
    return assemble(fields, weights, roles, norms, answers, positions)


def _stack(tensors: Tensors) -> tuple[str, re.Pattern[str]]:
    """Return the prefix of the encoder's layer names, and a pattern for the names of the layers' tensors.

    The pattern's groups are the layer's number, which is empty for a single layer, and the name within the layer.
    """
    if any(LAYER.search(name) for name in tensors):
        prefix = one_prefix(LAYER, tensors, "stacks of encoder layers; only one is supported")
        return prefix, re.compile(re.escape(prefix) + r"(\d+)\.(.+)")
    prefix = one_prefix(MARKER, tensors, "encoder layers under different names; one stack or one layer is supported")
    return prefix, re.compile(re.escape(prefix) + f"()((?:{'|'.join(map(re.escape, NAMES))}).+)")


def _heads(width: int, answers: Answers) -> int:
    divisors = tuple(str(n) for n in range(1, width + 1) if width % n == 0)
    return int(answers.ask(Question("heads", "how many attention heads are there (nhead)?", divisors)))


def _drop_template(rest: Tensors, answers: Answers) -> None:
    """Remove the layer that `nn.TransformerEncoder` has copied, if the user confirms that the network does not use it.

    If the program has assigned this layer to an attribute, as in `self.layer = …`, the file contains the layer itself
    in addition to the encoder's copies of it.
    """
    marker = "self_attn.in_proj_weight"
    for prefix in [name.removesuffix(marker) for name in rest if name.endswith(marker)]:
        layer = prefix.rstrip(".")
        text = f"is {layer!r} used only as an argument of nn.TransformerEncoder?"
        if answers.ask(Question("template", text, ("yes", "no"), "yes")) == "yes":
            for name in [name for name in rest if name.startswith(prefix)]:
                del rest[name]


def _take_positions(rest: Tensors, width: int, answers: Answers) -> tuple[Array, str]:
    """Return the position table (steps, width), and its name in the printed computation.

    A learned table is removed from `rest`. A table that is not learned is sinusoidal or, without positions, filled with
    zeros.
    """
    tables = [name for name, t in rest.items() if _is_table(t, width)]
    unbiased = [name for name in tables if name.removesuffix("weight") + "bias" not in rest]
    named = [name for name in unbiased if rest[name].ndim == 3 or POSITIONS.search(name)]
    if len(named) > 1:
        raise UnknownNetwork("it has several position tables", named, rest)
    options = (*unbiased, "sinusoidal", "none")
    if named:
        answer = answers.assume("positions", named[0], "it has the name and the shape of a position table", options)
    else:
        text = "which tensor contains the positions? sinusoidal: computed as in PyTorch's tutorial; none: no positions"
        answer = answers.ask(Question("positions", text, options))
    if answer in unbiased and (named or answers.get("positions")):
        return rest.pop(answer).reshape(-1, width), answer
    steps = answers.count("context_length", 512, "the maximum sequence length; the file contains no positions")
    if answer == "sinusoidal":
        return _sinusoids(steps, width), "sinusoids"
    return np.zeros((steps, width), np.float32), ""


def _is_table(tensor: Array, width: int) -> bool:
    """Whether the tensor can be a position table: its shape is (steps, width), plus at most one dimension of size 1.

    A single row is not a position table; it may be a learned first token, for example.
    """
    rows = tensor.shape[:-1]
    return (
        tensor.ndim > 0
        and tensor.shape[-1] == width
        and max(rows, default=0) > 1
        and (len(rows) == 1 or (len(rows) == 2 and 1 in rows))
    )


def _sinusoids(steps: int, width: int) -> Array:
    """Return the sinusoidal position table (Vaswani et al. 2017, section 3.5), with shape (steps, width)."""
    angles = np.arange(steps)[:, None] * np.exp(np.arange(0, width, 2) * (-math.log(10_000.0) / width))
    table = np.zeros((steps, width))
    table[:, 0::2] = np.sin(angles)
    table[:, 1::2] = np.cos(angles)[:, : width // 2]
    return table.astype(np.float32)
