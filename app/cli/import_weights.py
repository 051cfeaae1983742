"""Runs the dialogue of `ostinato import` for plain weights: asks questions, and prints a command with the answers."""

from __future__ import annotations

import json
import shlex
import sys
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING

import typer

from app.cli.output import warn
from app.errors import InvalidRequest

if TYPE_CHECKING:
    from app.importing.output import Converted
    from app.importing.questions import ImportQuestion

BY_VOCABULARY = ("unknown", "first_id", "around")  # fields whose questions depend on the vocabulary
OWN_OPTIONS = ("task", "heads")  # fields that have their own options; the others are given with --set


@dataclass(frozen=True, slots=True)
class WeightsOptions:
    """The command-line options for importing weights.

    `fields` contains the values of `--set`, `--task` and `--heads`. `original_paths` maps copies of pipes to the
    paths that the user gave.
    """

    source: Path
    name: str
    labels: str | None = None
    vocabulary: Path | None = None
    allow_pickle: bool = False
    fields: dict[str, str] = field(default_factory=dict)
    original_paths: dict[str, str] = field(default_factory=dict)

    def command(self) -> str:
        """The command line with these options, quoted for a shell."""
        parts = ["ostinato", "import", str(self.source), "--name", self.name]
        parts += ["--allow-pickle-tensors"] if self.allow_pickle else []
        parts += ["--labels", self.labels] if self.labels is not None else []
        parts += ["--vocabulary", str(self.vocabulary)] if self.vocabulary is not None else []
        for name, value in self.fields.items():
            parts += [f"--{name}", value] if name in OWN_OPTIONS else ["--set", f"{name}={value}"]
        return shlex.join(self.original_paths.get(part, part) for part in parts)

    def with_answer(self, name: str, answer: str) -> WeightsOptions:
        """Return a copy of these options that includes the answer to one question."""
        if name == "vocabulary":
            return replace(self, vocabulary=Path(answer))
        if name == "labels" and answer != "numbers":
            return replace(self, labels=answer)
        return replace(self, fields={**self.fields, name: answer})


def convert_weights(options: WeightsOptions, target: Path) -> Converted:
    """Convert weights to the checkpoint directory `target`.

    At a terminal, asks the user for everything that cannot be derived from the weights. Otherwise, raises one
    ImportQuestion with all questions. The message of ImportQuestion ends with a command that the user can complete.
    """
    from app.importing.convert import convert
    from app.importing.gguf.convert_gguf import is_gguf
    from app.importing.keras.sources import is_keras
    from app.importing.pytorch.state_dict import is_pickle
    from app.importing.questions import ImportQuestion

    if options.source.is_dir() or is_gguf(options.source):
        _check_pickle_option(options)
        return _convert_model(options, target)
    _check_pickle_option(options)
    if not options.allow_pickle and is_pickle(options.source) and not is_keras(options.source):
        raise InvalidRequest(
            f"{options.source.name} is a pickle, which can contain code; save the weights as safetensors, or add "
            f"--allow-pickle-tensors to read its tensors without running anything:\n"
            f"  {replace(options, allow_pickle=True).command()}"
        )
    has_asked = False
    while True:
        try:
            converted = convert(
                options.source,
                target,
                labels=read_labels(options.labels),
                vocabulary=options.vocabulary,
                fields=options.fields,
                allow_pickle_tensors=options.allow_pickle,
            )
        except ImportQuestion as error:
            if not sys.stdin.isatty():
                raise _with_command(error, options) from None
            options, has_asked = _ask(error, options), True
            continue
        if has_asked:
            warn(f"to repeat this import: {options.command()}")
        return converted


def _check_pickle_option(options: WeightsOptions) -> None:
    """Raise InvalidRequest for `--allow-pickle-tensors` if there is no file that it applies to."""
    from app.importing.pytorch.state_dict import is_pickle

    source = options.source
    files = source.rglob("*") if source.is_dir() else [source]
    if options.allow_pickle and not any(map(is_pickle, files)):
        raise InvalidRequest(
            f"--allow-pickle-tensors has no effect: {source.name} {'contains no' if source.is_dir() else 'is not a'} "
            "pickle; leave it out, or check that this is the intended file"
        )


def _convert_model(options: WeightsOptions, target: Path) -> Converted:
    """Convert a Hugging Face directory or a GGUF file, without asking any questions."""
    from app.importing.gguf.convert_gguf import convert_gguf
    from app.importing.huggingface.convert_directory import convert_directory

    if options.vocabulary is not None or "heads" in options.fields:
        flag = "--heads" if options.vocabulary is None else "--vocabulary"
        raise InvalidRequest(f"{flag}: {options.source.name} contains this information")
    if options.source.is_file():
        if options.labels is not None:
            raise InvalidRequest("--labels: a GGUF file contains a language model, which has no labels")
        return convert_gguf(options.source, target, options.fields)
    return convert_directory(
        options.source,
        target,
        labels=read_labels(options.labels),
        fields=options.fields,
        allow_pickle_tensors=options.allow_pickle,
    )


def _ask(error: ImportQuestion, options: WeightsOptions) -> WeightsOptions:
    for question in error.questions:
        if question.condition:  # asked in the next round, if it applies
            continue
        answer = str(typer.prompt(str(question), default=question.usual))
        while question.options and answer not in question.options:
            warn(f"{answer!r} is not one of {', '.join(question.options)}")
            answer = str(typer.prompt(question.field, default=question.usual))
        options = options.with_answer(question.field, answer)
    return options


def _with_command(error: ImportQuestion, options: WeightsOptions) -> ImportQuestion:
    """Append a command to the error's message. The command contains `...` for each answer without a default.

    A question is left out if it applies only to some answers to another question.
    """
    for question in error.questions:
        if question.condition:
            continue
        options = options.with_answer(question.field, question.usual or "...")
    if any(question.field == "vocabulary" for question in error.questions):
        for name in BY_VOCABULARY:
            options = options.with_answer(name, options.fields.get(name, "..."))
    conditions = "".join(f"; {question.condition}" for question in error.questions if question.condition)
    defaults = ", with PyTorch's defaults" if any(question.usual for question in error.questions) else ""
    error.message += f"\nThe command{defaults}; replace each ... with your answer{conditions}:\n  {options.command()}"
    return error


def read_fields(options: Sequence[str], own: dict[str, str]) -> dict[str, str]:
    """Read the arguments of `--set field=value`. `own` contains the values of the options that each set a single field.

    Returns the fields with the values of `--set`, `--task` and `--heads`. Raises InvalidRequest if an argument has no
    `=`, or if a field is given twice.
    """
    fields: dict[str, str] = {}
    for option in options:
        name, separator, value = option.partition("=")
        if not separator:
            raise InvalidRequest(f"--set {option}: must have the form field=value")
        if name in own:
            raise InvalidRequest(f"--set {option}: {name} is also given as --{name} {own[name]}; give it once")
        if name in fields:
            raise InvalidRequest(f"--set {option}: {name} is also given as --set {name}={fields[name]}; give it once")
        fields[name] = value
    return fields | {name: own[name] for name in OWN_OPTIONS if name in own}


def read_labels(labels: str | None) -> list[str] | None:
    """Read labels from a JSON file, a file with one label per line, or a comma-separated list.

    Raises InvalidRequest for an empty label, unless it is a blank line at the end of a file.
    """
    if labels is None:
        return None
    try:
        text = Path(labels).read_text(encoding="utf-8-sig")
    except UnicodeDecodeError:
        raise InvalidRequest(f"--labels {labels}: the file is not UTF-8") from None
    except (OSError, ValueError):  # the file does not exist, or the string is not a valid file name
        parts = labels.split(",")
    else:
        if text.lstrip().startswith(("{", "[")):
            return _json_labels(labels, text)
        parts = text.rstrip().split("\n")
    names = [label.strip() for label in parts]
    if "" in names:
        raise InvalidRequest(f"--labels {labels}: label {names.index('') + 1} of {len(names)} is empty")
    return names


def _json_labels(name: str, text: str) -> list[str]:
    from app.importing.extras import label_names

    try:
        value = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise InvalidRequest(f"--labels {name}: the file is not valid JSON: {error}") from None
    return label_names(value, f"--labels {name}")
