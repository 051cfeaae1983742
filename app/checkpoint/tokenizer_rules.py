"""The components that a tokenizer.json may contain, and their limits. Public tokenizers use these components.

Without limits, a few kilobytes of replacements could turn one letter into gigabytes of text, and a single long word
could take minutes to tokenize.
"""

from __future__ import annotations

import base64
import binascii
from collections import Counter
from collections.abc import Iterator, Mapping
from typing import Any, NoReturn

from app.checkpoint.growth import growth
from app.errors import CheckpointInvalid

# Each limit is a maximum; its comment states what is limited.
GROWTH = 4.0  # characters that all replacements together can produce from one character
PARTS_LIMIT, REPEATS_LIMIT = 32, 2  # components in a part, and components of one type that is not in REPEATABLE
TOKEN_LIMIT, AFFIX_LIMIT = 1024, 16  # characters of a token, and of a prefix or suffix of tokens
PIECE_LIMIT = 64  # characters of a token of a Unigram model, which looks up all pieces of a text up to this length
WORD_LIMIT = 256  # characters of a word that WordPiece splits; the time grows with the square of this number
CHARSMAP_LIMIT = 64  # bytes that a precompiled map can produce from one character; public maps produce up to 33
TEMPLATE_LIMIT = 16  # tokens and texts of a template, and ids of one of its special tokens
ADDED_LIMIT = 2**16  # added tokens
ID_LIMIT, SPARSE_IDS = 2**24, 4  # token ids, in total and as a multiple of the number of tokens
REPEATABLE = ("Replace", "Split", "Strip", "Digits", "Punctuation")
ALLOWED: Mapping[str, tuple[str, ...]] = {
    "normalizer": (
        *("BertNormalizer", "ByteLevel", "Lowercase", "NFC", "NFD", "NFKC", "NFKD", "Nmt", "Precompiled", "Prepend"),
        *("Replace", "Strip", "StripAccents"),
    ),
    "pre_tokenizer": (
        *("BertPreTokenizer", "ByteLevel", "CharDelimiterSplit", "Digits", "FixedLength", "Metaspace", "Punctuation"),
        *("Split", "UnicodeScripts", "Whitespace", "WhitespaceSplit"),
    ),
    "post_processor": ("BertProcessing", "ByteLevel", "RobertaProcessing", "TemplateProcessing"),
    "decoder": ("BPEDecoder", "ByteFallback", "ByteLevel", "CTC", "Fuse", "Metaspace", "Replace", "Strip", "WordPiece"),
}
MODELS = ("BPE", "Unigram", "WordLevel", "WordPiece")
SEQUENCES = ("normalizers", "pretokenizers", "processors", "decoders")


def check(definition: Mapping[str, Any]) -> None:
    """Check the components of a parsed tokenizer.json. Raises CheckpointInvalid for the first problem."""
    bytes_levels = 0
    for part in ALLOWED:
        components = list(_components(definition.get(part)))
        _check_types(part, components)
        for component in components:
            _check_component(component)
        if growth(components) > GROWTH:
            _refuse(f"its {part} can make a text more than {GROWTH:g} times as long")
        if part in ("normalizer", "pre_tokenizer"):
            bytes_levels += sum(component["type"] == "ByteLevel" for component in components)
    if bytes_levels > 1:
        _refuse("it converts the text to bytes twice")
    _check_model(definition.get("model") or {})
    _check_added(definition.get("added_tokens") or [])
    _check_ids(definition)


def _components(value: Any) -> Iterator[dict[str, Any]]:
    """Yield the components of a part in order, flattening nested sequences."""
    if value is None:
        return
    if not isinstance(value, dict):
        _refuse("a component is not an object")
    if value.get("type") != "Sequence":
        yield value
        return
    for name in SEQUENCES:  # check all of them: the library might read any of them
        for inner in value.get(name) or []:
            yield from _components(inner)


def _check_types(part: str, components: list[dict[str, Any]]) -> None:
    counts = Counter(str(component.get("type")) for component in components)
    for type_, count in counts.items():
        if type_ not in ALLOWED[part]:
            _refuse(f"{type_[:40]!a} is not an allowed {part}; the allowed types are {', '.join(ALLOWED[part])}")
        if count > REPEATS_LIMIT and type_ not in REPEATABLE:
            _refuse(f"its {part} contains {type_} more than {REPEATS_LIMIT} times")
    if len(components) > PARTS_LIMIT:
        _refuse(f"its {part} has more than {PARTS_LIMIT} components")


def _check_component(component: Mapping[str, Any]) -> None:
    if component["type"] == "Precompiled":
        _check_charsmap(component.get("precompiled_charsmap"))
    if component["type"] == "TemplateProcessing":
        _check_template(component)


def _check_charsmap(encoded: Any) -> None:
    """Check the lengths of the replacements in a SentencePiece map.

    The replacements follow the map's trie, and each ends with NUL.
    """
    try:
        content = base64.b64decode(encoded or "", validate=True)
    except (binascii.Error, TypeError, ValueError):
        _refuse("its precompiled map is not base64")
    replacements = content[4 + int.from_bytes(content[:4], "little") :]
    if max(map(len, replacements.split(b"\0"))) > CHARSMAP_LIMIT:
        _refuse(f"its precompiled map turns one character into more than {CHARSMAP_LIMIT} bytes")


def _check_template(component: Mapping[str, Any]) -> None:
    for name in ("single", "pair"):
        pieces = component.get(name) or []
        texts = Counter(str(piece["Sequence"]) for piece in pieces if isinstance(piece, dict) and "Sequence" in piece)
        if len(pieces) > TEMPLATE_LIMIT or texts.total() > 2:
            _refuse(f"its template {name!r} has more than {TEMPLATE_LIMIT} parts, or repeats a text")
    for token in (component.get("special_tokens") or {}).values():
        if isinstance(token, dict) and len(token.get("ids") or []) > TEMPLATE_LIMIT:
            _refuse(f"its template has a special token of more than {TEMPLATE_LIMIT} ids")


def _check_model(model: Any) -> None:
    if not isinstance(model, dict) or str(model.get("type") or "BPE") not in MODELS:
        _refuse(f"its model must be one of {', '.join(MODELS)}")
    word = model.get("max_input_chars_per_word", 0)
    if not isinstance(word, int) or word > WORD_LIMIT:
        _refuse(f"max_input_chars_per_word may be at most {WORD_LIMIT}")
    for name in ("continuing_subword_prefix", "end_of_word_suffix"):
        if len(str(model.get(name) or "")) > AFFIX_LIMIT:
            _refuse(f"{name} may have at most {AFFIX_LIMIT} characters")
    limit = PIECE_LIMIT if isinstance(model.get("vocab"), list) else TOKEN_LIMIT
    if max(map(len, _tokens(model)), default=0) > limit:
        _refuse(f"a token has more than {limit} characters")


def _check_added(added: Any) -> None:
    if not isinstance(added, list) or len(added) > ADDED_LIMIT:
        _refuse(f"it may have at most {ADDED_LIMIT} added tokens")
    if any(len(str(token.get("content"))) > TOKEN_LIMIT for token in added if isinstance(token, dict)):
        _refuse(f"an added token has more than {TOKEN_LIMIT} characters")


def _check_ids(definition: Mapping[str, Any]) -> None:
    """Reject ids that are much larger than the number of tokens, because tables are indexed by id."""
    model = definition.get("model") or {}
    vocab, added = model.get("vocab"), definition.get("added_tokens") or []
    ids = list(vocab.values()) if isinstance(vocab, dict) else []
    ids += [token.get("id") for token in added if isinstance(token, dict)]
    most = min(ID_LIMIT, max(2**16, SPARSE_IDS * (len(vocab or ()) + len(added))))
    if not all(isinstance(id_, int) and 0 <= id_ < most for id_ in ids):
        _refuse(f"its token ids must be from 0 to {most - 1}")


def _tokens(model: Mapping[str, Any]) -> Iterator[str]:
    vocab = model.get("vocab")
    if isinstance(vocab, dict):
        yield from vocab
    for entry in vocab if isinstance(vocab, list) else ():
        yield str(entry[0]) if isinstance(entry, list) and entry else ""


def _refuse(problem: str) -> NoReturn:
    raise CheckpointInvalid(f"tokenizer.json cannot be used: {problem}", param="tokenizer.json")
