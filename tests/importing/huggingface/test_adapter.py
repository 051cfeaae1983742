"""LoRA adapters in PEFT's layout are merged into the weights of their base."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

from app.importing.huggingface.convert_directory import convert_directory
from app.importing.pytorch.tensors import ForeignFileInvalid
from tests.importing.huggingface.directories import bring, copied, expected, outputs

PREFIX = "base_model.model."
# As PEFT 0.21 writes it; entries that are null, false or empty are left out.
SETTINGS = {
    "base_model_name_or_path": "somebody/model", "bias": "none", "inference_mode": True, "init_lora_weights": True,
    "lora_alpha": 6, "lora_dropout": 0.05, "megatron_core": "megatron.core", "peft_type": "LORA",
    "peft_version": "0.21.2", "qalora_group_size": 16, "r": 3, "target_modules": ["q_proj"], "task_type": "CAUSAL_LM",
}  # fmt: skip


def adapter(folder: Path, tensors: dict[str, torch.Tensor], **settings: Any) -> Path:
    """Write the directory of an adapter. `tensors` have names without PEFT's prefix."""
    (folder / "adapter").mkdir()
    values = {key: value for key, value in (SETTINGS | settings).items() if value is not None}
    (folder / "adapter" / "adapter_config.json").write_text(json.dumps(values))
    save_file({PREFIX + name: value for name, value in tensors.items()}, folder / "adapter/adapter_model.safetensors")
    return folder / "adapter"


def low_rank(name: str, rows: int, columns: int, rank: int = 3) -> dict[str, torch.Tensor]:
    """Random low-rank matrices A and B for a matrix (rows, columns) of the base."""
    return {f"{name}.lora_A.weight": torch.randn(rank, columns), f"{name}.lora_B.weight": torch.randn(rows, rank)}


def rewritten(source: Path, changes: dict[str, torch.Tensor]) -> None:
    """Add `changes` to tensors in the weights file of a directory."""
    tensors = load_file(source / "model.safetensors")
    for name, change in changes.items():
        tensors[name] = tensors[name].float() + change
    save_file(tensors, source / "model.safetensors", {"format": "pt"})


@pytest.mark.parametrize(
    ("name", "module", "shape", "settings", "scale"),
    [
        ("llama", "model.layers.1.self_attn.q_proj", (16, 16), {}, 2.0),
        ("llama", "model.layers.0.mlp.down_proj", (16, 24), {"use_rslora": True}, 6 / 3**0.5),
        ("gpt2", "transformer.h.0.attn.c_attn", (48, 16), {"fan_in_fan_out": True}, 2.0),
    ],
)
def test_the_product_of_the_matrices_is_added_to_the_base(
    name: str, module: str, shape: tuple[int, int], settings: dict[str, Any], scale: float, tmp_path: Path
) -> None:
    torch.manual_seed(0)
    low = low_rank(module, *shape)
    source = copied(name, tmp_path)
    made = bring(source, tmp_path / "version", adapter=str(adapter(tmp_path, low, **settings)))
    assert any(line.startswith("adapter=adapter: it was trained on somebody/model") for line in made.assumed)
    change = scale * low[f"{module}.lora_B.weight"] @ low[f"{module}.lora_A.weight"]
    rewritten(source, {f"{module}.weight": change.T if settings.get("fan_in_fan_out") else change})
    bring(source, tmp_path / "expected")
    ids = expected(name)["ids"]
    ours, theirs = outputs(tmp_path / "version", ids), outputs(tmp_path / "expected", ids)
    assert torch.allclose(ours, theirs, atol=1e-5)
    bring(copied(name, tmp_path / "plain"), tmp_path / "base")
    assert (outputs(tmp_path / "base", ids) - ours).abs().max() > 1e-3


def test_an_adapter_brings_the_head_that_its_base_lacks(tmp_path: Path) -> None:
    torch.manual_seed(0)
    head = {
        "classifier.dense.weight": torch.randn(16, 16), "classifier.dense.bias": torch.randn(16),
        "classifier.out_proj.weight": torch.randn(4, 16), "classifier.out_proj.bias": torch.randn(4),
    }  # fmt: skip
    low = low_rank("roberta.encoder.layer.0.attention.self.query", 16, 16)
    folder = adapter(tmp_path, head | low, task_type="SEQ_CLS", modules_to_save=["classifier"])
    source, fields = copied("roberta", tmp_path), {"adapter": str(folder), "task": "classification"}
    made = convert_directory(source, tmp_path / "version", labels=["a", "b", "c", "d"], fields=fields)
    weights = load_file(tmp_path / "version" / "model.safetensors")
    assert made.checkpoint.config.classes == 4
    assert torch.equal(weights["head.weight"], head["classifier.out_proj.weight"])


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"peft_type": "IA3"}, "peft_type is 'IA3'; only LORA can be imported"),
        ({"use_dora": True}, "use_dora cannot be imported"),
        ({"bias": "all"}, "bias cannot be imported"),
        ({"rank_pattern": {"q_proj": 4}}, "rank_pattern cannot be imported"),
        ({"a_new_option": 3}, "a_new_option cannot be imported"),
        ({"init_lora_weights": "pissa"}, "init_lora_weights is 'pissa', which changes the base"),
        ({"r": 0}, "r must be a number above 0"),
        ({"lora_alpha": True}, "lora_alpha must be a number above 0"),
    ],
)
def test_other_kinds_of_adapters_are_refused_by_name(settings: dict[str, Any], message: str, tmp_path: Path) -> None:
    folder = adapter(tmp_path, low_rank("model.layers.1.self_attn.q_proj", 16, 16), **settings)
    with pytest.raises(ForeignFileInvalid, match=message):
        bring(copied("llama", tmp_path), tmp_path / "version", adapter=str(folder))


@pytest.mark.parametrize(
    ("tensors", "message"),
    [
        (low_rank("model.layers.9.self_attn.q_proj", 16, 16), "has no lora_B.weight, or is not in the base"),
        (low_rank("model.layers.1.self_attn.q_proj", 12, 16), r"shape \(12, 16\), which does not fit \(16, 16\)"),
        (low_rank("model.layers.1.self_attn.q_proj", 16, 16, 2), "has rank 2, but r is 3"),
        (low_rank("model.layers.1.self_attn.q_proj", 300_000, 300_000), r"shape \(300000, 300000\)"),
        ({"model.norm.weight": torch.ones(16)}, "contains no LoRA matrices"),
        ({"model.layers.1.self_attn.q_proj.lora_A.weight": torch.ones(3, 16)}, "has no lora_B.weight"),
        ({"model.layers.1.self_attn.q_proj.lora_B.weight": torch.ones(16, 3)}, "lora_B.weight' cannot be imported"),
        (
            low_rank("model.layers.1.self_attn.q_proj", 16, 16) | {"model.surprise.weight": torch.ones(2)},
            "tensors that cannot be imported: surprise.weight",
        ),
    ],
)
def test_an_adapter_of_another_base_is_refused(tensors: dict[str, torch.Tensor], message: str, tmp_path: Path) -> None:
    folder = adapter(tmp_path, tensors)
    with pytest.raises(ForeignFileInvalid, match=message):
        bring(copied("llama", tmp_path), tmp_path / "version", adapter=str(folder))


def test_a_trained_embedding_does_not_become_the_head_of_its_base(tmp_path: Path) -> None:
    source = copied("gpt2", tmp_path)
    words = load_file(source / "model.safetensors")["transformer.wte.weight"]
    low = low_rank("transformer.h.0.attn.c_attn", 48, 16) | {"transformer.wte.weight": words + 1}
    folder = adapter(tmp_path, low, fan_in_fan_out=True, modules_to_save=["wte"])
    with pytest.raises(ForeignFileInvalid, match="the head of the base, which shares this matrix"):
        bring(source, tmp_path / "version", adapter=str(folder))
