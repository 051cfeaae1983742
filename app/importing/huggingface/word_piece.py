"""Creates BERT's tokenizer from a vocab.txt, for directories without a tokenizer.json."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from app.importing.huggingface.directory import JSON_LIMIT, read_object
from app.importing.pytorch.tensors import ForeignFileInvalid

WORDS = "vocab.txt"
SPECIAL = ("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]")
TOKENIZERS = ("BertTokenizer", "BertTokenizerFast", "DistilBertTokenizer", "DistilBertTokenizerFast", None)


def word_piece(folder: Path) -> dict[str, Any]:
    """Return the content of a tokenizer.json that corresponds to vocab.txt and tokenizer_config.json.

    Raises ForeignFileInvalid if these files do not describe a BERT tokenizer.
    """
    settings = read_object(folder / "tokenizer_config.json")
    if settings.get("tokenizer_class") not in TOKENIZERS:
        raise ForeignFileInvalid(
            f"{WORDS}: tokenizer_class does not name a BERT tokenizer; create a tokenizer.json from this tokenizer"
        )
    words = _words(folder / WORDS)
    added = [
        {"id": words[token], "content": token, "special": True, "single_word": False, "lstrip": False, "rstrip": False,
         "normalized": False}
        for token in SPECIAL if token in words
    ]  # fmt: skip
    first, last = ({"SpecialToken": {"id": token, "type_id": 0}} for token in ("[CLS]", "[SEP]"))
    texts = [{"Sequence": {"id": name, "type_id": index}} for index, name in enumerate("AB")]
    names = {token: {"id": token, "ids": [words[token]], "tokens": [token]} for token in ("[CLS]", "[SEP]")}
    end = {"SpecialToken": {"id": "[SEP]", "type_id": 1}}
    return {
        "version": "1.0", "truncation": None, "padding": None, "added_tokens": added,
        "normalizer": {
            "type": "BertNormalizer", "clean_text": True, "strip_accents": settings.get("strip_accents"),
            "handle_chinese_chars": settings.get("tokenize_chinese_chars", True),
            "lowercase": settings.get("do_lower_case", True),
        },
        "pre_tokenizer": {"type": "BertPreTokenizer"},
        "post_processor": {
            "type": "TemplateProcessing", "single": [first, texts[0], last],
            "pair": [first, texts[0], last, texts[1], end], "special_tokens": names,
        },
        "decoder": {"type": "WordPiece", "prefix": "##", "cleanup": True},
        "model": {
            "type": "WordPiece", "unk_token": "[UNK]", "continuing_subword_prefix": "##",
            "max_input_chars_per_word": 100, "vocab": words,
        },
    }  # fmt: skip


def _words(path: Path) -> dict[str, int]:
    if path.stat().st_size > JSON_LIMIT:
        raise ForeignFileInvalid(f"{path.name} has more than {JSON_LIMIT} bytes")
    try:
        lines = path.read_text(encoding="utf-8").removesuffix("\n").split("\n")
    except UnicodeDecodeError:
        raise ForeignFileInvalid(f"{path.name} is not UTF-8 text") from None
    words = {line.rstrip("\r"): number for number, line in enumerate(lines)}
    if len(words) < len(lines) or any(token not in words for token in SPECIAL[1:4]):
        raise ForeignFileInvalid(f"{path.name} must contain each token once, including {', '.join(SPECIAL[1:4])}")
    return words
