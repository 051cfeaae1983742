"""Creates tokenizers that split texts as Keras does, from the JSON that `Tokenizer.to_json()` of Keras writes."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from string import ascii_uppercase
from typing import Any

import tokenizers
from tokenizers import decoders, models, normalizers, pre_tokenizers

from app import strict_json
from app.checkpoint.tokenizer_rules import PARTS_LIMIT
from app.errors import InvalidRequest
from app.tokenization.tokenizer import Tokenizer
from app.tokenization.vocabulary import SKIPPED
from app.wording import quantity

SPACES = "\t\n\v\f\r"  # the whitespace at which TensorFlow splits texts, apart from the space
FILTERS = '!"#$%&()*+,-./:;<=>?@[\\]^_`{|}~\t\n'  # the usual filters of a Keras Tokenizer, which keeps apostrophes
FILTERS_LIMIT = 2 * PARTS_LIMIT - 2  # maximum number of filters, so that a tokenizer.json can contain them
FINAL_SIGMA = "ς"  # Python lowercases Σ at the end of a word to this letter, the tokenizers library to σ
SIGMA_TEXT = (
    f"a capital Σ at the end of a word becomes σ, but Python's lower() writes {FINAL_SIGMA}, which words of the "
    "vocabulary contain; lowercase texts with a Σ before you send them"
)
EXPECTED = {"num_words", "filters", "lower", "split", "char_level", "oov_token", "word_index"}


@dataclass(frozen=True, slots=True)
class TextRules:
    """How texts become words: lowercased or not, with the characters in `separators` replaced by spaces, and split at
    spaces or into single characters. With `lowercase_ascii`, only the letters A to Z become lowercase. The regular
    expression `removed` matches the characters that are removed.
    """

    lowercase: bool
    separators: str
    by_character: bool = False
    lowercase_ascii: bool = False
    removed: str = ""


def is_keras_tokenizer(value: Any) -> bool:
    """Whether parsed JSON is a Keras Tokenizer, possibly as a string that contains the JSON."""
    return isinstance(_unquoted(value), dict)


def keras_tokenizer(value: Any, source: str, rows: int) -> tuple[Tokenizer, str]:
    """Return the tokenizer that a Keras Tokenizer describes, and a description of how it splits texts.

    Raises InvalidRequest for settings that cannot be reproduced, and for ids without one of the `rows` rows of the
    embedding. `source` is the name of the file.
    """
    config = _unquoted(value)
    assert config is not None
    if missing := sorted(EXPECTED - config.keys()):
        raise _invalid(f"{source}: the Keras Tokenizer has no {missing[0]!r}")
    _check_types(config, source)
    words, unknown = _words(config, source), config["oov_token"]
    if (last := max(words.values())) >= rows:
        raise _invalid(f"{source} has ids up to {last}, but the embedding has only {quantity(rows, 'row')}")
    if unknown is not None and unknown not in words:
        raise _invalid(f"{source}: the oov_token of the Keras Tokenizer is not one of its words; fit it again")
    by_character, lowercase = config["char_level"], config["lower"]
    if not by_character and config["split"] != " ":
        raise _invalid(f"{source}: the Keras Tokenizer has split={_shown(config['split'])}; it must be a space")
    separators = "" if by_character else "".join(dict.fromkeys(config["filters"] or ""))
    if len(separators) > FILTERS_LIMIT:
        raise _invalid(f"{source}: the Keras Tokenizer has more than {FILTERS_LIMIT} characters in its filters")
    others = "skipped" if unknown is None else f"replaced by {_shown(unknown)}"
    text = f"texts are split as by the Keras Tokenizer in {source}; other words are {others}"
    if lowercase and has_final_sigma(words):
        text += f"; {SIGMA_TEXT}"
    rules = TextRules(lowercase, separators, by_character)
    return make_tokenizer(words, SKIPPED if unknown is None else unknown, rules), text


def has_final_sigma(words: Iterable[str]) -> bool:
    """Whether a word contains the letter that the lowercasing of a tokenizer never writes."""
    return any(FINAL_SIGMA in word for word in words)


def _check_types(config: Mapping[str, Any], source: str) -> None:
    """Raise InvalidRequest unless the settings have the types that Keras writes."""
    filters, most = config["filters"], config["num_words"]
    listed = isinstance(filters, list) and all(isinstance(mark, str) and len(mark) == 1 for mark in filters)
    valid = {
        "num_words": (most is None or type(most) is int, "an integer or null"),
        "filters": (listed or isinstance(filters, str | None), "a string, a list of single characters, or null"),
        "lower": (isinstance(config["lower"], bool), "true or false"),
        "char_level": (isinstance(config["char_level"], bool), "true or false"),
        "oov_token": (isinstance(config["oov_token"], str | None), "a string or null"),
    }
    for name, (right, expected) in valid.items():
        if not right:
            raise _invalid(f"{source}: the Keras Tokenizer has {name}={_shown(config[name])}; it must be {expected}")


def _shown(value: Any) -> str:
    return repr(value if isinstance(value, int | float | bool | None) else str(value)[:100])[:100]


def make_tokenizer(words: dict[str, int], unknown: str, rules: TextRules) -> Tokenizer:
    """Return a tokenizer of whole words or characters. `unknown` is the word that replaces all others, or SKIPPED."""
    native = tokenizers.Tokenizer(models.WordLevel(words, unk_token=unknown))
    add_rules(native, rules)
    return Tokenizer(native.to_str())


def add_rules(native: tokenizers.Tokenizer, rules: TextRules) -> None:
    """Make `native` split texts as the rules say.

    A checkpoint's tokenizer may have a limited number of normalizers; texts are split at the other separators instead.
    """
    steps: list[Any] = [normalizers.Lowercase()] if rules.lowercase else []
    steps += [normalizers.Replace(letter, letter.lower()) for letter in ascii_uppercase if rules.lowercase_ascii]
    steps += [normalizers.Replace(tokenizers.Regex(rules.removed), "")] if rules.removed else []
    replaced = PARTS_LIMIT - len(steps)
    steps += [normalizers.Replace(separator, " ") for separator in rules.separators[:replaced]]
    if steps:
        native.normalizer = normalizers.Sequence(steps)
    if rules.by_character:
        native.pre_tokenizer = pre_tokenizers.Split(tokenizers.Regex(r"[\s\S]"), "isolated")
        native.decoder = decoders.Fuse()
    else:
        marks = " " + rules.separators[replaced:]
        native.pre_tokenizer = pre_tokenizers.Sequence([pre_tokenizers.Split(mark, "removed") for mark in marks])


def _unquoted(value: Any) -> dict[str, Any] | None:
    """Return the config of a Keras Tokenizer, or None. Tutorials often encode the JSON twice, so it may be a string."""
    if isinstance(value, str):
        try:
            value = strict_json.parse(value.encode("utf-8", "replace"), values=strict_json.VOCABULARY_VALUES)
        except strict_json.JsonInvalid:
            return None
    if not isinstance(value, dict) or value.get("class_name") != "Tokenizer":
        return None
    config = value.get("config")
    return config if isinstance(config, dict) and "word_index" in config else None


def _words(config: Mapping[str, Any], source: str) -> dict[str, int]:
    """Return the words that the Keras Tokenizer uses, with their ids: those with ids below num_words."""
    index = config["word_index"]
    try:
        index = strict_json.parse(str(index).encode("utf-8", "replace"), values=strict_json.VOCABULARY_VALUES)
    except strict_json.JsonInvalid as error:
        raise _invalid(f"{source}: word_index is not valid JSON: {error}") from None
    valid = isinstance(index, dict) and all(type(number) is int and number > 0 for number in index.values())
    if not valid or len(set(index.values())) < len(index):
        raise _invalid(f"{source}: word_index must map each word to a different id of 1 or more")
    most = config["num_words"]
    words = {word: number for word, number in index.items() if not most or number < most}
    if not words:
        raise _invalid(f"{source}: the Keras Tokenizer has no words; fit it on texts before saving it")
    return words


def _invalid(message: str) -> InvalidRequest:
    return InvalidRequest(message, code="invalid_vocabulary", param="vocabulary")
