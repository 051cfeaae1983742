"""Files of small Keras models: those that Keras wrote (tests/fixtures/README.md), and changed copies of them."""

from __future__ import annotations

import json
import tarfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

FIXTURE = Path(__file__).parents[2] / "fixtures" / "keras-3.15.1.tar.xz"
WORDS = [f"w{number}" for number in range(1, 12)]  # their ids are 1 to 11
ANSWERS = {"split": "whitespace", "lowercase": "no", "first_id": "1", "unknown": "skip"}


def unpack(folder: Path) -> Path:
    """Unpack the models that Keras wrote, and write a vocabulary beside them."""
    with tarfile.open(FIXTURE) as archive:
        archive.extractall(folder, filter="data")
    (folder / "words.txt").write_text("\n".join(WORDS))
    return folder


def changed(folder: Path, name: str, change: Callable[[list[dict[str, Any]]], Any]) -> Path:
    """Change the layers in the configuration of a model, and return its file of weights."""
    file = folder / f"{name}.json"
    config = json.loads(file.read_text())
    change(config["config"]["layers"])
    file.write_text(json.dumps(config))
    return folder / f"{name}.weights.h5"
