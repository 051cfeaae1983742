"""Command-line options made from the messages' own fields, so that a new training option is an option here at once."""

from __future__ import annotations

import inspect
import json
import types
import typing
from collections.abc import Callable
from typing import Annotated, Any

import msgspec
import typer

from app.errors import InvalidRequest
from app.wire.training_rules import WORDS


def _choice(field: str) -> str:
    *others, last = WORDS[field]
    return f"{', '.join(others)} or {last}."


HELP = {
    "epochs": "Passes over the data.",
    "max_steps": "Stop after this many steps.",
    "max_seconds": "Stop after this many seconds of training.",
    "batch_size": "Examples a step.",
    "accumulation": "Micro-batches a step.",
    "schedule": _choice("schedule"),
    "learning_rate": "The highest rate of the schedule.",
    "learning_rate_multiplier": "Times the rate that is chosen by itself.",
    "warmup_ratio": "Share of the steps in which the rate rises.",
    "weight_decay": "How strongly weights are drawn to zero.",
    "max_grad_norm": "Longer gradients are cut to this length.",
    "dropout": "Share of the numbers dropped in training.",
    "label_smoothing": "Share of the mass spread over all labels.",
    "layers": "Layers of the network.",
    "width": "Numbers in a hidden vector.",
    "heads": "Transformer: attention heads.",
    "kv_heads": "Transformer: heads with keys of their own; the others share them.",
    "vocab_size": "Tokens of a new tokenizer, at most.",
    "bidirectional": "RNN, LSTM, GRU: read both ways.",
    "threads": "Cores to train on.",
    "deterministic": "The same bits each time, at some cost of speed.",
    "class_weights": 'balanced, or JSON: {"label": weight}.',
    "optimizer": _choice("optimizer"),
    "context_length": "Longest sequence, in tokens or steps.",
    "tokenizer": _choice("tokenizer"),
    "pooling": _choice("pooling"),
    "head_only": "Fine-tuning: train the head, keep the rest.",
    "patience": "Evaluations without improvement before stopping.",
    "eval_every": "Steps between two evaluations.",
    "precision": _choice("precision"),
}


def with_fields(struct: type[msgspec.Struct], panel: str, suffix: str = "") -> Callable[[Callable[..., Any]], Any]:
    """Give a command one option for each field of `struct`: `--max-steps` for `max_steps`.

    The command takes them as keyword arguments named field + `suffix`; those not given are None.
    """

    def decorate(command: Callable[..., Any]) -> Callable[..., Any]:
        hints = typing.get_type_hints(command, include_extras=True)
        own = inspect.signature(command).parameters.values()
        kept = [p.replace(annotation=hints[p.name]) for p in own if p.kind is not p.VAR_KEYWORD]
        added = [_parameter(f, panel, suffix) for f in msgspec.structs.fields(struct)]
        command.__signature__ = inspect.Signature([*kept, *added])  # type: ignore[attr-defined]
        command.__annotations__ = {p.name: p.annotation for p in [*kept, *added]}
        return command

    return decorate


def _parameter(field: Any, panel: str, suffix: str) -> inspect.Parameter:
    name = field.name + suffix
    flag = "--" + name.replace("_", "-")
    kind = _kind(field.type)
    flags = (f"{flag}/--no-{flag[2:]}",) if kind is bool else (flag,)
    option = typer.Option(*flags, help=HELP.get(field.name, ""), rich_help_panel=panel)
    annotation: Any = Annotated[kind | None, option]
    return inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, default=None, annotation=annotation)


def _kind(declared: Any) -> Any:
    members = typing.get_args(declared) if isinstance(declared, types.UnionType) else (declared,)
    return next(m for m in members if m in (bool, int, float, str))


def given(values: dict[str, Any], struct: type[msgspec.Struct], suffix: str = "") -> dict[str, Any]:
    """What was given, as the request's object."""
    found = {f.name: values.get(f.name + suffix) for f in msgspec.structs.fields(struct)}
    return {name: _parsed(name, value) for name, value in found.items() if value is not None}


def _parsed(name: str, value: Any) -> Any:
    if not (isinstance(value, str) and value.startswith("{")):
        return value
    try:
        return json.loads(value)
    except ValueError:
        raise InvalidRequest(f"--{name.replace('_', '-')}: {value!r} is no JSON") from None
