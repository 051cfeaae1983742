"""Creates an input for comparing an imported version with the original program. Imports no torch."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from app import strict_json
from app.errors import InvalidRequest
from app.tokenization.tokenizer import Tokenizer
from app.wire.probes import MOST
from models.config import ModelConfig

STEPS = 5  # number of words in a text, or of steps in a numeric sequence
NEW_WORDS = ("zyx", "zyxwv", "zyxwvuts")  # one of these is added to a text, as a word outside the vocabulary
NEW_CHARACTERS = ("~", "^", "\u00a7", "\u00b6")  # like NEW_WORDS, but for vocabularies of characters
NEW_PLACE = 3
# The places of words in a text, and the marks added to them. With these marks, each way in which an import can split a
# text produces a different number or order of tokens, even if the vocabulary has no punctuation.
MARKS = ((1, ","), (4, ";"), (5, "!?"))


@dataclass(frozen=True, slots=True)
class Probe:
    """One input for the service, and a description that lets the user construct it in the original program."""

    input: Any
    description: str


def read_inputs(own: str | None) -> list[Any] | None:
    """Return the inputs in the file `own`: one text per line, or a JSON list of inputs or of the steps of one input.

    Inputs after the first `MOST` are left out. Returns None if `own` is not a file. Raises InvalidRequest if the file
    contains no input, is not UTF-8, or begins like a list but is not valid JSON.
    """
    try:
        if own is None or not Path(own).is_file():
            return None
        text = Path(own).read_text(encoding="utf-8-sig")
    except (OSError, ValueError) as error:  # not UTF-8, or a name that no file can have
        if isinstance(error, UnicodeDecodeError):
            raise InvalidRequest(f"--probe {own}: the file is not UTF-8") from None
        return None
    if not text.lstrip().startswith("["):
        inputs: list[Any] = [line.strip() for line in text.splitlines() if line.strip()]
    else:
        inputs = _json_inputs(own, text)
    if not inputs:
        raise InvalidRequest(f"--probe {own}: the file contains no input")
    return inputs[:MOST]


def _json_inputs(name: str, text: str) -> list[Any]:
    try:
        value = strict_json.parse(text.encode())
    except strict_json.JsonInvalid as error:
        raise InvalidRequest(f"--probe {name}: the file is not valid JSON: {error}") from None
    rows = value if isinstance(value, list) else []
    one = all(isinstance(row, list) and row and isinstance(row[0], int | float) for row in rows)
    return [rows] if one and rows else rows


def make_probe(folder: Path, config: ModelConfig, own: str | None = None) -> Probe:
    """Create a probe from the user's input `own`. If `own` is None, use a short input that the network can read.

    `folder` is the checkpoint directory. `own` is a text or, for a network that reads numbers, the JSON of one
    sequence. `own` may also be the path of a file (`read_inputs`), whose first input is the probe.
    """
    own_inputs = read_inputs(own)
    if config.input == "tokens":
        if own_inputs is not None and not isinstance(own_inputs[0], str):
            raise InvalidRequest("--probe: this network reads texts; the file must contain one text on each line")
        return _text(Tokenizer.load(folder), own if own_inputs is None else own_inputs[0])
    if own is None:
        count, shape = STEPS * config.features, f"1, {STEPS}, {config.features}"
        values = [[(step * config.features + i) % 10 / 10 for i in range(config.features)] for step in range(STEPS)]
        return Probe(values, f"torch.arange({count}).reshape({shape}) % 10 / 10")
    return _numbers(own if own_inputs is None else own_inputs[0], config.features)


def _text(tokenizer: Tokenizer, own: str | None) -> Probe:
    text = _sample(tokenizer) if own is None else own
    try:
        ids = tokenizer.encode(text)
    except InvalidRequest as error:
        if own is not None:
            raise InvalidRequest(f"--probe: {error.message}") from None
        return Probe(text, f"the text {text!r}")  # the tokenizer rejects this text; the service will report why
    return Probe(text, f"the text {text!r} (tokens {[tokenizer.token_text(i) for i in ids]}, token ids {ids})")


def _sample(tokenizer: Tokenizer) -> str:
    """Return a text whose tokens reveal any difference in how texts are split, lowercased or looked up.

    The text contains words of the vocabulary, a capital letter, punctuation attached to words, and a word that is not
    in the vocabulary. Whatever the tokenizer rejects is left out.
    """
    ids = [i for i in range(tokenizer.vocab_size) if i not in tokenizer.special_ids]
    names = {i: tokenizer.token_text(i) for i in ids}
    words = tokenizer.decode(([i for i in ids if names[i].isalpha()] or ids)[:STEPS]).split(" ")
    candidates = NEW_CHARACTERS if all(len(name) == 1 for name in names.values() if name.isalpha()) else NEW_WORDS
    new = next((word for word in candidates if word not in names.values()), candidates[-1])
    words = _kept(tokenizer, words, [words[0][:1].upper() + words[0][1:], *words[1:]])
    words = _kept(tokenizer, words, [*words[:NEW_PLACE], new, *words[NEW_PLACE:]])
    for place, marks in MARKS:
        at = min(place, len(words) - 1)
        words = _kept(tokenizer, words, [*words[:at], words[at] + marks, *words[at + 1 :]])
    return " ".join(words)


def _kept(tokenizer: Tokenizer, words: list[str], changed: list[str]) -> list[str]:
    """Return `changed` if the tokenizer accepts it, or else `words`."""
    try:
        return changed if tokenizer.encode(" ".join(changed)) else words
    except InvalidRequest:
        return words


def _numbers(own: Any, features: int) -> Probe:
    try:
        value = strict_json.parse(own.encode()) if isinstance(own, str) else own
    except ValueError as error:
        raise InvalidRequest(f"--probe: must be a JSON list of steps, or a file that contains one: {error}") from None
    if not isinstance(value, list) or not all(isinstance(step, list) and len(step) == features for step in value):
        raise InvalidRequest(f"--probe: must be a list of steps, each a list of {features} numbers: [[…], …]")
    return Probe(value, "your probe")
