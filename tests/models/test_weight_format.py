"""Stored tensors are compared with the configuration by name, shape and dtype."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

from models import parameters
from models.config import ModelConfig
from models.weight_format import FLOATING, WeightsMismatch, check_weights
from tests.models.configurations import classifiers, generators

CONFIG = ModelConfig(architecture="gru", task="generation", vocab_size=9, width=8, layers=1)
EVERY = {f"generate-{name}": config for name, config in generators().items()} | classifiers()


def tensors(config: ModelConfig, dtype: str = "F32") -> dict[str, tuple[str, tuple[int, ...]]]:
    return {name: (dtype, shape) for name, shape in parameters.shapes(config).items()}


@pytest.mark.parametrize("config", EVERY.values(), ids=EVERY.keys())
def test_the_documented_parameters_are_accepted(config: ModelConfig) -> None:
    check_weights(config, tensors(config))


@pytest.mark.parametrize("dtype", ["BF16", "F16", "F32", "F64"])
def test_every_floating_dtype_is_accepted(dtype: str) -> None:
    assert dtype in FLOATING.dtypes
    check_weights(CONFIG, tensors(CONFIG, dtype))


@pytest.mark.parametrize(
    ("name", "entry", "message"),
    [
        ("head.bias", None, "tensor 'head.bias' of shape (9,) is missing"),
        ("surprise", ("F32", (2,)), "tensor 'surprise' is not a parameter of this network"),
        ("x" * 500, ("F32", (2,)), f"tensor '{'x' * 80}' is not a parameter of this network"),
        ("head.bias", ("F32", (8,)), "tensor 'head.bias' has shape (8,); it must have (9,)"),
        ("head.bias", ("I8", (9,)), "tensor 'head.bias' has dtype I8; it must have one of BF16, F16, F32, F64"),
    ],
    ids=["missing", "unexpected", "long name", "shape", "dtype"],
)
def test_a_mismatch_names_the_tensor(name: str, entry: tuple[str, tuple[int, ...]] | None, message: str) -> None:
    stored = tensors(CONFIG)
    stored.pop(name, None)
    if entry is not None:
        stored[name] = entry
    with pytest.raises(WeightsMismatch, match=f"^{re.escape(message)}$") as caught:
        check_weights(CONFIG, stored)
    assert caught.value.tensor == name


def test_checking_imports_no_torch() -> None:
    code = "import sys, models.weight_format; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False, cwd=Path(__file__).parents[2]).returncode == 0
