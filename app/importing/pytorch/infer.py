"""From the names and shapes of a state dict to our configuration and our names.

Knows `torch.nn.RNN`, `LSTM`, `GRU` and `TransformerEncoder` with what tutorials put around them; asks for what shapes
cannot tell, and says what it takes for granted. Knows no files.
"""

from __future__ import annotations

import math
import re
from dataclasses import dataclass
from typing import Any

import numpy as np

from app.importing.pytorch.parts import Ends, UnknownNetwork, find_ends, one_prefix
from app.importing.pytorch.tensors import Array, Tensors
from app.importing.questions import Answers, Question

RECURRENT = re.compile(r"(?:weight|bias)_(?:ih|hh|hr)_l\d+(?:_reverse)?$")
ENCODER = re.compile(r"(?<![^.])\d+\.self_attn\.in_proj_weight$")
KINDS = {1: "rnn", 3: "gru", 4: "lstm"}  # by the gates whose matrices are stacked
OURS = {
    "self_attn.in_proj_": "attention.qkv.",
    "self_attn.out_proj.": "attention.out.",
    "linear1.": "mlp.up.",
    "linear2.": "mlp.down.",
    "norm1.": "norm_attention.",
    "norm2.": "norm_mlp.",
}
RECURRENT_LENGTH = 4096  # steps: a recurrent network has no limit of its own
RECURRENT_STEPS = "the longest sequence to take; the network itself has no limit"


@dataclass(frozen=True, slots=True)
class Found:
    """Fields of a `ModelConfig`, and the weights under our names."""

    fields: dict[str, Any]
    tensors: Tensors


def infer(tensors: Tensors, answers: Answers) -> Found:
    """Raises UnknownNetwork; what shapes cannot tell is put to `answers`."""
    if any(RECURRENT.search(name) for name in tensors):
        return _recurrent(tensors, answers)
    if any(ENCODER.search(name) for name in tensors):
        return _encoder(tensors, answers)
    raise UnknownNetwork("there is no nn.RNN, nn.LSTM, nn.GRU or nn.TransformerEncoder in it", [*tensors], tensors)


def _recurrent(tensors: Tensors, answers: Answers) -> Found:
    prefix = one_prefix(RECURRENT, tensors, "recurrent networks; one is supported")
    body = {name.removeprefix(prefix): t for name, t in tensors.items() if RECURRENT.search(name)}
    rest = {name: t for name, t in tensors.items() if not RECURRENT.search(name)}
    layers = 1 + max(int(number) for name in body for number in re.findall(r"_l(\d+)", name))
    both = any(name.endswith("_reverse") for name in body)
    hidden = body["weight_hh_l0"].shape[-1] if "weight_hh_l0" in body else 0
    rows = body["weight_hh_l0"].shape[0] if hidden else 0
    kind = KINDS.get(rows // hidden if hidden and rows % hidden == 0 else 0)
    if kind is None or "weight_ih_l0" not in body:
        names = [name for name in tensors if RECURRENT.search(name)]
        raise UnknownNetwork("its recurrent matrices fit no RNN, LSTM or GRU", names, tensors)
    width = hidden * (1 + both)
    entry = body["weight_ih_l0"].shape[-1]
    ends = find_ends(rest, entry, width, answers)
    fields: dict[str, Any] = {
        "architecture": kind,
        "layers": layers,
        "width": hidden,
        "input_width": entry,
        "bidirectional": both,
        "context_length": int(answers.number("context_length", RECURRENT_LENGTH, RECURRENT_STEPS)),
    }
    if kind == "rnn":
        question = Question("nonlinearity", "which function does the nn.RNN apply?", ("tanh", "relu"), "tanh")
        fields["nonlinearity"] = answers.ask(question)
    weights = {f"body.rnn.{name}": t for name, t in body.items()}
    _fill_biases(weights, "body.rnn.", f"the nn.{kind.upper()}'s layers", answers)
    return _with_ends(fields, weights, ends, answers)


def _encoder(tensors: Tensors, answers: Answers) -> Found:
    prefix = one_prefix(ENCODER, tensors, "stacks of encoder layers; one is supported")
    number = re.compile(re.escape(prefix) + r"(\d+)\.(.+)")
    body = {name: match for name in tensors if (match := number.fullmatch(name))}
    layers = 1 + max(int(match[1]) for match in body.values())
    width = tensors[f"{prefix}0.self_attn.in_proj_weight"].shape[-1]
    inner = tensors.get(f"{prefix}0.linear1.weight", np.zeros((0, 0), np.float32)).shape[0]
    parts = {part + kind: ours + kind for part, ours in OURS.items() for kind in ("weight", "bias")}
    if strange := [name for name, match in body.items() if match[2] not in parts]:
        raise UnknownNetwork("its layers have parts that nn.TransformerEncoderLayer lacks", strange, tensors)
    weights = {f"body.blocks.{match[1]}.{parts[match[2]]}": tensors[name] for name, match in body.items()}
    rest = {name: t for name, t in tensors.items() if name not in body}
    final = prefix.removesuffix("layers.") + "norm."
    weights |= {f"body.norm.{p}": rest.pop(final + p) for p in ("weight", "bias") if final + p in rest}
    _fill_biases(weights, "body.blocks.", "the encoder's layers", answers)
    _fill_biases(weights, "body.norm.", "the last norm's numbers", answers)
    _drop_template(rest, answers)
    weights["body.positions.weight"] = positions = _positions(rest, width, answers)
    fields = {
        "architecture": "transformer",
        "layers": layers,
        "width": width,
        "inner": inner,
        "norm": "layer",
        "bias": True,
        "positions": "learned",
        "context_length": len(positions),
        "final_norm": "body.norm.weight" in weights,
        "norm_eps": answers.number("norm_eps", 1e-5, "PyTorch's default layer_norm_eps"),
        "heads": _heads(width, answers),
        "activation": answers.ask(Question("activation", "of the encoder layers", ("relu", "gelu"), "relu")),
        "norm_first": answers.ask(Question("norm_first", "of the encoder layers", ("no", "yes"), "no")) == "yes",
    }
    return _with_ends(fields, weights, find_ends(rest, width, width, answers), answers)


def _heads(width: int, answers: Answers) -> int:
    divisors = tuple(str(n) for n in range(1, width + 1) if width % n == 0)
    return int(answers.ask(Question("heads", "how many attention heads (nhead)?", divisors)))


def _fill_biases(weights: Tensors, part: str, what: str, answers: Answers) -> None:
    """A part made without biases (bias=False) is one whose biases are 0; where only some are missing, the file is
    damaged, and the check of the shapes says which."""
    names = [name for name in weights if name.startswith(part)]
    if not names or any("bias" in name for name in names):
        return
    for name in names:
        weights[name.replace("weight", "bias")] = np.zeros(len(weights[name]), np.float32)
    answers.assumed.append(f"biases=0: {what} have none in the file (bias=False)")


def _drop_template(rest: Tensors, answers: Answers) -> None:
    """`self.layer = nn.TransformerEncoderLayer(…)` beside the encoder that copied it leaves weights nobody uses."""
    marker = "self_attn.in_proj_weight"
    for prefix in [name.removesuffix(marker) for name in rest if name.endswith(marker)]:
        text = f"is {prefix.rstrip('.')!r} only the layer that nn.TransformerEncoder copied, and never used itself?"
        if answers.ask(Question("template", text, ("yes", "no"), "yes")) == "yes":
            for name in [name for name in rest if name.startswith(prefix)]:
                del rest[name]


def _positions(rest: Tensors, width: int, answers: Answers) -> Array:
    """The table of positions, taken out of `rest`: learned, or a buffer of sinusoids."""
    tables = [name for name, t in rest.items() if _is_table(t, width)]
    named = [name for name in tables if rest[name].ndim == 3 or re.search(r"pos|(^|\.)pe(\.|$)", name.lower())]
    if len(named) > 1:
        raise UnknownNetwork("it has several tables of positions", named, rest)
    plain = [name for name in tables if name.removesuffix("weight") + "bias" not in rest]
    options = (*plain, "sinusoidal", "none")
    if named:
        answer = answers.assume("positions", named[0], "it has the name and the shape of a table of positions", options)
    else:
        text = "which tensor holds the positions? sinusoidal: computed as in PyTorch's tutorial; none: there are none"
        answer = answers.ask(Question("positions", text, options))
    if answer in plain and (named or answers.given("positions")):
        return rest.pop(answer).reshape(-1, width)
    steps = int(answers.number("context_length", 512, "the longest sequence to take; the file holds no positions"))
    return _sinusoids(steps, width) if answer == "sinusoidal" else np.zeros((steps, width), np.float32)


def _is_table(tensor: Array, width: int) -> bool:
    """A row a position; a single row is something else, such as a learned first token."""
    rows = tensor.shape[:-1]
    return tensor.shape[-1] == width and max(rows, default=0) > 1 and (len(rows) == 1 or (len(rows) == 2 and 1 in rows))


def _sinusoids(steps: int, width: int) -> Array:
    """Sines at even places and cosines at odd ones (Vaswani et al. 2017, 3.5)."""
    angles = np.arange(steps)[:, None] * np.exp(np.arange(0, width, 2) * (-math.log(10_000.0) / width))
    table = np.zeros((steps, width))
    table[:, 0::2] = np.sin(angles)
    table[:, 1::2] = np.cos(angles)[:, : width // 2]
    return table.astype(np.float32)


def _with_ends(fields: dict[str, Any], weights: Tensors, ends: Ends, answers: Answers) -> Found:
    weights["head.weight"] = ends.head
    if ends.head_bias is not None:
        weights["head.bias"] = ends.head_bias
    fields |= {"head_bias": ends.head_bias is not None, "tie_embeddings": False, "dropout": 0.0}
    fields |= _input(fields, weights, ends, answers)
    fields["task"] = task = _task(len(ends.head), fields.get("vocab_size", 0), answers)
    if task != "generation":
        fields["classes"] = len(ends.head)
        fields["pooling"] = _pooling(fields["architecture"], bool(fields.get("bidirectional")), answers)
    return Found(fields, weights)


def _input(fields: dict[str, Any], weights: Tensors, ends: Ends, answers: Answers) -> dict[str, Any]:
    if ends.embedding is not None:
        table = ends.embedding
        if fields["architecture"] == "transformer":
            text = "are the embeddings multiplied by the square root of the width before the positions are added?"
            if answers.ask(Question("embedding_scale", text, ("no", "yes"), "no")) == "yes":
                table = table * np.float32(math.sqrt(fields["width"]))
        weights["input.embedding.weight"] = table
        return {"input": "tokens", "vocab_size": len(table)}
    if ends.projection is None:
        entry = fields.get("input_width", fields["width"])
        return {"input": "features", "features": entry, "input_width": entry}
    rows, features = ends.projection.shape
    if rows == features:
        reason = (
            f"its input layer has as many outputs as inputs ({rows}), and here such a network would read its numbers "
            "without one; multiply the layer into the next, or give it another width"
        )
        name = f"{ends.projection_name}.weight"
        raise UnknownNetwork(reason, [name], {name: ends.projection})
    weights["input.projection.weight"] = ends.projection
    weights["input.projection.bias"] = ends.projection_bias if ends.projection_bias is not None else np.zeros(rows, "f")
    return {"input": "features", "features": features}


def _task(outputs: int, vocabulary: int, answers: Answers) -> str:
    if outputs == 1:
        text = "one output: is it a value, or the logit of one label?"
        return answers.ask(Question("task", text, ("regression", "multilabel")))
    if outputs == vocabulary:
        text = "as many outputs as words: does it predict the next one, or a class?"
        return answers.ask(Question("task", text, ("generation", "classification", "multilabel")))
    why = (
        f"one of its {outputs} outputs is right (softmax); where each is a yes or no of its own (BCEWithLogitsLoss), "
        "it is multilabel"
    )
    return answers.assume("task", "classification", why, ("classification", "multilabel"))


def _pooling(architecture: str, both: bool, answers: Answers) -> str:
    """What of all steps' vectors the head reads."""
    if architecture == "transformer":
        text = (
            "what does the head read: the mean or maximum over all steps, the first step's vector (x[:, 0]), or the "
            "last one's (x[:, -1])?"
        )
        return answers.ask(Question("pooling", text, ("mean", "max", "first", "last")))
    if not both:
        text = "what does the head read: the last step's vector (out[:, -1]), or the mean or maximum over all steps?"
        return answers.ask(Question("pooling", text, ("last", "mean", "max")))
    text = (
        "what does the head read: both directions' final states (h_n: last), the last step's output (out[:, -1]: "
        "last_step), or the mean or maximum over all steps?"
    )
    return answers.ask(Question("pooling", text, ("last", "last_step", "mean", "max")))
