"""Generates command-line options from the fields of request structs. A new training option needs only a help text."""

from __future__ import annotations

import inspect
import json
import math
import types
import typing
from collections.abc import Callable, Iterator
from typing import Annotated, Any

import msgspec
import typer

from app.errors import InvalidRequest
from app.wire.training_rules import WORDS


def _choice(field: str) -> str:
    *others, last = WORDS[field]
    return f"{', '.join(others)} or {last}."


# Heading of the options that can be turned on and off. Each of them has two long names, which a terminal of 80 columns
# would cut if these options were listed together with the others.
SWITCHES = "Options that are on or off"
HELP = {
    "text": "Column with the texts.",
    "text_pair": "Column with the second text of each pair.",
    "label": "Column with the labels, or columns of zeros and ones, one for each label: a,b,c.",
    "value": "Column with the numbers to predict.",
    "features": "Column with numeric sequences or, if each row is a step, the columns with the step's numbers: a,b,c.",
    "series": "One step per row: column with the name of the sequence to which the step belongs.",
    "time": "One step per row: column by which the steps of a sequence are sorted.",
    "split": "Column that assigns rows to train, val or test.",
    "epochs": "Number of passes over the training data.",
    "max_steps": "Stop after this many steps.",
    "max_seconds": "Stop after this many seconds of training.",
    "batch_size": "Examples per step.",
    "accumulation": "Number of smaller batches into which a step is divided, to save memory.",
    "schedule": "How the learning rate changes: " + _choice("schedule"),
    "learning_rate": "Peak learning rate.",
    "learning_rate_multiplier": "Multiply the automatic learning rate by this factor.",
    "warmup_ratio": "Fraction of the steps over which the learning rate warms up.",
    "weight_decay": "Strength of the weight decay.",
    "max_grad_norm": "Clip gradients to this norm.",
    "dropout": "Dropout probability.",
    "label_smoothing": "Probability mass spread evenly over all labels.",
    "layers": "Number of layers.",
    "width": "Size of the hidden vectors.",
    "heads": "Transformer: number of attention heads.",
    "kv_heads": "Transformer: number of key and value heads, shared by groups of attention heads.",
    "vocab_size": "Maximum vocabulary size of a new tokenizer.",
    "bidirectional": "RNN, LSTM, GRU: read in both directions.",
    "threads": "Number of CPU threads for training.",
    "deterministic": "Make runs bit-for-bit reproducible. They are then slower.",
    "class_weights": 'Weights of the labels in the loss: balanced, or JSON: {"label": weight}.',
    "optimizer": "Method of optimisation: " + _choice("optimizer"),
    "context_length": "Maximum sequence length, in tokens or steps.",
    "tokenizer": "Kind of a new tokenizer: " + _choice("tokenizer"),
    "pooling": "How the steps of a sequence become one vector: " + _choice("pooling"),
    "ngrams": "Text: extend the network with a branch that reads n-grams.",
    "head_only": "Fine-tuning: train only the head, and freeze all other parameters.",
    "lora_r": "Fine-tuning a Transformer: train only a low-rank adapter of this rank, such as 8. Except for language "
    "models, the head is also trained.",
    "lora_alpha": "Adapter: strength, relative to the rank (default: twice the rank).",
    "lora_dropout": "Adapter: dropout probability for its input.",
    "lora_target_modules": "Adapter: matrices to change, as a,b,c (default: qkv,out,up,down).",
    "patience": "Stop after this many evaluations without improvement.",
    "eval_every": "Steps between two evaluations.",
    "precision": "Data type of the computation: " + _choice("precision"),
    "encoding": "Encoding of the data files, such as cp1252 (default: detected).",
    "baseline": "Also fit a linear model (for plain text: an n-gram model) for comparison (default).",
    "skip_bad_rows": "Skip unusable rows, up to this fraction of all rows.",
}


def with_fields(struct: type[msgspec.Struct], panel: str, suffix: str = "") -> Callable[[Callable[..., Any]], Any]:
    """Add an option to a command for each field of `struct`: `--max-steps` for `max_steps`.

    The command receives each value as a keyword argument whose name is the field's name plus `suffix`. Options that are
    not set have the value None. `panel` is the heading of these options in the help text.
    """

    def decorate(command: Callable[..., Any]) -> Callable[..., Any]:
        # Typer reads a command's signature and annotations, so both are replaced.
        hints = typing.get_type_hints(command, include_extras=True)
        own = inspect.signature(command).parameters.values()
        explicit = [p.replace(annotation=hints[p.name]) for p in own if p.kind is not p.VAR_KEYWORD]
        generated = [_parameter(name, declared, panel, suffix) for name, declared in flat_fields(struct)]
        command.__signature__ = inspect.Signature([*explicit, *generated])  # type: ignore[attr-defined]
        command.__annotations__ = {p.name: p.annotation for p in [*explicit, *generated]}
        return command

    return decorate


def flat_fields(struct: type[msgspec.Struct], prefix: str = "") -> Iterator[tuple[str, Any]]:
    """Yield the name and the type of each option. A nested struct yields one option for each of its fields."""
    for field in msgspec.structs.fields(struct):
        inner = _struct(field.type)
        if inner is None:
            yield prefix + field.name, field.type
        else:
            yield from flat_fields(inner, f"{field.name}_")


def _struct(declared: Any) -> type[msgspec.Struct] | None:
    members = [m for m in typing.get_args(declared) if isinstance(m, type)]
    return next((m for m in members if issubclass(m, msgspec.Struct)), None)


def _parameter(field: str, declared: Any, panel: str, suffix: str) -> inspect.Parameter:
    name = field + suffix
    flag = "--" + name.replace("_", "-")
    kind = _option_type(declared)
    flags = (f"{flag}/--no-{flag[2:]}",) if kind is bool else (flag,)
    own_panel = SWITCHES if kind is bool else panel
    option = typer.Option(*flags, help=HELP.get(field, ""), rich_help_panel=own_panel)
    annotation: Any = Annotated[kind | None, option]
    return inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, default=None, annotation=annotation)


def _option_type(declared: Any) -> Any:
    """The option type for a field: the first type in the annotation that options support, or str if there is none."""
    members = typing.get_args(declared) if isinstance(declared, types.UnionType) else (declared,)
    return next((m for m in members if m in (bool, int, float, str)), str)


def collect(values: dict[str, Any], struct: type[msgspec.Struct], suffix: str = "") -> dict[str, Any]:
    """Return the options that were set, as a JSON object for the request. `suffix` is as in `with_fields`."""
    options: dict[str, Any] = {}
    for field in msgspec.structs.fields(struct):
        inner = _struct(field.type)
        if inner is not None:
            own = {f"{field.name}_{name}": name for name in inner.__struct_fields__}
            inner_values = {name: values[option] for option, name in own.items() if values.get(option) is not None}
            options[field.name] = {name: _listed(inner, name, value) for name, value in inner_values.items()} or None
        else:
            options[field.name] = values.get(field.name + suffix)
    return {name: _parse(name, value) for name, value in options.items() if value is not None}


def _listed(struct: type[msgspec.Struct], name: str, value: Any) -> Any:
    """Return the value of an option, split at commas if its field is a list."""
    declared = typing.get_type_hints(struct)[name]
    return value.split(",") if isinstance(value, str) and list[str] in typing.get_args(declared) else value


def _parse(name: str, value: Any) -> Any:
    if not (isinstance(value, str) and value.startswith("{")):
        return value
    option = f"--{name.replace('_', '-')}"
    try:
        parsed = json.loads(value)
    except (ValueError, RecursionError):
        raise InvalidRequest(f"{option}: {value!r} is not valid JSON") from None
    if any(isinstance(number, float) and not math.isfinite(number) for number in parsed.values()):
        raise InvalidRequest(f"{option}: the numbers must be finite")
    return parsed
