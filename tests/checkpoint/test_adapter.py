"""The field `adapter` of config.json, and the merged weights."""

from __future__ import annotations

import json
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

from app.checkpoint import directory as checkpoint
from app.checkpoint.adapter import ADAPTER, check_merged, parse_adapter, read_adapter
from app.errors import CheckpointInvalid
from models.config import ModelConfig
from tests.checkpoints import make_adapter, make_checkpoint

GOOD: dict[str, Any] = {
    "base": "0" * 64, "weights": "f" * 64, "r": 2, "alpha": 4.0, "dropout": 0.0, "target_modules": ["qkv"]
}  # fmt: skip
SIZES: dict[str, Any] = {"task": "classification", "vocab_size": 16, "classes": 2, "width": 8, "heads": 2}


@pytest.mark.parametrize(
    "change",
    [
        {"base": "sha256:1"}, {"weights": None}, {"r": 0}, {"r": True}, {"r": 2.0}, {"r": 10**9}, {"alpha": "1"},
        {"alpha": float("inf")}, {"alpha": 1e9}, {"alpha": 10**400}, {"alpha": 0}, {"alpha": True}, {"r": 1025},
        {"dropout": -1}, {"dropout": 1}, {"target_modules": []}, {"target_modules": ["head"]},
        {"target_modules": [["qkv"]]}, {"target_modules": "qkv"}, {"more": 1},
    ],
)  # fmt: skip
def test_a_wrong_field_is_refused_by_name(change: dict[str, Any]) -> None:
    config = ModelConfig(architecture="transformer", **SIZES)
    assert parse_adapter(GOOD, config) is not None and parse_adapter(None, config) is None
    with pytest.raises(CheckpointInvalid, match=r"config.json: adapter .*" + ("exactly" if "more" in change else "")):
        parse_adapter(GOOD | change, config)


def test_a_recurrent_network_has_no_adapter() -> None:
    with pytest.raises(CheckpointInvalid, match="only for a transformer"):
        parse_adapter(GOOD, ModelConfig(architecture="gru", **SIZES))


def test_the_merged_weights_are_those_of_the_definition(tmp_path: Path) -> None:
    """W + alpha / r * B A, with `alpha` 3 and `r` 2 (Hu et al., 2021, section 4.1)."""
    base = make_checkpoint(tmp_path / "base", architecture="transformer", heads=2)
    folder = make_adapter(base, tmp_path / "adapter")
    contents = checkpoint.validate(folder)
    weights, before = checkpoint.load_weights(folder, contents, load_file), load_file(base / "model.safetensors")
    own = read_adapter(folder, load_file)
    assert weights.keys() == before.keys()
    for name, weight in weights.items():
        expected = before[name]
        if (module := name.removesuffix("weight")) + "lora_A.weight" in own:
            expected = expected + 1.5 * own[f"{module}lora_B.weight"] @ own[f"{module}lora_A.weight"]
            assert not np.allclose(expected, before[name], atol=1e-3)
        assert np.allclose(weight, expected, atol=1e-6), name


def test_half_precision_is_merged_in_float32(tmp_path: Path) -> None:
    folder = _adapter(tmp_path)
    for file in (ADAPTER, "model.safetensors"):
        save_file({name: value.astype(np.float16) for name, value in load_file(folder / file).items()}, folder / file)
    own, base = read_adapter(folder, load_file), load_file(folder / "model.safetensors")
    weights = checkpoint.load_weights(folder, checkpoint.read(folder), load_file)
    for module in (name.removesuffix("lora_A.weight") for name in own if name.endswith("lora_A.weight")):
        down, up, before = (
            tensors[module + part].astype(np.float64)
            for tensors, part in ((own, "lora_A.weight"), (own, "lora_B.weight"), (base, "weight"))
        )
        assert np.allclose(weights[f"{module}weight"], before + 1.5 * up @ down, rtol=0, atol=1e-6)


def test_an_adapter_requires_its_entry(tmp_path: Path) -> None:
    folder = make_adapter(make_checkpoint(tmp_path / "base", architecture="transformer", heads=2), tmp_path / "adapter")
    raw = json.loads((folder / "config.json").read_text())
    del raw["adapter"]
    (folder / "config.json").write_text(json.dumps(raw))
    with pytest.raises(CheckpointInvalid, match=r"if and only if its config\.json has the field adapter"):
        checkpoint.read(folder)


@pytest.mark.parametrize(
    ("down", "up", "message"),
    [
        (np.int64, np.int64, "has dtype I64; it must have one of BF16, F16, F32, F64"),
        (np.bool_, np.bool_, "has dtype BOOL; it must have one of"),
        (np.float16, np.float32, "the two matrices of 'body.*' have the dtypes F16 and F32, which must be equal"),
        (np.float64, np.float64, None),
    ],
)
def test_the_matrices_of_an_adapter_are_numbers_of_one_type(
    down: Any, up: Any, message: str | None, tmp_path: Path
) -> None:
    folder = _adapter(tmp_path)
    tensors = load_file(folder / ADAPTER)
    kinds = {name: down if "lora_A" in name else up for name in tensors}
    save_file({name: tensor.astype(kinds[name]) for name, tensor in tensors.items()}, folder / ADAPTER)
    with nullcontext() if message is None else pytest.raises(CheckpointInvalid, match=message):
        checkpoint.read(folder)


@pytest.mark.parametrize("kind", [np.float32, np.float64])
def test_merged_weights_that_could_be_infinite_are_refused(kind: Any, tmp_path: Path) -> None:
    folder = _adapter(tmp_path)
    adapter = checkpoint.read(folder).adapter
    assert adapter is not None
    tensors = {name: tensor.astype(kind) for name, tensor in load_file(folder / ADAPTER).items()}
    save_file(tensors, folder / ADAPTER)
    check_merged(folder, "model.safetensors", adapter)
    save_file({name: np.full_like(tensor, -1e19) for name, tensor in tensors.items()}, folder / ADAPTER)
    with pytest.raises(CheckpointInvalid, match=r"merged with .*out.weight'.* could be infinite"):
        check_merged(folder, "model.safetensors", adapter)


def _adapter(folder: Path) -> Path:
    return make_adapter(make_checkpoint(folder / "base", architecture="transformer", heads=2), folder / "adapter")
