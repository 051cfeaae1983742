"""Creates an input on which an imported version is compared with the original program. Imports no torch."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from app import strict_json
from app.errors import InvalidRequest
from app.tokenization.tokenizer import Tokenizer
from models.config import ModelConfig

STEPS = 5  # number of words in a text, or of steps in a numeric sequence


@dataclass(frozen=True, slots=True)
class Probe:
    """One input for the service, and a description that lets the user construct it in the original program."""

    input: Any
    description: str


def make_probe(folder: Path, config: ModelConfig, own: str | None = None) -> Probe:
    """Create a probe from the user's input `own`. If `own` is None, use a short input that the network can read.

    `folder` is the checkpoint directory. `own` is a text or, for a network that reads numbers, the JSON of one sequence
    or the path of a file with this JSON.
    """
    if config.input == "tokens":
        return _text(Tokenizer.load(folder), own)
    if own is None:
        count, shape = STEPS * config.features, f"1, {STEPS}, {config.features}"
        values = [[(step * config.features + i) % 10 / 10 for i in range(config.features)] for step in range(STEPS)]
        return Probe(values, f"torch.arange({count}).reshape({shape}) % 10 / 10")
    return _numbers(own, config.features)


def _text(tokenizer: Tokenizer, own: str | None) -> Probe:
    text = own
    if text is None:
        ids = [i for i in range(tokenizer.vocab_size) if i not in tokenizer.special_ids]
        words = [i for i in ids if tokenizer.token_text(i).isalpha()]
        text = tokenizer.decode((words or ids)[:STEPS])
    try:
        return Probe(text, f"the text {text!r} (token ids {tokenizer.encode(text)})")
    except InvalidRequest as error:
        if own is not None:
            raise InvalidRequest(f"--probe: {error.message}") from None
        return Probe(text, f"the text {text!r}")  # the tokenizer rejects this text; the service will report why


def _numbers(own: str, features: int) -> Probe:
    try:
        text = own if own.lstrip().startswith("[") else Path(own).read_text(encoding="utf-8")
        value = strict_json.parse(text.encode())
    except (OSError, ValueError) as error:
        raise InvalidRequest(f"--probe: must be a JSON list of steps, or a file that contains one: {error}") from None
    if not isinstance(value, list) or not all(isinstance(step, list) and len(step) == features for step in value):
        raise InvalidRequest(f"--probe: must be a list of steps, each a list of {features} numbers: [[…], …]")
    return Probe(value, "your probe")
