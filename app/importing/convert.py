"""Converts weights of other programs to a checkpoint directory, on the user's machine; `ostinato import` calls it.

The file is read without running anything in it. Its names and shapes are used to infer the network, and the user is
asked for the rest. Imports no torch.
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
from app.importing.pytorch.infer import infer
from app.importing.pytorch.network import InferredNetwork
from app.importing.pytorch.state_dict import read
from app.importing.pytorch.tensors import Tensors
from app.importing.questions import Answers, Question
from app.importing.vocabulary import tokenizer_of
from app.tokenization.tokenizer import Tokenizer
from app.wording import counted
from models.config import ConfigError, ModelConfig
from models.parameters import shapes

NUMBERS = "numbers"


@dataclass(frozen=True, slots=True)
class Converted:
    """The checkpoint, and the assumptions made for it, one `field=value: reason` each."""

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
    """Write the new checkpoint directory `target` from the weights in `source`.

    `fields` are the user's answers. Raises ImportQuestion with all questions that are still open, UnknownNetwork for a
    network that cannot be imported, and ForeignFileInvalid for a file that cannot be read without running it.
    """
    answers = Answers(fields or {})
    network = infer(read(source, allow_pickle_tensors=allow_pickle_tensors), answers)
    names = _labels(network, labels, answers)
    tokenizer = _tokenizer(network, vocabulary, answers)
    answers.settle()
    config = _config(network)
    if tokenizer is not None:
        config = replace(config, pad_id=tokenizer.pad_id)
    _check_shapes(network.tensors, config)
    target.mkdir(parents=True)
    write_bytes(target / "model.safetensors", save(network.tensors))
    write_json(target / "config.json", {"format_version": FORMAT_VERSION, **config.to_dict()})
    if names is not None:
        write_json(target / "labels.json", names)
    if tokenizer is not None:
        tokenizer.save(target)
    origin = {"file": source.name, "sha256": hashlib.sha256(source.read_bytes()).hexdigest()}
    write_json(target / "training.json", {"imported": {**origin, "assumed": answers.assumed}})
    write_bytes(target / "README.md", _card(source, config, answers.assumed).encode())
    return Converted(validate(target), tuple(answers.assumed))


def _labels(network: InferredNetwork, labels: list[str] | None, answers: Answers) -> list[str] | None:
    """The names of the head's outputs; None for tasks without labels."""
    task = network.fields["task"]
    if task not in LABELLED:
        if labels:
            raise InvalidRequest(f"a network for {task} has no labels", param="labels")
        return None
    count = network.fields["classes"]
    if labels is None:
        text = f"the names of the {count} outputs, in their order (--labels a,b,c), or {NUMBERS!r} for 0, 1, 2, …"
        answer = answers.ask(Question("labels", text))
        labels = [str(i) for i in range(count)] if answer in (NUMBERS, "") else answer.split(",")
    if len(labels) != count or len(set(labels)) != count:
        raise InvalidRequest(
            f"the head has {count} outputs, which need {count} different labels; {len(labels)} labels were given, "
            f"{len(set(labels))} of them different",
            param="labels",
        )
    return labels


def _tokenizer(network: InferredNetwork, vocabulary: Path | None, answers: Answers) -> Tokenizer | None:
    """The tokenizer of a network that reads tokens; None for one that reads numeric features."""
    if network.fields["input"] != "tokens":
        if vocabulary is not None:
            raise InvalidRequest("this network reads numbers, so it has no vocabulary", param="vocabulary")
        return None
    if vocabulary is None:
        text = (
            "the file with its tokens (--vocabulary FILE): a JSON list or dictionary, a text file with one token on "
            "each line, or a tokenizer.json"
        )
        answers.open.append(Question("vocabulary", text))
        return None
    return tokenizer_of(vocabulary, network.fields["vocab_size"], answers)


def _config(network: InferredNetwork) -> ModelConfig:
    try:
        return ModelConfig(**network.fields)
    except ConfigError as error:
        raise InvalidRequest(f"this network is not supported: {error}", param=error.field) from None


def _check_shapes(tensors: Tensors, config: ModelConfig) -> None:
    """Raise InvalidRequest with the tensors that are missing, of another shape, or not part of the network."""
    expected: dict[str, Any] = shapes(config)
    wrong = [
        f"  {name}: {tuple(tensors[name].shape) if name in tensors else 'missing'}, expected {expected.get(name)}"
        for name in sorted({*tensors, *expected})
        if name not in tensors or tuple(tensors[name].shape) != expected.get(name)
    ]
    if wrong:
        raise InvalidRequest("the tensors do not fit one network:\n" + "\n".join(wrong[:30]), code="unknown_network")


def _card(source: Path, config: ModelConfig, assumed: list[str]) -> str:
    """The checkpoint's README.md."""
    kind = f"{'bidirectional ' if config.bidirectional else ''}{config.architecture}"
    return (
        f"# Imported from {source.name}\n\n"
        f"- task: {config.task}\n- network: {kind}, {counted(config.layers, 'layer')} of {config.width}\n"
        f"- input: {config.input}\n"
        "\nThis network was trained elsewhere; its training data and its quality are unknown.\n"
        + ("\n## Assumed\n\nThe file does not show this, so it was assumed:\n\n" if assumed else "")
        + "".join(f"- {line}\n" for line in assumed)
    )
