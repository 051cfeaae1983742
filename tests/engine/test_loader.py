"""Only registered files are loaded, and their tensors must match the configuration."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import msgspec
import pytest
import torch
from safetensors.torch import load_file, save_file

from app.checkpoint import directory as checkpoint
from app.engine import loader
from app.errors import CheckpointInvalid
from app.wire import engine as wire
from models.interface import Context
from models.kernels import choice, reference
from tests.engine import builders as b

SHAPE = b.config("lstm", "generation")


@pytest.fixture
def saved(tmp_path: Path) -> tuple[Any, wire.Load, Path]:
    built, message = b.write_checkpoint(tmp_path / "m", SHAPE)
    return built, message, tmp_path / "m"


def load_message(directory: Path, name: str = "m:1") -> wire.Load:
    """The message for the current content of a directory."""
    manifest = checkpoint.manifest(directory)
    files = {path: entry.sha256 for path, entry in manifest.items()}
    return wire.Load(checkpoint.digest(manifest), str(directory), files, name)


def test_a_loaded_version_has_the_weights_the_end_token_and_no_gradients(saved: tuple[Any, wire.Load, Path]) -> None:
    built, message, _ = saved
    version = loader.load(message, b.CPU, torch.float32)
    ids_BT = torch.arange(10)[None]
    expected, logits_BTV = (network.logits(network(ids_BT, Context())) for network in (built, version.network))
    torch.testing.assert_close(logits_BTV, expected, atol=1e-5, rtol=1e-5)
    size = 4 * sum(v.numel() for v in built.state_dict().values())
    assert version.eos_id == 1 and size <= version.nbytes <= 2 * size
    assert not version.network.training and not any(q.requires_grad for q in version.network.parameters())
    assert not any(q.is_inference() for q in version.network.parameters())


@pytest.mark.parametrize(("task", "bound"), [("generation", True), ("classification", False)])
def test_only_language_models_get_faster_kernels(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, task: str, bound: bool
) -> None:
    monkeypatch.setattr(choice, "KERNELS", (reference,))
    _, message = b.write_checkpoint(tmp_path / "m", b.config("transformer", task))
    version = loader.load(message, b.CPU, torch.float32)
    assert ("body.blocks.0.mlp.up.weight" not in version.network.state_dict()) is bound
    assert version.mode.kernel == ("reference" if bound else "torch")


def test_weights_are_converted_to_bfloat16(saved: tuple[Any, wire.Load, Path]) -> None:
    version = loader.load(saved[1], b.CPU, torch.bfloat16)
    assert {q.dtype for q in version.network.parameters()} == {torch.bfloat16}


def test_normalisation_is_read_from_the_configuration(tmp_path: Path) -> None:
    shape = b.config("gru", "regression", input="features")
    normal, target = {"mean": [1.0, 2.0, 3.0], "std": [1.0, 1.0, 2.0]}, {"mean": 4.0, "std": 5.0}
    _, message = b.write_checkpoint(tmp_path / "m", shape, normalization=normal, target=target)
    version = loader.load(message, b.CPU, torch.float32)
    assert version.scaling and (version.scaling.mean, version.scaling.std) == ([1.0, 2.0, 3.0], [1.0, 1.0, 2.0])
    assert version.target and (version.target.mean, version.target.std) == ([4.0], [5.0])


@pytest.mark.parametrize("name", ["model.safetensors", "config.json", "tokenizer.json"])
def test_a_changed_file_is_refused(saved: tuple[Any, wire.Load, Path], name: str) -> None:
    _, message, directory = saved
    data = bytearray((directory / name).read_bytes())
    data[-2] ^= 1
    (directory / name).write_bytes(data)
    with pytest.raises(CheckpointInvalid, match=name):
        loader.load(message, b.CPU, torch.float32)


def test_unexpected_files_and_a_missing_directory_are_refused(saved: tuple[Any, wire.Load, Path]) -> None:
    _, message, directory = saved
    (directory / "README.md").write_text("new")
    with pytest.raises(CheckpointInvalid, match=r"README\.md"):
        loader.load(message, b.CPU, torch.float32)
    (directory / "README.md").rename(directory / "model.pt")
    with pytest.raises(CheckpointInvalid, match=r"model\.pt"):
        loader.load(message, b.CPU, torch.float32)
    with pytest.raises(CheckpointInvalid, match="does not exist"):
        loader.load(msgspec.structs.replace(message, directory="/nowhere"), b.CPU, torch.float32)


def test_the_digest_must_match_the_files(saved: tuple[Any, wire.Load, Path]) -> None:
    with pytest.raises(CheckpointInvalid, match="digest"):
        loader.load(msgspec.structs.replace(saved[1], digest="0" * 64), b.CPU, torch.float32)


@pytest.mark.parametrize("fault", ["shape", "missing", "extra", "dtype"])
def test_tensors_must_match_the_configuration(saved: tuple[Any, wire.Load, Path], fault: str) -> None:
    _, _, directory = saved
    weights = load_file(directory / "model.safetensors")
    name = "body.rnn.weight_hh_l0"
    if fault == "shape":
        weights[name] = weights[name][:-1].clone()
    elif fault == "missing":
        del weights[name]
    elif fault == "dtype":
        weights[name] = weights[name].to(torch.int8)
    else:
        weights[name := "surprise"] = torch.zeros(2)
    save_file(weights, directory / "model.safetensors")
    with pytest.raises(CheckpointInvalid, match=f"does not match config.json: tensor '{name}'"):
        loader.load(load_message(directory), b.CPU, torch.float32)


def test_nothing_is_allocated_for_a_configuration_of_terabytes(saved: tuple[Any, wire.Load, Path]) -> None:
    directory = saved[2]
    raw = checkpoint.load_json(directory / "config.json")
    checkpoint.write_json(directory / "config.json", {**raw, "width": 65_536, "layers": 1024})
    with pytest.raises(CheckpointInvalid, match=r"shape|missing"):
        loader.load(load_message(directory), b.CPU, torch.float32)
