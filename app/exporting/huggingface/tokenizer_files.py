"""Writes the tokenizer of a version, and the files that describe its special tokens to transformers."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from app.checkpoint import directory as checkpoint
from app.exporting.source_version import SourceVersion
from app.importing.huggingface.decoder_models import TEMPLATE
from app.tokenization.tokenizer import Tokenizer


def write_tokenizer(target: Path, version: SourceVersion) -> None:
    """Write tokenizer.json, tokenizer_config.json and, if the version has one, the chat template."""
    tokenizer = version.tokenizer
    assert tokenizer is not None  # every network that can be exported to this layout reads tokens
    tokenizer.save(target)
    inputs = ["input_ids", *(["token_type_ids"] if version.config.token_types else []), "attention_mask"]
    settings: dict[str, Any] = {
        "tokenizer_class": "PreTrainedTokenizerFast",
        "model_max_length": version.config.context_length,
        "model_input_names": inputs,
        "clean_up_tokenization_spaces": False,
        **_names(tokenizer),
    }
    checkpoint.write_json(target / "tokenizer_config.json", settings)
    if template := version.raw.get("chat_template"):
        (target / TEMPLATE).write_text(template, encoding="utf-8")


def _names(tokenizer: Tokenizer) -> dict[str, str]:
    """Return the special tokens that the tokenizer has, keyed by their role in transformers."""
    ids = {
        "pad_token": tokenizer.pad_id,
        "unk_token": tokenizer.blank_id,
        "sep_token": tokenizer.sep_id,
        "eos_token": tokenizer.eos_id,
    }
    # An ordinary token must not be declared as special, because transformers would then look for it in texts first.
    special = set(tokenizer.special_ids)
    return {role: tokenizer.token_text(id_) for role, id_ in ids.items() if id_ is not None and id_ in special}
