"""Creates tokenizers from other programs' vocabularies: word lists, id dictionaries and tokenizer.json files."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import tokenizers
from tokenizers import models, processors

from app import strict_json
from app.importing.contradictions import VocabularyInvalid, check_contradictions
from app.importing.extras import VOCABULARIES, find
from app.importing.keras_texts import is_keras_tokenizer, keras_tokenizer
from app.importing.questions import Answers, Question
from app.importing.repetition import first_repeated
from app.importing.splitting import add_splitting
from app.tokenization.tokenizer import Tokenizer
from app.tokenization.vocabulary import NAMES, SKIPPED
from app.wording import quantity

UNKNOWN = (*NAMES["unk"], "<UNK>", "UNK", "unk", "<oov>", "<OOV>", "[OOV]", "<unknown>")
# Tokens that programs add before or after a text.
AROUND = (
    "<s>", "</s>", "<bos>", "<eos>", "<sos>", "<BOS>", "<EOS>", "<SOS>", "[BOS]", "[EOS]", "[CLS]", "[SEP]", "<cls>",
    "<sep>", "<start>", "<end>", "<START>", "<END>",
)  # fmt: skip
# Special tokens in all their usual spellings.
SPECIAL = {*(name for names in NAMES.values() for name in names), *UNKNOWN, *AROUND}
PIECES = {"##": "a WordPiece tokenizer", "Ġ": "a byte-level BPE tokenizer", "▁": "a SentencePiece tokenizer"}
GAP = "…"  # placeholder for the text in the user's answer to the question `around`


def tokenizer_of(path: Path, rows: int, answers: Answers) -> Tokenizer:
    """Return the tokenizer defined by a vocabulary file, for an embedding with `rows` rows.

    Raises VocabularyInvalid if the file is not a vocabulary, or if it has ids without a row in the embedding.
    """
    value = _read(path)
    if isinstance(value, Tokenizer):
        _check_size(value.vocab_size, rows, path.name, answers)
        return value
    if is_keras_tokenizer(value):
        tokenizer, text = keras_tokenizer(value, path.name, rows)
        _check_size(tokenizer.vocab_size, rows, path.name, answers)
        answers.assumed.append(f"split=keras: {text}")
        return tokenizer
    if isinstance(value, dict) and (entry := find(VOCABULARIES, value)):
        answers.assumed.append(f"vocabulary={entry[0]}: taken from the entry of {path.name} with this name")
        value = entry[1]
    return tokenizer_from(value, path.name, rows, answers)


def tokenizer_from(value: Any, source: str, rows: int, answers: Answers) -> Tokenizer:
    """Return the tokenizer defined by a list of words, {word: id} or {id: word}, for an embedding with `rows` rows."""
    words = _numbered(value, source)
    _refuse_pieces(words, source)
    # A dictionary with the ids 0, 1, 2, … and no special tokens is treated like a list: its ids are often only
    # positions in a list of words, and not rows of the embedding.
    listed = isinstance(value, list) or (max(words.values()) + 1 == len(words) and SPECIAL.isdisjoint(words))
    if listed and len(words) < rows:
        first = _first_id(words, source, rows, answers)
        words = {word: number + first for word, number in words.items()}
    else:
        _accept(answers, "first_id", str(min(words.values())), "the file determines the ids of all words")
        _check_size(max(words.values()) + 1, rows, source, answers)
    return _word_level(words, rows, answers)


def _accept(answers: Answers, field: str, value: str, reason: str) -> None:
    """Record `value`, the only possible answer for `field`. Raises VocabularyInvalid for another answer."""
    answer = answers.get(field)
    if answer is None:
        answers.assumed.append(f"{field}={value}: {reason}")
    elif answer != value:
        raise VocabularyInvalid(f"{field}={answer}: must be {value} or left out, because {reason}", param=field)


def _refuse_pieces(words: Mapping[str, int], source: str) -> None:
    """Raise VocabularyInvalid for a subword vocabulary, because it does not determine how words are split."""
    for mark, kind in PIECES.items():
        if sum(word.startswith(mark) and word != mark for word in words) > max(1, len(words) / 100):
            raise VocabularyInvalid(
                f"{source} is a vocabulary for {kind}: many of its tokens begin with {mark}; "
                "use the tokenizer.json instead"
            )


def _check_size(size: int, rows: int, source: str, answers: Answers) -> None:
    if size > rows:
        raise VocabularyInvalid(
            f"{source} has ids up to {size - 1}, but the embedding has only "
            f"{quantity(rows, 'row')} (ids up to {rows - 1})"
        )
    if size < rows:
        answers.assumed.append(f"unused_rows={rows - size}: the last rows of the embedding have no word in {source}")


def _first_id(words: Mapping[str, int], source: str, rows: int, answers: Answers) -> int:
    """Return the id of the first word in a vocabulary that is smaller than the embedding."""
    most = rows - len(words)
    text = (
        f"{source} has {quantity(len(words), 'word')}, and the embedding has {rows} rows: what is the id of the first "
        f"word, {min(words, key=words.__getitem__)!r}? 0 to {most}"
    )
    answer = answers.ask(Question("first_id", text)) or "0"
    if not answer.isdecimal() or int(answer) > most:
        raise VocabularyInvalid(f"first_id={answer}: must be a number from 0 to {most}", param="first_id")
    return int(answer)


def _kind_of_binary(path: Path) -> str:
    with path.open("rb") as file:
        start = file.read(2)
    if start[:1] == b"\x80" or start == b"PK":  # a pickle, or the archive in which torch.save stores one
        return (
            "is a pickle, which can contain code and is never read; save the vocabulary as JSON in your program: "
            "json.dump(vocabulary, open('vocabulary.json', 'w')); for a torchtext vocabulary, save "
            "vocabulary.get_itos()"
        )
    return "is not UTF-8 text; save it as UTF-8"


def _read(path: Path) -> Any:
    try:
        text = path.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError:
        raise VocabularyInvalid(f"{path} {_kind_of_binary(path)}") from None
    except OSError as error:
        raise VocabularyInvalid(f"cannot read {path}: {error.strerror or error}") from None
    if path.suffix.lower() != ".json" and not _is_json(text):
        return _lines(text, path.name)
    try:
        value = strict_json.parse(text.encode(), values=strict_json.VOCABULARY_VALUES)
    except strict_json.JsonInvalid as error:
        raise VocabularyInvalid(f"{path.name} is not valid JSON: {error}") from None
    if isinstance(value, dict) and isinstance(value.get("model"), dict):
        return Tokenizer.load(path)
    return value


def _is_json(text: str) -> bool:
    """Whether a text is JSON rather than one word on each line, such as a list whose first word is "[PAD]"."""
    start = text.lstrip()
    if not start.startswith(("{", "[")):
        return False
    try:
        return isinstance(json.loads(start), (dict, list))
    except (ValueError, RecursionError):
        return "\n" not in start.strip() and start.startswith(('{"', '["'))


def _lines(text: str, source: str) -> list[str] | dict[str, int]:
    """Parse a file with one word per line into a list, or a file with a word and its id per line into {word: id}."""
    lines = text.removesuffix("\n").split("\n")
    pairs = [match for line in lines if (match := re.fullmatch(r"(\S+)[\t ,](\d+)", line))]
    if len(pairs) < len(lines) or len(lines) == 1:
        return lines
    words = {match[1]: int(match[2]) for match in pairs}
    if len(words) < len(lines) or sorted(words.values()) not in (
        list(range(len(lines))),
        list(range(1, len(lines) + 1)),
    ):
        raise VocabularyInvalid(
            f"{source} has a word and a number on each line, but the numbers are not ids: ids must be 0, 1, 2, … or "
            "1, 2, 3, …, each once; remove the numbers, or write a JSON dictionary of words and their ids"
        )
    return words


def _numbered(value: Any, source: str) -> dict[str, int]:
    """Return a vocabulary as {word: id}. `value` is a list of words, {word: id} or {id: word}."""
    if isinstance(value, dict) and value and all(isinstance(word, str) for word in value.values()):
        value = {word: int(number) if str(number).isdecimal() else -1 for number, word in value.items()}
    elif isinstance(value, list):
        if pair := first_repeated(list(map(str, value))):
            raise VocabularyInvalid(
                f"{source} contains {_named(value[pair[0]])} twice, as entries {pair[0] + 1} and {pair[1] + 1}; each "
                "word must have one id"
            )
        value = {word: number for number, word in enumerate(value)}
    words = value if isinstance(value, dict) else {}
    typed = all(isinstance(w, str) and isinstance(n, int) and not isinstance(n, bool) for w, n in words.items())
    if typed and (pair := first_repeated(list(words.values()))):
        first, second = (list(words)[index] for index in pair)
        raise VocabularyInvalid(f"{source} gives the id {words[first]} to two words, {first!r} and {second!r}")
    if not any(words) or not typed or min(words.values()) < 0:
        raise VocabularyInvalid(
            f"{source} must be a JSON list of words, a JSON dictionary of words and their ids, a text file with one "
            "word on each line, or a tokenizer.json"
        )
    return words


def _named(word: Any) -> str:
    return f"the word {word!r}" if str(word) else "an empty word (a blank line)"


def _word_level(words: dict[str, int], rows: int, answers: Answers) -> Tokenizer:
    """Return a tokenizer that maps whole words, or single characters, to their ids."""
    ordinary = [word for word in words if word not in SPECIAL]
    unknown = _unknown(words, rows, answers)
    native = tokenizers.Tokenizer(models.WordLevel(words, unk_token=unknown))
    add_splitting(native, ordinary, answers)
    if around := [word for word in AROUND if word in words]:
        _add_template(native, words, around, answers)
    else:
        _accept(answers, "around", "none", "the vocabulary has no tokens such as <s>")
    tokenizer = Tokenizer(native.to_str())
    if not answers.open:
        check_contradictions(tokenizer, ordinary, words, answers)
    return tokenizer


def _unknown(words: dict[str, int], rows: int, answers: Answers) -> str:
    """Return the token that replaces words outside the vocabulary.

    If the user's answer is an id without a word, a token with this id is added to `words`.
    """
    answer, named = answers.get("unknown"), next((name for name in UNKNOWN if name in words), None)
    if answer is None and named is not None:
        return answers.assume(
            "unknown", named, "its name suggests that it replaces words that are not in the vocabulary"
        )
    if answer is None:
        text = (
            "what replaces words that are not in the vocabulary: another word, or an id? skip leaves them out; none "
            "rejects texts that contain them"
        )
        answers.ask(Question("unknown", text))
        return UNKNOWN[0]
    if answer in words:
        return answer
    if answer in ("none", "skip"):
        return SKIPPED if answer == "skip" else UNKNOWN[0] if UNKNOWN[0] not in words else "<none>"
    if not answer.isdecimal() or int(answer) >= rows:
        raise VocabularyInvalid(
            f"unknown={answer}: this is neither a word in the vocabulary nor an id below {rows}; answer with a word, "
            "an id, none or skip",
            param="unknown",
        )
    by_id = {number: word for word, number in words.items()}
    token = by_id.get(int(answer)) or next(name for name in UNKNOWN if name not in words)
    words[token] = int(answer)
    return token


def _add_template(native: tokenizers.Tokenizer, words: Mapping[str, int], around: list[str], answers: Answers) -> None:
    text = (
        f"the vocabulary has {', '.join(around)}: which tokens does the program put around each text? none, or for "
        f"example '{around[0]} {GAP}' or '{around[0]} {GAP} {around[-1]}', where {GAP} (or ...) is the text"
    )
    answer = answers.ask(Question("around", text)).replace("...", GAP) or "none"
    if answer == "none":
        return
    before, gap, after = answer.partition(GAP)
    tokens = [*before.split(), *after.split()]
    if not gap or not tokens or any(token not in words for token in tokens):
        raise VocabularyInvalid(
            f"around={answer}: must be none, or vocabulary tokens around {GAP}, which stands for the text",
            param="around",
        )
    native.post_processor = processors.TemplateProcessing(
        single=[*before.split(), "$A", *after.split()],
        pair=[*before.split(), "$A", "$B", *after.split()],
        special_tokens=[(token, words[token]) for token in set(tokens)],
    )
