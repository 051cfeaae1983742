"""Reads whole decoders: the body, the head, the end token and the chat template."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from app.checkpoint.configuration import CHAT_TEMPLATE_LIMIT
from app.importing.huggingface import decoders
from app.importing.huggingface.directory import JSON_LIMIT, read_object
from app.importing.huggingface.parts import ForeignBody
from app.importing.huggingface.source_config import SourceConfig
from app.importing.huggingface.source_model import SourceModel, WholeModel
from app.importing.pytorch.tensors import ForeignFileInvalid, Tensors
from app.importing.questions import Answers

TEMPLATE = "chat_template.jinja"


@dataclass(frozen=True, slots=True)
class DecoderFamily:
    """Reads models with a particular `model_type`.

    `prefix` is the beginning of the names of the body's tensors, and `tied` is the default of tie_word_embeddings.
    """

    prefix: str
    read: Callable[[SourceConfig, Tensors, Answers], ForeignBody]
    tied: bool = False


DECODERS: Mapping[str, DecoderFamily] = {
    "gpt2": DecoderFamily("transformer.", decoders.read_gpt2, tied=True),
    "llama": DecoderFamily("model.", decoders.read_llama),
    "mistral": DecoderFamily("model.", decoders.read_llama),
    "qwen2": DecoderFamily("model.", decoders.read_llama),
    "qwen3": DecoderFamily("model.", decoders.read_llama),
    "smollm3": DecoderFamily("model.", decoders.read_llama, tied=True),
}
HEADS = ("ForCausalLM", "LMHeadModel")


def read_decoder(model: SourceModel) -> WholeModel:
    """Convert a language model."""
    if model.modules.pooling is not None:
        raise ForeignFileInvalid("modules.json: embedding models that read from left to right cannot be imported")
    if model.architecture and not model.architecture.endswith(HEADS):
        raise ForeignFileInvalid(
            f"{model.config.name}: the head of {model.architecture[:60]} cannot be imported; only language models "
            f"(…{' or …'.join(HEADS)}) are supported"
        )
    family = DECODERS[model.config.get("model_type")]
    body = family.read(model.config, model.tensors, model.answers)
    described = decoders.add_vocabulary_head(body, model.config, model.tensors, family.tied)
    body.fields.update(architecture="transformer", input="tokens", norm_first=True, final_norm=True, classes=0)
    return WholeModel(body, described, _extra(model))


def _extra(model: SourceModel) -> dict[str, Any]:
    """Return the entries of our config.json that do not describe the network."""
    settings = read_object(model.tokenizer_folder / "tokenizer_config.json")
    settings = read_object(model.tokenizer_folder / "special_tokens_map.json") | settings
    extra = {}
    if end := _end_token(settings, model):
        extra["eos_token"] = end
    if template := _chat_template(settings, model):
        if len(template) > CHAT_TEMPLATE_LIMIT:
            model.answers.assumed.append("dropped=chat_template: it is too long")
        else:
            extra["chat_template"] = template
    return extra


def _end_token(settings: dict[str, Any], model: SourceModel) -> str | None:
    """Return the token that ends a text. A version has only one end token; any others are reported."""
    token = settings.get("eos_token")
    name = token.get("content") if isinstance(token, dict) else token
    ids = read_object(model.folder / "generation_config.json").get(
        "eos_token_id", model.config.values.get("eos_token_id")
    )
    if isinstance(ids, list) and len(ids) > 1:
        shown = ", ".join(str(id_)[:20] for id_ in ids[:10])
        model.answers.assumed.append(
            f"eos_token={name}: transformers ends a text at any of the token ids {shown}; send them as stop_token_ids"
        )
    return name if isinstance(name, str) else None


def _chat_template(settings: dict[str, Any], model: SourceModel) -> str | None:
    """Return the chat template, which is stored but never rendered by this service."""
    file = model.tokenizer_folder / TEMPLATE
    if file.is_file() and file.stat().st_size <= JSON_LIMIT:
        try:
            return file.read_text(encoding="utf-8")
        except UnicodeDecodeError:
            raise ForeignFileInvalid(f"{TEMPLATE} is not UTF-8 text") from None
    template = settings.get("chat_template")
    if isinstance(template, list):  # several templates by name
        named = {item.get("name"): item.get("template") for item in template if isinstance(item, dict)}
        template = named.get("default")
    return template if isinstance(template, str) else None
