"""Converts a GGUF file to a checkpoint directory. Used by `ostinato import` on the user's machine. Imports no torch."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from app.checkpoint.configuration import CHAT_TEMPLATE_LIMIT
from app.importing.gguf.names import read_config, read_tensors
from app.importing.gguf.reader import MAGIC, GgufFile, read_gguf
from app.importing.gguf.tokens import make_tokenizer, special_token
from app.importing.huggingface import heads, texts
from app.importing.huggingface.decoders import add_vocabulary_head, read_llama
from app.importing.output import Converted, write
from app.importing.pytorch.network import InferredNetwork
from app.importing.pytorch.tensors import check_finite
from app.importing.questions import Answers
from app.wording import quantity


def is_gguf(path: Path) -> bool:
    """Whether a file starts like a GGUF file."""
    if not path.is_file():
        return False
    with path.open("rb") as file:
        return file.read(len(MAGIC)) == MAGIC


def convert_gguf(source: Path, target: Path, fields: Mapping[str, str] | None = None) -> Converted:
    """Write the new checkpoint directory `target` from a GGUF file.

    `fields` contains the user's answers. Raises ForeignFileInvalid for a file that cannot be imported.
    """
    answers = Answers(fields or {})
    file = read_gguf(source)
    config = read_config(file)
    tokenizer = make_tokenizer(file.metadata)
    tensors = read_tensors(file, config)
    check_finite(tensors)
    body = read_llama(config, tensors, answers)
    described = add_vocabulary_head(body, config, tensors, tied="lm_head.weight" not in tensors)
    body.fields.update(architecture="transformer", input="tokens", norm_first=True, final_norm=True, classes=0)
    heads.drop_unused(tensors, answers)
    ignored = answers.get("ignore")
    config.settle([] if ignored is None else ignored.split(","))
    texts.check_size(tokenizer, body.fields["vocab_size"])
    kinds = ", ".join(dict.fromkeys(tensor.kind.name for tensor in file.tensors.values()))
    answers.assumed.append(f"weights=float32: converted from {kinds}")
    answers.settle()
    sizes = f"{quantity(body.fields['layers'], 'layer')} of {body.fields['width']}"
    computation = f"{config.get('model_type')} ({sizes}, {quantity(body.fields['heads'], 'head')}) → {described}"
    network = InferredNetwork(body.fields, body.tensors, computation)
    return write(source, target, network, None, tokenizer, answers.assumed, _extra(file))


def _extra(file: GgufFile) -> dict[str, Any]:
    """Return the entries of our config.json that do not describe the network."""
    extra = {}
    if end := special_token(file.metadata, "eos"):
        extra["eos_token"] = end
    template = file.metadata.get("tokenizer.chat_template")
    if isinstance(template, str) and len(template) <= CHAT_TEMPLATE_LIMIT:
        extra["chat_template"] = template
    return extra
