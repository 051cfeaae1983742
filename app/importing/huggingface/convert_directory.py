"""Converts a Hugging Face directory to a checkpoint directory. Used by `ostinato import` on the user's machine.

Nothing in the directory is executed. Imports no torch.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from app.importing.huggingface import heads, texts
from app.importing.huggingface.adapter import merged, read_adapter
from app.importing.huggingface.decoder_models import DECODERS, read_decoder
from app.importing.huggingface.directory import read_object
from app.importing.huggingface.encoder_models import CLASSIFIER, ENCODERS, read_encoder
from app.importing.huggingface.parts import ForeignBody, plain_names
from app.importing.huggingface.sentence import read_modules
from app.importing.huggingface.source_config import SourceConfig
from app.importing.huggingface.source_model import SourceModel, tokenizer_folder
from app.importing.huggingface.weights import find_files, read_weights
from app.importing.output import Converted, write
from app.importing.pytorch.network import InferredNetwork
from app.importing.pytorch.tensors import ForeignFileInvalid, check_finite
from app.importing.questions import Answers
from app.wording import quantity

PREFIXES = {name: family.prefix for name, family in ENCODERS.items()}
PREFIXES |= {name: family.prefix for name, family in DECODERS.items()}


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
    model = _read(source, answers, allow_pickle_tensors)
    check_finite(model.tensors)
    whole = (read_encoder if model.config.get("model_type") in ENCODERS else read_decoder)(model)
    body = whole.body
    heads.drop_unused(model.tensors, answers, whole.unused)
    ignored = answers.get("ignore")
    model.config.settle([] if ignored is None else ignored.split(","))
    texts.check_size(model.tokenizer, body.fields["vocab_size"])
    _limit_length(body, model)
    names = _labels(body, model.config, labels)
    answers.settle()
    network = InferredNetwork(body.fields, body.tensors, f"{_shown(model.config, body)} → {whole.described}")
    return write(source, target, network, names, model.tokenizer, answers.assumed, whole.extra)


def _read(source: Path, answers: Answers, allow_pickle_tensors: bool) -> SourceModel:
    modules = read_modules(source, answers)
    chosen = answers.get("adapter")
    adapter = None if chosen is None else read_adapter(Path(chosen), answers)
    values = read_object(modules.folder / "config.json", required=True)
    if adapter is not None and adapter.classifies:  # the head is in the adapter
        values["architectures"] = [f"Adapter{CLASSIFIER}"]
    config = SourceConfig(values)
    family = config.get("model_type")
    if not isinstance(family, str) or family not in PREFIXES:
        raise ForeignFileInvalid(
            f"{config.name}: model_type is {str(family)[:40]!r}; the families that can be imported are "
            f"{', '.join(PREFIXES)}"
        )
    tokenizer = texts.read_tokenizer(tokenizer_folder(source, modules.folder))
    files = find_files(modules.folder)
    tensors = read_weights(files, answers, allow_pickle_tensors=allow_pickle_tensors)
    plain = plain_names(tensors, [PREFIXES[family]])
    plain = plain if adapter is None else merged(plain, adapter, PREFIXES[family])
    return SourceModel(source, modules, config, tokenizer, plain, answers)


def _limit_length(body: ForeignBody, model: SourceModel) -> None:
    """Limit the context length to the original program's maximum length, because that program cuts longer texts.

    Raises ForeignFileInvalid if the original program lowercases texts before a case-sensitive tokenizer reads them.
    """
    whole = body.fields["context_length"]
    limits = {
        "max_seq_length of sentence-transformers": model.modules.longest,
        "model_max_length of the tokenizer": texts.longest_text(model.tokenizer_folder),
    }
    for name, limit in limits.items():
        if limit is not None and body.fields["task"] != "generation" and limit < body.fields["context_length"]:
            body.fields["context_length"] = limit
            model.answers.assumed.append(f"context_length={limit}: {name}; the network has {whole} positions")
    if (positions := body.tensors.get("body.positions.weight")) is not None:
        body.tensors["body.positions.weight"] = positions[: body.fields["context_length"]]
    if model.modules.lowercase and model.tokenizer.encode("Aa Bb") != model.tokenizer.encode("aa bb"):
        raise ForeignFileInvalid(
            "sentence_bert_config.json: do_lower_case lowercases texts, but the tokenizer is case-sensitive"
        )


def _labels(body: ForeignBody, config: SourceConfig, labels: list[str] | None) -> list[str] | None:
    if body.fields["task"] not in ("classification", "multilabel"):
        if labels:
            raise ForeignFileInvalid(f"a network for {body.fields['task']} has no labels; leave --labels out")
        return None
    if labels is None:
        return heads.labels_of(config, body.fields)
    if len(labels) != body.fields["classes"]:
        outputs = quantity(body.fields["classes"], "output")
        raise ForeignFileInvalid(f"--labels: the network has {outputs}, each of which requires one label")
    return labels


def _shown(config: SourceConfig, body: ForeignBody) -> str:
    fields = body.fields
    sizes = f"{quantity(fields['layers'], 'layer')} of {fields['width']}, {quantity(fields['heads'], 'head')}"
    return f"{config.get('model_type')} ({sizes}, {fields['activation']})"
