"""Reads a tokenizer's kind, its special tokens and the bytes of each token from a parsed tokenizer.json."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

PAD, EOS, SEP = "<pad>", "<eos>", "<sep>"
SPECIALS = (PAD, EOS, SEP)  # their ids are 0, 1 and 2 in tokenizers trained here
NAMES: Mapping[str, tuple[str, ...]] = {
    "pad": (PAD, "[PAD]", "<|pad|>", "<|padding|>", "<blank>"),
    "eos": (EOS, "</s>", "<|endoftext|>", "<|end_of_text|>", "<|im_end|>", "<|eot_id|>", "[EOS]"),
    "sep": (SEP, "[SEP]", "</s>", "<|sep|>"),
    "unk": ("<unk>", "[UNK]", "<|unk|>"),
}
SKIPPED = "<skip>"  # the unknown token of word-level tokenizers that leave out words without a token
UNKNOWN = "\N{REPLACEMENT CHARACTER}".encode()
BYTE_TOKEN = re.compile(r"<0x([0-9A-F]{2})>")


def byte_characters() -> list[str]:
    """Return the printable character that represents each byte in byte-level BPE (Radford et al., 2019, GPT-2)."""
    printable = [*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)]
    others = iter(range(0x100, 0x200))
    kept = set(printable)
    return [chr(b) if b in kept else chr(next(others)) for b in range(256)]


@dataclass(frozen=True, slots=True)
class Specials:
    """The ids of special tokens; None if the tokenizer has no such token. `hidden` ids decode to an empty string."""

    pad: int | None
    eos: int | None
    sep: int | None
    unk: int | None
    hidden: frozenset[int]

    @property
    def forbidden(self) -> frozenset[int]:
        """The ids that the encoding of user text must not contain."""
        named = {i for i in (self.pad, self.eos, self.sep) if i is not None}
        return (self.hidden | named) - {self.unk}


def kind_of(definition: Mapping[str, Any]) -> str:
    """Return bpe, char or byte for tokenizers like those trained here; otherwise, the type of the tokenizer's model."""
    model = definition.get("model") or {}
    decoder = definition.get("decoder") or {}
    type_ = str(model.get("type") or "bpe").lower()
    if type_ != "bpe":
        return type_
    if decoder.get("type") == "ByteLevel":
        splits = (definition.get("pre_tokenizer") or {}).get("use_regex", True)
        return "bpe" if splits or model.get("merges") else "byte"
    return "char" if plain_byte_fallback(decoder) and not model.get("merges") else "bpe"


def plain_byte_fallback(decoder: Mapping[str, Any]) -> bool:
    """Whether the decoder only joins tokens, each of which is plain text or a byte in the form `<0xHH>`."""
    parts = [part.get("type") for part in decoder.get("decoders", [])]
    return decoder.get("type") == "Sequence" and parts == ["ByteFallback", "Fuse"]


def is_plain(definition: Mapping[str, Any]) -> bool:
    """Whether the tokenizer only applies byte-pair encoding, optionally preceded by the usual byte-level split."""
    split = (definition.get("pre_tokenizer") or {}).get("type")
    model = str((definition.get("model") or {}).get("type") or "BPE")
    return model == "BPE" and split in (None, "ByteLevel") and not definition.get("normalizer")


def find_specials(
    definition: Mapping[str, Any], vocabulary: Mapping[str, int], configs: tuple[Mapping[str, Any], ...]
) -> Specials:
    """Find the special tokens in the vocabulary.

    Each token is found by the name or id in a configuration or, if there is none, by one of its usual names. For
    the unknown token, the name in the tokenizer's model takes precedence.
    """
    hidden = frozenset(int(t["id"]) for t in definition.get("added_tokens") or [] if t.get("special"))
    unk = (definition.get("model") or {}).get("unk_token")
    ids = {role: _find(role, vocabulary, configs) for role in NAMES}
    if isinstance(unk, str) and unk in vocabulary:
        ids["unk"] = vocabulary[unk]
    return Specials(pad=ids["pad"], eos=ids["eos"], sep=ids["sep"], unk=ids["unk"], hidden=hidden)


def named_end(vocabulary: Mapping[str, int], configs: tuple[Mapping[str, Any], ...]) -> str | None:
    """Return the end token that a configuration names, or None."""
    tokens = (config.get("eos_token") for config in configs)
    return next((token for token in tokens if isinstance(token, str) and token in vocabulary), None)


def unknown_words(definition: Mapping[str, Any], vocabulary: Mapping[str, int]) -> str | None:
    """Return how a word-level tokenizer treats words without a token: "replace", "skip" or "refuse".

    Returns None for other tokenizers.
    """
    model = definition.get("model") or {}
    if model.get("type") != "WordLevel":
        return None
    token = model.get("unk_token")
    return "replace" if token in vocabulary else "skip" if token == SKIPPED else "refuse"


def _find(role: str, vocabulary: Mapping[str, int], configs: tuple[Mapping[str, Any], ...]) -> int | None:
    ids = set(vocabulary.values())
    for config in configs:
        token = config.get(f"{role}_token")
        content = token.get("content") if isinstance(token, dict) else token
        if isinstance(content, str) and content in vocabulary:
            return vocabulary[content]
        number = config.get(f"{role}_token_id")
        number = number[0] if isinstance(number, list) and number else number
        if isinstance(number, int) and number in ids:
            return number
    return next((vocabulary[name] for name in NAMES[role] if name in vocabulary), None)


def token_bytes(definition: Mapping[str, Any], vocabulary: Mapping[str, int]) -> list[bytes] | None:
    """Return the bytes of each token, by id, or None if the tokenizer's decoder does more than join the tokens."""
    decoder = definition.get("decoder") or {}
    if decoder.get("type") == "ByteLevel":
        by_character = {character: byte for byte, character in enumerate(byte_characters())}
        added = {str(t["content"]) for t in definition.get("added_tokens") or []}

        def convert(token: str) -> bytes:
            if token in added or any(c not in by_character for c in token):
                return token.encode()
            return bytes(by_character[c] for c in token)
    elif plain_byte_fallback(decoder):

        def convert(token: str) -> bytes:
            match = BYTE_TOKEN.fullmatch(token)
            return bytes([int(match[1], 16)]) if match else token.encode()
    else:
        return None
    table = [UNKNOWN] * (max(vocabulary.values(), default=-1) + 1)
    for token, id_ in vocabulary.items():
        table[id_] = convert(token)
    return table


def longest_token(definition: Mapping[str, Any], pieces: list[bytes] | None, hidden: frozenset[int]) -> int | None:
    """Return the length in bytes of the longest token that is not hidden, or None if some byte has no token."""
    shown = [piece for i, piece in enumerate(pieces or []) if i not in hidden]
    if definition["model"].get("fuse_unk") or len({piece for piece in shown if len(piece) == 1}) < 256:
        return None
    return max(map(len, shown))
