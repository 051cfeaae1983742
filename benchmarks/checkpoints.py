"""Creates checkpoints with random weights for measuring speed. Their predictions are meaningless."""

from __future__ import annotations

import random
import tarfile
from dataclasses import replace
from pathlib import Path

import torch
from safetensors.torch import save_file

from app.checkpoint import directory as checkpoint
from app.tokenization.training import train
from models.config import ModelConfig
from models.tasks import build

VOCABULARY = 8192
CLASSES = 3

SHAPES = {
    "classify-transformer": ModelConfig(
        architecture="transformer", task="classification", vocab_size=VOCABULARY, classes=CLASSES, layers=4, width=256
    ),
    "classify-lstm": ModelConfig(
        architecture="lstm", task="classification", vocab_size=VOCABULARY, classes=CLASSES, layers=2, width=256
    ),
    "generate-transformer": ModelConfig(
        architecture="transformer", task="generation", vocab_size=VOCABULARY, layers=12, width=768, heads=12,
        kv_heads=4, inner=2048,
    ),
    "generate-lstm": ModelConfig(
        architecture="lstm", task="generation", vocab_size=VOCABULARY, layers=2, width=1024
    ),
}  # fmt: skip


def write(name: str, corpus: str, folder: Path) -> Path:
    """Write a checkpoint directory for the named shape, with a tokenizer trained on `corpus`."""
    directory = folder / name
    directory.mkdir(parents=True)
    tokenizer = train(corpus.splitlines(), "bpe", VOCABULARY)
    tokenizer.save(directory / "tokenizer.json")
    config = replace(SHAPES[name], vocab_size=tokenizer.vocab_size)
    torch.manual_seed(0)
    save_file(build(config).state_dict(), directory / "model.safetensors")
    checkpoint.write_json(directory / "config.json", {"format_version": 1, **config.to_dict()})
    if config.task == "classification":
        checkpoint.write_json(directory / "labels.json", [f"label-{n}" for n in range(config.classes)])
    checkpoint.write_json(directory / "training.json", {})
    (directory / "README.md").write_text(f"# {name}\n\nRandom weights, for measuring speed.\n")
    return directory


def pack(directory: Path) -> Path:
    """Pack the directory into a tar archive next to it."""
    tar = directory.with_suffix(".tar")
    with tarfile.open(tar, "w") as archive:
        for path in sorted(directory.iterdir()):
            archive.add(path, path.name)
    return tar


def texts(corpus: str, count: int, shortest: int = 5, longest: int = 120) -> list[str]:
    """Return `count` passages whose lengths are uniformly distributed from `shortest` to `longest` words.

    Every call returns the same passages.
    """
    words, draw = corpus.split(), random.Random(0)
    lengths = [draw.randint(shortest, longest) for _ in range(count)]
    starts = [draw.randrange(len(words) - longest) for _ in range(count)]
    return [" ".join(words[start : start + length]) for start, length in zip(starts, lengths, strict=True)]
