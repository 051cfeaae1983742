"""Reads whole encoders: the body, the token types, and a classification head or pooling for embeddings."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from app.importing.huggingface import encoders, heads, modernbert, texts
from app.importing.huggingface.parts import ForeignBody
from app.importing.huggingface.source_config import SourceConfig
from app.importing.huggingface.source_model import SourceModel, WholeModel
from app.importing.pytorch.tensors import ForeignFileInvalid, Tensors


@dataclass(frozen=True, slots=True)
class EncoderFamily:
    """Reads models with a particular `model_type`.

    `prefix` is the beginning of the names of the body's tensors, except in the files of models without a head. `unused`
    is a regular expression for the names of the tensors that have no effect in a model without a classifier.
    """

    prefix: str
    read: Callable[[SourceConfig, Tensors], ForeignBody]
    head: heads.HeadNames
    unused: str = heads.UNUSED


ENCODERS: Mapping[str, EncoderFamily] = {
    "bert": EncoderFamily("bert.", encoders.read_bert, heads.BERT),
    "distilbert": EncoderFamily("distilbert.", encoders.read_distilbert, heads.DISTILBERT),
    "roberta": EncoderFamily("roberta.", encoders.read_roberta, heads.ROBERTA),
    "xlm-roberta": EncoderFamily("roberta.", encoders.read_roberta, heads.ROBERTA),
    "camembert": EncoderFamily("roberta.", encoders.read_roberta, heads.ROBERTA),
    "modernbert": EncoderFamily("model.", modernbert.read_modernbert, heads.MODERNBERT, modernbert.UNUSED),
}
CLASSIFIER = "ForSequenceClassification"
BODIES = ("Model", "ForMaskedLM", "ForPreTraining")  # endings of architectures of which only the body is imported


def read_encoder(model: SourceModel) -> WholeModel:
    """Convert an encoder, and its head or pooling."""
    family = ENCODERS[model.config.get("model_type")]
    body = family.read(model.config, model.tensors)
    described = _add_head(body, family, model)
    _add_types(body, model)
    return WholeModel(body, described, unused=family.unused if body.fields["task"] == "embedding" else heads.UNUSED)


def _add_head(body: ForeignBody, family: EncoderFamily, model: SourceModel) -> str:
    architecture, pooling = model.architecture, model.modules.pooling
    if architecture.endswith(CLASSIFIER) and pooling is None:
        return heads.add_classifier(body, family.head, model.config, model.tensors, model.answers)
    if architecture and not architecture.endswith((*BODIES, CLASSIFIER)):
        raise ForeignFileInvalid(
            f"{model.config.name}: the head of {architecture[:60]} cannot be imported; only models for sequence "
            "classification, models with a masked-token head, and models without a head are supported"
        )
    return heads.add_pooling(body, pooling, model.answers)


def _add_types(body: ForeignBody, model: SourceModel) -> None:
    """Add the token types. If only one token type is used, fold its vector into the position table."""
    types = body.tensors.get("input.types.weight")
    if types is None:
        return
    separator = texts.separator_of(model.tokenizer, types)
    if separator is None:
        del body.tensors["input.types.weight"]
        body.tensors["body.positions.weight"] = body.tensors["body.positions.weight"] + types[0]
    else:
        body.fields.update(token_types=len(types), separator_id=separator)
