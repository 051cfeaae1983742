"""Which class builds which body: names to import paths, so that nothing is imported before it is used.

Knows the standard library alone. A new body is a class and a line here (and a line in `config.CHOICES`).
"""

from __future__ import annotations

import importlib
from collections.abc import Mapping
from typing import Any

from models.config import ModelConfig

BODIES: Mapping[str, str] = {
    "rnn": "models.cells:RNN",
    "lstm": "models.cells:LSTM",
    "gru": "models.cells:GRU",
    "decoder": "models.transformer:Decoder",
    "encoder": "models.transformer:Encoder",
}


def body_name(config: ModelConfig) -> str:
    """A Transformer generates with a decoder, and reads with an encoder; any other architecture is its own body."""
    if config.architecture == "transformer":
        return "decoder" if config.task == "generation" else "encoder"
    return config.architecture


def body_class(name: str) -> Any:
    module, _, attribute = BODIES[name].partition(":")
    return getattr(importlib.import_module(module), attribute)
