"""Other people's weights → a checkpoint directory, on the user's own machine. What `ostinato import` calls.

Reads a file without running anything in it, infers what names and shapes tell, asks for the rest. Imports no torch.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from safetensors.numpy import save

from app.checkpoint.configuration import FORMAT_VERSION
from app.checkpoint.directory import LABELLED, Checkpoint, validate, write_bytes, write_json
from app.errors import InvalidRequest
from app.importing.pytorch.infer import Found, infer
from app.importing.pytorch.state_dict import read
from app.importing.pytorch.tensors import Tensors
from app.importing.questions import Answers, Question
from app.importing.vocabulary import tokenizer_of
from app.tokenization.tokenizer import Tokenizer
from models.config import ConfigError, ModelConfig
from models.parameters import shapes

NUMBERS = "numbers"


@dataclass(frozen=True, slots=True)
class Converted:
    """`assumed`: what neither the file nor a person said, one `field=value: why` each."""

    checkpoint: Checkpoint
    assumed: tuple[str, ...]


def convert(
    source: Path,
    target: Path,
    *,
    labels: list[str] | None = None,
    vocabulary: Path | None = None,
    fields: Mapping[str, str] | None = None,
    allow_pickle_tensors: bool = False,
) -> Converted:
    """Write the checkpoint directory `target` (a new one) from the weights in `source`.

    `fields` are a person's answers. Raises ImportQuestion with all that is still to be answered, UnknownNetwork for
    what is no network of ours, ForeignFileInvalid for a file that cannot be read without running it.
    """
    answers = Answers(fields or {})
    found = infer(read(source, allow_pickle_tensors=allow_pickle_tensors), answers)
    names = _labels(found, labels, answers)
    tokenizer = _tokenizer(found, vocabulary, answers)
    answers.settle()
    config = _config(found)
    if tokenizer is not None:
        config = replace(config, pad_id=tokenizer.pad_id)
    _check_shapes(found.tensors, config)
    target.mkdir(parents=True)
    write_bytes(target / "model.safetensors", save(found.tensors))
    write_json(target / "config.json", {"format_version": FORMAT_VERSION, **config.to_dict()})
    if names is not None:
        write_json(target / "labels.json", names)
    if tokenizer is not None:
        tokenizer.save(target)
    origin = {"file": source.name, "sha256": hashlib.sha256(source.read_bytes()).hexdigest()}
    write_json(target / "training.json", {"imported": {**origin, "assumed": answers.assumed}})
    write_bytes(target / "README.md", _card(source, config, answers.assumed).encode())
    return Converted(validate(target), tuple(answers.assumed))


def _labels(found: Found, labels: list[str] | None, answers: Answers) -> list[str] | None:
    if found.fields["task"] not in LABELLED:
        if labels:
            raise InvalidRequest(f"labels are for classification; this is {found.fields['task']}", param="labels")
        return None
    count = found.fields["classes"]
    if labels is None:
        text = f"the names of the {count} outputs, in their order (--labels a,b,c), or {NUMBERS!r} for 0, 1, 2, …"
        answer = answers.ask(Question("labels", text))
        labels = [str(i) for i in range(count)] if answer in (NUMBERS, "") else answer.split(",")
    if len(labels) != count or len(set(labels)) != count:
        raise InvalidRequest(
            f"the head has {count} outputs, each needs a name of its own; {len(labels)} given", param="labels"
        )
    return labels


def _tokenizer(found: Found, vocabulary: Path | None, answers: Answers) -> Tokenizer | None:
    if found.fields["input"] != "tokens":
        if vocabulary is not None:
            raise InvalidRequest("this network reads numbers, so it has no vocabulary", param="vocabulary")
        return None
    if vocabulary is None:
        text = "the file of its words (--vocabulary FILE): a JSON list or dictionary, one a line, or a tokenizer.json"
        answers.open.append(Question("vocabulary", text))
        return None
    return tokenizer_of(vocabulary, found.fields["vocab_size"], answers)


def _config(found: Found) -> ModelConfig:
    try:
        return ModelConfig(**found.fields)
    except ConfigError as error:
        raise InvalidRequest(f"no network of ours is like that: {error}", param=error.field) from None


def _check_shapes(tensors: Tensors, config: ModelConfig) -> None:
    expected: dict[str, Any] = shapes(config)
    wrong = [
        f"  {name}: {tuple(tensors[name].shape) if name in tensors else 'missing'}, expected {expected.get(name)}"
        for name in sorted({*tensors, *expected})
        if name not in tensors or tuple(tensors[name].shape) != expected.get(name)
    ]
    if wrong:
        raise InvalidRequest("the shapes do not fit together:\n" + "\n".join(wrong[:30]), code="unknown_network")


def _card(source: Path, config: ModelConfig, assumed: list[str]) -> str:
    kind = f"{'bidirectional ' if config.bidirectional else ''}{config.architecture}"
    return (
        f"# Imported from {source.name}\n\n"
        f"- task: {config.task}\n- network: {kind}, {config.layers} layers of {config.width}\n- input: {config.input}\n"
        "\nTrained elsewhere; nothing is known here of its data or its quality.\n"
        + ("\n## Assumed\n\nThe file does not say, so this was assumed:\n\n" if assumed else "")
        + "".join(f"- {line}\n" for line in assumed)
    )
