"""Networks as in users' programs, for tests of imports."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file
from torch import Tensor, nn

from app.checkpoint import directory as checkpoint
from app.importing.convert import convert
from app.importing.output import Converted
from models import tasks

Function = Callable[[Tensor], Tensor]
LABELS = ["a", "b", "c"]
WORDS = ["<pad>", "<unk>", *(f"w{i}" for i in range(28))]
LENGTHS = (7, 1, 4)


class Program(nn.Module):
    """A module that computes `run`. Its parts become attributes in the given order."""

    def __init__(self, run: Callable[[Any, Tensor], Tensor], **parts: nn.Module) -> None:
        super().__init__()
        self.run = run
        for name, part in parts.items():
            setattr(self, name, part)

    def forward(self, x: Tensor) -> Tensor:
        return self.run(self, x)


def numbers(features: int = 4) -> list[Tensor]:
    return [torch.randn(length, features) for length in LENGTHS]


def ids(size: int = 30) -> list[Tensor]:
    return [torch.randint(0, size, (length,)) for length in LENGTHS]


def imported(folder: Path) -> tasks.Classifier:
    network = tasks.build(checkpoint.validate(folder).config, initialised=False)
    network.load_state_dict(load_file(folder / "model.safetensors"))
    assert isinstance(network, tasks.Classifier)
    return network.eval()


def bring(program: object, folder: Path, **options: Any) -> Converted:
    """Save a module's state dict or another object as a program would, and convert it to `folder/out`."""
    torch.save(program.state_dict() if isinstance(program, nn.Module) else program, folder / "model.pt")
    answers = {name: str(value) for name, value in options.pop("answers", {}).items()}
    return convert(folder / "model.pt", folder / "out", fields=answers, allow_pickle_tensors=True, **options)


@torch.no_grad()
def assert_equal(program: nn.Module, folder: Path, rows: list[Tensor]) -> None:
    """Compare the logits of the imported network for one padded batch with the program's logits for each row."""
    lengths = torch.tensor([len(row) for row in rows])
    logits = imported(folder / "out")(nn.utils.rnn.pad_sequence(rows, batch_first=True), lengths)
    expected = torch.cat([program.eval()(row[None]) for row in rows])
    torch.testing.assert_close(logits, expected, atol=1e-5, rtol=1e-5)
