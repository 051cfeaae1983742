"""Converts a Hugging Face directory to a checkpoint directory, for `ostinato import` on the user's machine.

Nothing in the directory is executed. Imports no torch.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from app.importing.huggingface import encoders, heads, texts
from app.importing.huggingface.directory import read_object
from app.importing.huggingface.parts import ForeignBody, plain_names
from app.importing.huggingface.sentence import SentenceModules, read_modules
from app.importing.huggingface.source_config import SourceConfig
from app.importing.huggingface.weights import find_files, read_weights
from app.importing.output import Converted, write
from app.importing.pytorch.network import InferredNetwork
from app.importing.pytorch.tensors import ForeignFileInvalid, Tensors, check_finite
from app.importing.questions import Answers
from app.tokenization.definition import FILE
from app.tokenization.tokenizer import Tokenizer
from app.wording import counted


@dataclass(frozen=True, slots=True)
class EncoderFamily:
    """The reader for the models of one `model_type`. The tensors of a base model have no `prefix`."""

    prefix: str
    read: Callable[[SourceConfig, Tensors], ForeignBody]
    head: heads.HeadNames


ENCODERS: Mapping[str, EncoderFamily] = {
    "bert": EncoderFamily("bert.", encoders.read_bert, heads.BERT),
    "distilbert": EncoderFamily("distilbert.", encoders.read_distilbert, heads.DISTILBERT),
    "roberta": EncoderFamily("roberta.", encoders.read_roberta, heads.ROBERTA),
    "xlm-roberta": EncoderFamily("roberta.", encoders.read_roberta, heads.ROBERTA),
    "camembert": EncoderFamily("roberta.", encoders.read_roberta, heads.ROBERTA),
}
CLASSIFIER = "ForSequenceClassification"
BODIES = ("Model", "ForMaskedLM", "ForPreTraining")  # endings of architectures without a head that we import


def convert_directory(
    source: Path,
    target: Path,
    *,
    labels: list[str] | None = None,
    fields: Mapping[str, str] | None = None,
    allow_pickle_tensors: bool = False,
) -> Converted:
    """Write the new checkpoint directory `target` from the model in the directory `source`.

    `fields` contains the user's answers. Raises ForeignFileInvalid for a model that cannot be imported.
    """
    answers = Answers(fields or {})
    modules = read_modules(source, answers)
    config = SourceConfig(read_object(modules.folder / "config.json", required=True))
    family = _family(config)
    files = find_files(modules.folder)
    tensors = plain_names(read_weights(files, answers, allow_pickle_tensors=allow_pickle_tensors), (family.prefix,))
    check_finite(tensors)
    body = family.read(config, tensors)
    described = _add_head(body, family, config, tensors, modules, answers)
    heads.drop_unused(tensors, answers)
    ignored = answers.get("ignore")
    config.settle([] if ignored is None else ignored.split(","))
    tokenizer = texts.read_tokenizer(_tokenizer_folder(modules.folder, source), body.fields["vocab_size"])
    _add_types(body, _tokenizer_folder(modules.folder, source))
    _limit_length(body, modules, tokenizer, source, answers)
    names = _labels(body, config, labels)
    answers.settle()
    network = InferredNetwork(body.fields, body.tensors, f"{_shown(config, body)} → {described}")
    return write(source, target, network, names, tokenizer, answers.assumed)


def _family(config: SourceConfig) -> EncoderFamily:
    name = config.get("model_type")
    if name not in ENCODERS:
        raise ForeignFileInvalid(
            f"{config.name}: model_type is {str(name)[:40]!r}; the families that can be imported are "
            f"{', '.join(ENCODERS)}"
        )
    return ENCODERS[name]


def _add_head(
    body: ForeignBody,
    family: EncoderFamily,
    config: SourceConfig,
    tensors: Tensors,
    modules: SentenceModules,
    answers: Answers,
) -> str:
    listed = config.get("architectures", default=[])
    architecture = str(listed[0]) if isinstance(listed, list) and listed else ""
    if architecture.endswith(CLASSIFIER) and modules.pooling is None:
        return heads.add_classifier(body, family.head, config, tensors, answers)
    if architecture and not architecture.endswith((*BODIES, CLASSIFIER)):
        raise ForeignFileInvalid(
            f"{config.name}: the head of {architecture[:60]} cannot be imported; models for sequence classification, "
            "and models with a head for masked tokens or without a head, can be imported"
        )
    return heads.add_pooling(body, modules.pooling, answers)


def _tokenizer_folder(folder: Path, source: Path) -> Path:
    """The folder with the tokenizer, which is the folder of the network or, in some old directories, its parent."""
    return folder if (folder / FILE).is_file() else source


def _add_types(body: ForeignBody, folder: Path) -> None:
    """Add the token types. If only one type occurs, fold its vector into the positions."""
    types = body.tensors.get("input.types.weight")
    if types is None:
        return
    separator = texts.separator_of(folder, types)
    if separator is None:
        del body.tensors["input.types.weight"]
        body.tensors["body.positions.weight"] = body.tensors["body.positions.weight"] + types[0]
    else:
        body.fields.update(token_types=len(types), separator_id=separator)


def _limit_length(
    body: ForeignBody, modules: SentenceModules, tokenizer: Tokenizer, source: Path, answers: Answers
) -> None:
    """Limit the context to the length to which the original program cuts texts."""
    whole = body.fields["context_length"]
    limits = {
        "max_seq_length of sentence-transformers": modules.longest,
        "model_max_length of the tokenizer": texts.longest_text(_tokenizer_folder(modules.folder, source)),
    }
    for name, limit in limits.items():
        if limit is not None and limit < body.fields["context_length"]:
            body.fields["context_length"] = limit
            answers.assumed.append(f"context_length={limit}: {name}; the network has {whole} positions")
    body.tensors["body.positions.weight"] = body.tensors["body.positions.weight"][: body.fields["context_length"]]
    if modules.lowercase and tokenizer.encode("Aa Bb") != tokenizer.encode("aa bb"):
        raise ForeignFileInvalid(
            "sentence_bert_config.json: do_lower_case lowercases texts before a tokenizer that reads capital letters"
        )


def _labels(body: ForeignBody, config: SourceConfig, labels: list[str] | None) -> list[str] | None:
    if body.fields["task"] not in ("classification", "multilabel"):
        if labels:
            raise ForeignFileInvalid(f"a network for {body.fields['task']} has no labels; leave --labels out")
        return None
    if labels is None:
        return heads.labels_of(config, body.fields)
    if len(labels) != body.fields["classes"]:
        raise ForeignFileInvalid(f"--labels: the network has {counted(body.fields['classes'], 'output')}")
    return labels


def _shown(config: SourceConfig, body: ForeignBody) -> str:
    fields = body.fields
    sizes = f"{counted(fields['layers'], 'layer')} of {fields['width']}, {counted(fields['heads'], 'head')}"
    return f"{config.get('model_type')} ({sizes}, {fields['activation']})"
