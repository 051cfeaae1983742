"""Maps the name of every body to the import path of its class, so that only the classes in use are imported.

Imports no torch. To add a body, write its class, add it to `BODIES`, and add its name to `choices.RECURRENT` or
`choices.NETWORKS`.
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
    "decoder": "models.transformer:TransformerDecoder",
    "encoder": "models.transformer:TransformerEncoder",
}


def body_name(config: ModelConfig) -> str:
    """Return the name of the body that a configuration uses.

    A Transformer has two bodies: a decoder for generation and an encoder for all other tasks. Each recurrent
    architecture has one body, of the same name.
    """
    if config.architecture == "transformer":
        return "decoder" if config.task == "generation" else "encoder"
    return config.architecture


def body_class(name: str) -> Any:
    """Import and return the class of the body `name`, a key of `BODIES`."""
    module, _, attribute = BODIES[name].partition(":")
    return getattr(importlib.import_module(module), attribute)
