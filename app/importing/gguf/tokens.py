"""Creates a tokenizer.json from the tokens, the merges and the name of the splitting rule in a GGUF file."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from app.checkpoint import patterns, tokenizer_rules
from app.importing.pytorch.tensors import ForeignFileInvalid
from app.importing.repetition import first_repeated
from app.tokenization.tokenizer import Tokenizer

PREFIX = "tokenizer.ggml."
CONTROL, USER_DEFINED = 3, 4  # types of tokens that are not the result of merges
_BYTES = {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": True, "use_regex": True}
_DIGITS = {"type": "Digits", "individual_digits": True}
_PLAIN_BYTES = _BYTES | {"use_regex": False}


def _split(expression: str) -> dict[str, Any]:
    pattern = {"type": "Split", "pattern": {"Regex": expression}, "behavior": "Isolated", "invert": False}
    return {"type": "Sequence", "pretokenizers": [pattern, _PLAIN_BYTES]}


SPLITTERS: Mapping[str, dict[str, Any]] = {  # names in llama.cpp -> components of a tokenizer.json
    "gpt-2": _BYTES,
    "smollm": {"type": "Sequence", "pretokenizers": [_DIGITS, _BYTES]},
    "llama-bpe": _split(patterns.LLAMA),
    "qwen2": _split(patterns.QWEN),
}


def make_tokenizer(metadata: Mapping[str, Any]) -> Tokenizer:
    """Return the tokenizer of a GGUF file. Raises ForeignFileInvalid or CheckpointInvalid if it is not supported."""
    kind, rule = metadata.get(f"{PREFIX}model"), metadata.get(f"{PREFIX}pre")
    if kind != "gpt2" or not isinstance(rule, str) or rule not in SPLITTERS:
        raise ForeignFileInvalid(
            f"its tokenizer ({str(kind)[:40]}, {str(rule)[:40]}) cannot be imported; only byte-level BPE (gpt2) "
            f"with one of the splitting rules {', '.join(SPLITTERS)} is supported"
        )
    if metadata.get(f"{PREFIX}add_eos_token"):
        raise ForeignFileInvalid(f"{PREFIX}add_eos_token: tokenizers that append a token to prompts are not supported")
    tokens = token_list(metadata)
    definition = _definition(tokens, metadata, str(rule))
    patterns.check(definition)
    tokenizer_rules.check(definition)
    return Tokenizer(json.dumps(definition, ensure_ascii=False))


def token_list(metadata: Mapping[str, Any]) -> list[str]:
    """Return the tokens, ordered by id."""
    tokens = metadata.get(f"{PREFIX}tokens")
    if not isinstance(tokens, list) or not tokens or not all(isinstance(token, str) for token in tokens):
        raise ForeignFileInvalid(f"the metadata has no list {PREFIX}tokens")
    if pair := first_repeated(tokens):
        token = tokens[pair[0]][:80]
        raise ForeignFileInvalid(f"{PREFIX}tokens contains the token {token!r} twice, as ids {pair[0]} and {pair[1]}")
    return tokens


def special_token(metadata: Mapping[str, Any], role: str) -> str | None:
    """Return the token for a role such as `eos`, or None."""
    tokens, number = token_list(metadata), metadata.get(f"{PREFIX}{role}_token_id")
    return tokens[number] if isinstance(number, int) and 0 <= number < len(tokens) else None


def _definition(tokens: list[str], metadata: Mapping[str, Any], rule: str) -> dict[str, Any]:
    kinds = metadata.get(f"{PREFIX}token_type", [1] * len(tokens))
    merges = metadata.get(f"{PREFIX}merges", [])
    pairs = [merge.split(" ") for merge in merges if isinstance(merge, str)] if isinstance(merges, list) else []
    if not isinstance(kinds, list) or len(kinds) != len(tokens) or any(len(pair) != 2 for pair in pairs):
        raise ForeignFileInvalid(f"{PREFIX}token_type or {PREFIX}merges does not fit {PREFIX}tokens")
    added = [
        {"id": number, "content": token, "special": kind == CONTROL, "single_word": False, "lstrip": False,
         "rstrip": False, "normalized": False}
        for number, (token, kind) in enumerate(zip(tokens, kinds, strict=True))
        if kind in (CONTROL, USER_DEFINED)
    ]  # fmt: skip
    return {
        "version": "1.0", "truncation": None, "padding": None, "added_tokens": added,
        "normalizer": {"type": "NFC"} if rule == "qwen2" else None, "pre_tokenizer": SPLITTERS[rule],
        "post_processor": _template(metadata, rule), "decoder": _BYTES,
        "model": {
            "type": "BPE", "vocab": {token: number for number, token in enumerate(tokens)}, "merges": pairs,
            "ignore_merges": rule == "llama-bpe",
        },
    }  # fmt: skip


def _template(metadata: Mapping[str, Any], rule: str) -> dict[str, Any] | None:
    """Return the component that puts the `bos` token before each text, or None if the file does not request it."""
    first = special_token(metadata, "bos")
    if first is None or not metadata.get(f"{PREFIX}add_bos_token", rule == "llama-bpe"):
        return None
    number = metadata[f"{PREFIX}bos_token_id"]
    begin = {"SpecialToken": {"id": first, "type_id": 0}}
    texts = [{"Sequence": {"id": name, "type_id": 0}} for name in ("A", "B")]
    return {
        "type": "TemplateProcessing", "single": [begin, texts[0]], "pair": [begin, *texts],
        "special_tokens": {first: {"id": first, "ids": [number], "tokens": [first]}},
    }  # fmt: skip
