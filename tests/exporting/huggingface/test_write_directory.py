"""Exports in Hugging Face's layout contain the tensors of the original directories, and compute the same outputs."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

from app.checkpoint import directory as checkpoint
from app.exporting.convert_version import convert_version
from app.exporting.source_version import ExportRefused
from app.importing.pytorch.tensors import Tensors
from app.tokenization.tokenizer import Tokenizer
from models.config import ModelConfig
from models.tasks import build_for_inference
from tests.importing.huggingface.directories import CASES, bring, copied, expected, outputs

MODELS = [
    "bert", "distilbert", "roberta", "minilm", "modernbert", "modernbert-sentences", "gpt2", "llama", "mistral",
    "qwen2", "qwen3", "smollm3",
]  # fmt: skip
SAME_FAMILY = {
    "bert": "BertForSequenceClassification",
    "distilbert": "DistilBertForSequenceClassification",
    "modernbert": "ModernBertForSequenceClassification",
    "gpt2": "GPT2LMHeadModel",
    "llama": "LlamaForCausalLM",
    "qwen2": "Qwen2ForCausalLM",
    "qwen3": "Qwen3ForCausalLM",
    "smollm3": "SmolLM3ForCausalLM",
}
UNUSED = re.compile(r"(lm_head|cls|pooler)\.|.*(position_ids|\.attn\.(masked_)?bias)$")


def exported(name: str, folder: Path) -> tuple[Path, Path, str]:
    """Import a directory and export the version. Returns the version, the exported directory, and its class."""
    bring(copied(name, folder), folder / "version")
    made = convert_version(folder / "version", folder / "exported", "huggingface")
    return folder / "version", folder / "exported", made


@pytest.mark.parametrize("name", MODELS)
def test_an_exported_model_gives_the_outputs_of_its_source(name: str, tmp_path: Path) -> None:
    version, directory, _ = exported(name, tmp_path)
    again = bring(directory, tmp_path / "again")
    ids = expected(name)["ids"]
    assert torch.allclose(outputs(tmp_path / "again", ids), outputs(version, ids), atol=1e-6)
    before, after = Tokenizer.load(version), Tokenizer.load(tmp_path / "again")
    texts = expected(name)["texts"]
    assert after.encode_batch(texts) == before.encode_batch(texts)
    assert (after.eos_id, again.checkpoint.labels) == (before.eos_id, checkpoint.read(version).labels)
    raw, new = checkpoint.read(version).raw_config, again.checkpoint.raw_config
    assert new.get("chat_template") == raw.get("chat_template")


@pytest.mark.parametrize("name", SAME_FAMILY)
def test_tensors_and_sizes_are_those_of_the_original_directory(name: str, tmp_path: Path) -> None:
    _, directory, made = exported(name, tmp_path)
    assert made == SAME_FAMILY[name]
    original = load_file(CASES / name / "model.safetensors")
    ours = load_file(directory / "model.safetensors")
    assert {key for key in original if not UNUSED.match(key)} <= {*ours} <= {*original}
    for key, value in ours.items():
        assert torch.equal(value, original[key].float()), key
    config = json.loads((directory / "config.json").read_text())
    source = json.loads((CASES / name / "config.json").read_text())
    sizes = [key for key in config if isinstance(config[key], int | float) and key in source and "id" not in key]
    assert len(sizes) >= 7 and {key: config[key] for key in sizes} == {key: source[key] for key in sizes}


def classifier(folder: Path) -> tuple[Path, Tensors]:
    """A version with one layer after the mean of the tokens, as after fine-tuning MiniLM."""
    bring(copied("minilm", folder), folder / "version")
    raw = json.loads((folder / "version" / "config.json").read_text())
    raw |= {"task": "classification", "classes": 3, "pooling": "mean"}
    checkpoint.write_json(folder / "version" / "config.json", raw)
    checkpoint.write_json(folder / "version" / "labels.json", ["calm", "angry", "glad"])
    tensors = load_file(folder / "version" / "model.safetensors")
    tensors |= {"head.weight": torch.randn(3, 16), "head.bias": torch.randn(3)}
    save_file(tensors, folder / "version" / "model.safetensors")
    return folder / "version", {name: tensor.numpy() for name, tensor in tensors.items()}


def test_a_head_after_the_mean_becomes_a_module_of_sentence_transformers(tmp_path: Path) -> None:
    version, tensors = classifier(tmp_path)
    assert convert_version(version, tmp_path / "out", "huggingface") == "BertModel"
    modules = json.loads((tmp_path / "out" / "modules.json").read_text())
    assert [module["type"].rpartition(".")[2] for module in modules] == ["Transformer", "Pooling", "Dense"]
    assert json.loads((tmp_path / "out/1_Pooling/config.json").read_text())["pooling_mode_mean_tokens"]
    dense = load_file(tmp_path / "out" / "2_Dense" / "model.safetensors")
    assert np.array_equal(dense["linear.weight"].numpy(), tensors["head.weight"])
    assert "SentenceTransformer" in (tmp_path / "out" / "README.md").read_text()


def test_a_calibration_is_part_of_the_last_layer(tmp_path: Path) -> None:
    version, tensors = classifier(tmp_path)
    scores = {"rows": 1, "values": [0.5]}
    calibration = {
        "format_version": 1, "rows": 1, "method": "apart", "scale": [2.0], "bias": [0.5, 0.0, -1.0], "scores": scores,
    }  # fmt: skip
    checkpoint.write_json(version / "calibration.json", calibration)
    convert_version(version, tmp_path / "out", "huggingface")
    dense = load_file(tmp_path / "out" / "2_Dense" / "model.safetensors")
    assert np.allclose(dense["linear.weight"].numpy(), 2 * tensors["head.weight"])
    assert np.allclose(dense["linear.bias"].numpy(), 2 * tensors["head.bias"] + [0.5, 0.0, -1.0])


def regression(folder: Path, mean: float, std: float) -> Path:
    """A regression version with random weights, whose values to predict have this mean and standard deviation."""
    version = random_version(folder, architecture="transformer", task="regression", classes=1)
    raw = json.loads((version / "config.json").read_text())
    checkpoint.write_json(version / "config.json", raw | {"target": {"mean": mean, "std": std}})
    return version


def test_the_scale_of_a_regression_is_part_of_the_last_layer_in_float32(tmp_path: Path) -> None:
    version = regression(tmp_path, mean=5.0, std=2.0)
    convert_version(version, tmp_path / "out", "huggingface")
    theirs, ours = load_file(tmp_path / "out" / "model.safetensors"), load_file(version / "model.safetensors")
    assert {str(tensor.dtype) for tensor in theirs.values()} == {"torch.float32"}
    assert torch.allclose(theirs["classifier.bias"], 2.0 * ours["head.bias"] + 5.0)


def test_a_regression_whose_values_do_not_fit_into_float32_is_refused(tmp_path: Path) -> None:
    version = regression(tmp_path, mean=1_795_000_000.0, std=57_735.0)
    with pytest.raises(
        ExportRefused, match=r"multiples of 128 near the mean 1\.795e\+09; this is too coarse .* use --format onnx"
    ):
        convert_version(version, tmp_path / "out", "huggingface")
    assert not (tmp_path / "out").exists()


def test_ordinary_tokens_are_not_declared_as_special(tmp_path: Path) -> None:
    _, directory, _ = exported("gpt2", tmp_path)
    settings = json.loads((directory / "tokenizer_config.json").read_text())
    special = {"<s>", "</s>", "<pad>", "<unk>", "<mask>"}
    assert settings["eos_token"] == "</s>"
    assert {value for key, value in settings.items() if key.endswith("_token")} <= special


def random_version(folder: Path, **fields: Any) -> Path:
    """A version with random weights, and the tokenizer of the small encoders."""
    config = ModelConfig(**({"vocab_size": 140, "width": 16, "layers": 1, "context_length": 40} | fields))
    bring(copied("bert", folder), folder / "version")
    for name in ("labels.json", "training.json"):
        (folder / "version" / name).unlink(missing_ok=True)
    state = {name: torch.randn(value.shape) for name, value in build_for_inference(config).state_dict().items()}
    save_file(state, folder / "version" / "model.safetensors")
    checkpoint.write_json(folder / "version" / "config.json", {"format_version": 1, **config.to_dict()})
    if config.task == "classification":
        checkpoint.write_json(folder / "version" / "labels.json", [f"label {n}" for n in range(config.classes)])
    return folder / "version"


def test_a_transformer_that_was_trained_here_becomes_a_eurobert(tmp_path: Path) -> None:
    version = random_version(tmp_path, architecture="transformer", task="classification", classes=3)
    made = convert_version(version, tmp_path / "out", "huggingface")
    assert made == "EuroBertForSequenceClassification"
    ours, theirs = load_file(version / "model.safetensors"), load_file(tmp_path / "out" / "model.safetensors")
    pooled_ND = torch.randn(5, 16)
    hidden_ND = torch.nn.functional.gelu(pooled_ND @ theirs["dense.weight"].T + theirs["dense.bias"])
    logits_NC = hidden_ND @ theirs["classifier.weight"].T + theirs["classifier.bias"]
    assert torch.allclose(logits_NC, pooled_ND @ ours["head.weight"].T + ours["head.bias"], atol=1e-5)
    assert torch.equal(
        theirs["model.layers.0.self_attn.v_proj.weight"], ours["body.blocks.0.attention.qkv.weight"][32:]
    )
    config = json.loads((tmp_path / "out" / "config.json").read_text())
    assert config["classifier_pooling"] == "mean" and config["id2label"]["2"] == "label 2"


def test_more_labels_than_half_the_width_become_a_module(tmp_path: Path) -> None:
    version = random_version(tmp_path, architecture="transformer", task="classification", classes=9)
    assert convert_version(version, tmp_path / "out", "huggingface") == "EuroBertModel"
    assert (tmp_path / "out" / "2_Dense" / "model.safetensors").is_file()


BERT_LAYERS = {
    "architecture": "transformer", "task": "classification", "classes": 2, "norm": "layer", "norm_first": False,
    "final_norm": False, "input_norm": True, "positions": "learned", "bias": True, "activation": "gelu",
}  # fmt: skip
EUROBERT_LAYERS = {"architecture": "transformer", "task": "classification", "classes": 2}
MODERNBERT_LAYERS = EUROBERT_LAYERS | {"norm": "layer", "input_norm": True, "first_norm": False}
GPT2_LAYERS = {
    "architecture": "transformer", "task": "generation", "norm": "layer", "positions": "learned", "bias": True,
    "activation": "gelu", "head_bias": False,
}  # fmt: skip
LLAMA_LAYERS = {"architecture": "transformer", "task": "generation", "head_bias": False}


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        (BERT_LAYERS | {"attention_window": 2}, r"layers as this version: attention_window is 2;"),
        (BERT_LAYERS | {"norm_bias": False}, r"layers as this version: norm_bias is false;"),
        (BERT_LAYERS | {"head_widths": (16,), "head_norm": True}, r"layers as this version: head_norm is true;"),
        (EUROBERT_LAYERS | {"attention_window": 2}, r"layers as this version: attention_window is 2;"),
        (EUROBERT_LAYERS | {"first_norm": False}, r"layers as this version: first_norm is false;"),
        (EUROBERT_LAYERS | {"head_widths": (16,), "head_norm": True}, r"version: head_widths is \(16,\);"),
        (MODERNBERT_LAYERS | {"attention_window": 2}, r"layers as this version: global_every is 0 \(.*transformers 4"),
        (GPT2_LAYERS | {"norm_bias": False}, r"layers as this version: norm_bias is false;"),
        (LLAMA_LAYERS | {"first_norm": False}, r"layers as this version: first_norm is false;"),
        ({"architecture": "lstm", "task": "classification", "classes": 2}, r"architecture lstm; use --format onnx"),
        ({"architecture": "gru", "task": "generation"}, r"architecture gru; use --format checkpoint"),
        (
            {"architecture": "transformer", "task": "classification", "classes": 2, "positions": "sinusoidal"},
            r"norm is rms, norm_first is true, .*positions is sinusoidal, .*; use --format onnx",
        ),
        (
            {"architecture": "transformer", "task": "classification", "classes": 2, "pooling": "attention"},
            r"no head like that of this version: pooling is attention",
        ),
        (
            {"architecture": "transformer", "task": "regression", "classes": 1, "ngram_buckets": 64, "ngram_words": 1},
            r"layers as this version: ngram_buckets is 64; use --format onnx",
        ),
        (
            {"architecture": "transformer", "task": "generation"},
            r"no language model in transformers has the same layers as this version: head_bias is true; serve the ",
        ),
        (
            {"architecture": "transformer", "task": "generation", "ngram_buckets": 64, "ngram_tokens": 2},
            r"ngram_buckets is 64, head_bias is true",
        ),
        (
            {
                "architecture": "transformer",
                "task": "generation",
                "head_bias": False,
                "qk_norm": True,
                "qkv_bias": True,
            },
            r"no model family of transformers has all of qkv_bias, qk_norm",
        ),
    ],
)
def test_what_transformers_cannot_compute_is_refused_by_name(
    fields: dict[str, Any], message: str, tmp_path: Path
) -> None:
    version = random_version(tmp_path, **fields)
    with pytest.raises(ExportRefused, match=message):
        convert_version(version, tmp_path / "out", "huggingface")
    assert not (tmp_path / "out").exists()
