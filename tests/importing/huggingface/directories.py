"""The small Hugging Face directories in tests/cases, and their imported versions."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file
from torch import Tensor

from app.checkpoint import directory as checkpoint
from app.importing.huggingface.convert_directory import convert_directory
from app.importing.output import Converted
from app.tokenization.tokenizer import Tokenizer
from models import tasks
from models.interface import Context

CASES = Path(__file__).parents[2] / "cases" / "huggingface"


def copied(name: str, folder: Path) -> Path:
    """A copy of a directory without its expected outputs. Tests may change the copy."""
    return Path(shutil.copytree(CASES / name, folder / name, ignore=shutil.ignore_patterns("expected.*")))


def edit(path: Path, **values: Any) -> None:
    """Change entries of a JSON object in a file; None removes an entry."""
    content = json.loads(path.read_text()) | values
    path.write_text(json.dumps({key: value for key, value in content.items() if value is not None}))


def expected(name: str) -> dict[str, Any]:
    return dict(json.loads((CASES / name / "expected.json").read_text()))


def bring(source: Path, target: Path, **fields: str) -> Converted:
    return convert_directory(source, target, fields=fields, allow_pickle_tensors=True)


def loaded(folder: Path) -> tuple[tasks.TaskNetwork | tasks.Embedder, Tokenizer]:
    network = tasks.build_for_inference(checkpoint.validate(folder).config)
    network.load_state_dict(load_file(folder / "model.safetensors"))
    return network.eval(), Tokenizer.load(folder, bounded=True)


@torch.inference_mode()
def outputs(folder: Path, ids: list[list[int]]) -> Tensor:
    """The outputs for a padded batch of token ids. For a language model, these are the logits after the last token."""
    network, _ = loaded(folder)
    rows_BT = torch.nn.utils.rnn.pad_sequence([torch.tensor(row) for row in ids], batch_first=True)
    lengths_B = torch.tensor([len(row) for row in ids])
    if isinstance(network, tasks.LanguageModel):
        hidden_BTD = network(rows_BT, Context(lengths_B))
        return network.logits(hidden_BTD[torch.arange(len(ids)), lengths_B - 1])
    run: Any = network.embed if isinstance(network, tasks.Embedder) else network
    return torch.as_tensor(run(rows_BT, lengths_B))
