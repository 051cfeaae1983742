"""An adapter in PEFT's layout, merged into its base by the importer, gives the weights of the version."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

from app.checkpoint.adapter import ADAPTER, PREFIX
from app.checkpoint.directory import WEIGHTS
from app.exporting.convert_version import convert_version
from app.exporting.source_version import ExportRefused, read_version
from tests.checkpoints import make_adapter
from tests.importing.huggingface.directories import bring, copied


@pytest.mark.parametrize("name", ["llama", "qwen3", "gpt2"])
def test_an_exported_adapter_is_that_of_the_base_in_transformers(name: str, tmp_path: Path) -> None:
    bring(copied(name, tmp_path), tmp_path / "base")
    version = make_adapter(tmp_path / "base", tmp_path / "version")
    assert convert_version(version, tmp_path / "peft", "peft") == "LoRA of rank 2"
    settings = json.loads((tmp_path / "peft" / "adapter_config.json").read_text())
    assert (settings["r"], settings["lora_alpha"], settings["fan_in_fan_out"]) == (2, 3.0, name == "gpt2")
    bring(tmp_path / name, tmp_path / "merged", adapter=str(tmp_path / "peft"))
    ours, theirs = read_version(version).tensors, read_version(tmp_path / "merged").tensors
    assert ours.keys() == theirs.keys()
    assert all(np.allclose(ours[key], theirs[key], atol=1e-6) for key in ours)
    plain = read_version(tmp_path / "base").tensors
    changed = {key.rpartition(".")[0].rpartition(".")[2] for key in ours if not np.allclose(ours[key], plain[key])}
    assert changed == {"qkv", "out", "up", "down"}


def test_a_merged_version_is_a_directory_for_transformers(tmp_path: Path) -> None:
    bring(copied("llama", tmp_path), tmp_path / "base")
    version = make_adapter(tmp_path / "base", tmp_path / "version")
    assert convert_version(version, tmp_path / "whole", "huggingface") == "LlamaForCausalLM"
    bring(tmp_path / "whole", tmp_path / "again")
    ours, theirs = read_version(version).tensors, read_version(tmp_path / "again").tensors
    assert all(np.allclose(ours[key], theirs[key], atol=1e-6) for key in ours)


def test_a_version_without_an_adapter_and_a_classifier_are_refused(tmp_path: Path) -> None:
    base = tmp_path / "base"
    bring(copied("minilm", tmp_path), base)
    with pytest.raises(ExportRefused, match="is not an adapter; use --format huggingface"):
        convert_version(base, tmp_path / "peft", "peft")
    with pytest.raises(ExportRefused, match="which merges the adapter"):
        convert_version(make_adapter(base, tmp_path / "adapter"), tmp_path / "peft", "peft")
    assert not (tmp_path / "peft").exists()


def test_an_adapter_with_a_changed_head_is_refused(tmp_path: Path) -> None:
    """PEFT would take the head of the base, and compute other outputs than the service."""
    bring(copied("llama", tmp_path), tmp_path / "base")
    version = make_adapter(tmp_path / "base", tmp_path / "version")
    own, head = load_file(version / ADAPTER), read_version(tmp_path / "base").tensors["head.weight"]
    save_file(own | {f"{PREFIX}head.weight": head + 1}, version / ADAPTER)
    with pytest.raises(ExportRefused, match=r"changes the tensor head\.weight of its base"):
        convert_version(version, tmp_path / "peft", "peft")
    assert not (tmp_path / "peft").exists()


def test_the_base_of_an_exported_adapter_may_be_in_float64(tmp_path: Path) -> None:
    bring(copied("qwen3", tmp_path), tmp_path / "base")
    weights, exported = load_file(tmp_path / "base" / WEIGHTS), []
    for kind in (np.float32, np.float64):
        save_file({name: tensor.astype(kind) for name, tensor in weights.items()}, tmp_path / "base" / WEIGHTS)
        version = make_adapter(tmp_path / "base", tmp_path / f"version-{kind.__name__}")
        convert_version(version, tmp_path / f"peft-{kind.__name__}", "peft")
        exported.append(load_file(tmp_path / f"peft-{kind.__name__}" / ADAPTER))
    assert exported[0].keys() == exported[1].keys()
    assert all(np.array_equal(exported[0][name], tensor) for name, tensor in exported[1].items())
