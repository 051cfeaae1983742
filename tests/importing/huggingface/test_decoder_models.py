"""Imported language models make the same predictions as in transformers."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

from app.errors import OstinatoError
from app.importing.pytorch.tensors import ForeignFileInvalid
from tests.importing.huggingface.directories import CASES, bring, copied, edit, expected, loaded, outputs

FAMILIES = ["gpt2", "llama", "mistral", "qwen2", "qwen3", "smollm3"]


def assert_equal(name: str, folder: Path) -> None:
    logits = load_file(CASES / name / "expected.safetensors")["logits"]
    torch.testing.assert_close(outputs(folder, expected(name)["ids"]), logits, atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize("name", FAMILIES)
def test_logits_equal_those_of_transformers(name: str, tmp_path: Path) -> None:
    converted = bring(copied(name, tmp_path), tmp_path / "out")
    _, tokenizer = loaded(tmp_path / "out")
    assert tokenizer.encode_batch(expected(name)["texts"]) == expected(name)["ids"]
    assert_equal(name, tmp_path / "out")
    assert converted.checkpoint.raw_config["eos_token"] == "</s>" and tokenizer.eos_id == 2
    assert "messages" in converted.checkpoint.raw_config["chat_template"]


def test_each_family_has_its_options(tmp_path: Path) -> None:
    configs = {name: bring(copied(name, tmp_path), tmp_path / f"out-{name}").checkpoint.config for name in FAMILIES}
    assert configs["gpt2"].activation == "gelu_tanh" and configs["gpt2"].tie_embeddings
    assert configs["llama"].rotary_scaling == (4.0, 1.0, 4.0, 16.0) and configs["llama"].rotary_base == 500_000.0
    assert not configs["llama"].tie_embeddings and configs["llama"].kv_heads == 2
    assert configs["mistral"].context_length == 48 and configs["mistral"].rotary_scaling == (2.0,)
    assert configs["qwen2"].qkv_bias and not configs["qwen2"].bias
    assert configs["qwen3"].qk_norm and configs["qwen3"].head_width == 6
    assert configs["smollm3"].rotary_skip == 2


def test_a_matrix_of_the_head_that_repeats_the_embedding(tmp_path: Path) -> None:
    source = copied("qwen2", tmp_path)
    tensors = load_file(source / "model.safetensors")
    tensors["lm_head.weight"] = tensors["model.embed_tokens.weight"].clone()
    save_file(tensors, source / "model.safetensors")
    bring(source, tmp_path / "out")
    assert_equal("qwen2", tmp_path / "out")
    tensors["lm_head.weight"][0, 0] += 1.0
    save_file(tensors, source / "model.safetensors")
    with pytest.raises(ForeignFileInvalid, match="tie_word_embeddings is true"):
        bring(source, tmp_path / "again")
    edit(source / "config.json", tie_word_embeddings=False)
    assert not bring(source, tmp_path / "untied").checkpoint.config.tie_embeddings


def test_buffers_of_old_files_are_ignored(tmp_path: Path) -> None:
    gpt2 = copied("gpt2", tmp_path)
    tensors = load_file(gpt2 / "model.safetensors")
    old = {name.removeprefix("transformer."): value for name, value in tensors.items()}
    old |= {"h.0.attn.bias": torch.ones(1, 1, 40, 40), "h.1.attn.masked_bias": torch.tensor(-1e4)}
    save_file(old, gpt2 / "model.safetensors")
    bring(gpt2, tmp_path / "a")
    assert_equal("gpt2", tmp_path / "a")
    llama = copied("llama", tmp_path)
    tensors = load_file(llama / "model.safetensors")
    tensors["model.layers.0.self_attn.rotary_emb.inv_freq"] = torch.ones(2)
    save_file(tensors, llama / "model.safetensors")
    bring(llama, tmp_path / "b")
    assert_equal("llama", tmp_path / "b")


def test_several_end_tokens_are_reported(tmp_path: Path) -> None:
    source = copied("llama", tmp_path)
    edit(source / "generation_config.json", eos_token_id=[2, 7])
    assert any("token ids 2, 7" in line for line in bring(source, tmp_path / "out").assumed)


def test_a_template_by_name_and_one_that_is_too_long(tmp_path: Path) -> None:
    source = copied("llama", tmp_path)
    (source / "chat_template.jinja").unlink()
    named = [{"name": "tool_use", "template": "x"}, {"name": "default", "template": "{{ messages }}"}]
    edit(source / "tokenizer_config.json", chat_template=named)
    assert bring(source, tmp_path / "a").checkpoint.raw_config["chat_template"] == "{{ messages }}"
    edit(source / "tokenizer_config.json", chat_template="x" * 70_000)
    converted = bring(source, tmp_path / "b")
    assert "chat_template" not in converted.checkpoint.raw_config
    assert any(line.startswith("dropped=chat_template") for line in converted.assumed)


@pytest.mark.parametrize(
    ("name", "changes", "message"),
    [
        ("llama", {"rope_scaling": {"type": "yarn", "factor": 2.0}}, "rotary positions 'yarn'"),
        ("llama", {"rope_scaling": {"type": "linear", "factor": 2.0, "beta": 1}}, "unexpected entries: beta"),
        ("llama", {"rope_scaling": {"type": "linear", "factor": "2"}}, "must be numbers"),
        ("llama", {"rope_scaling": {"type": "linear", "factor": -2.0}}, "rotary_scaling"),
        ("llama", {"partial_rotary_factor": 0.5}, "partial_rotary_factor is 0.5"),
        ("llama", {"hidden_act": "relu2"}, "hidden_act is 'relu2'"),
        ("llama", {"architectures": ["LlamaForSequenceClassification"]}, "LlamaForSequenceClassification"),
        ("llama", {"num_attention_heads": 8}, "do not match the network's configuration"),
        ("llama", {"head_dim": 3}, "head_width"),
        ("mistral", {"layer_types": ["chunked_attention"]}, "layer_types"),
        ("gpt2", {"scale_attn_by_inverse_layer_idx": True}, "scale_attn_by_inverse_layer_idx"),
        ("gpt2", {"activation_function": "mish"}, "activation_function is 'mish'"),
        ("smollm3", {"no_rope_layers": [0, 1]}, "no_rope_layers"),
    ],
)
def test_what_is_not_understood_is_refused_by_name(
    name: str, changes: dict[str, Any], message: str, tmp_path: Path
) -> None:
    source = copied(name, tmp_path)
    edit(source / "config.json", **changes)
    with pytest.raises(OstinatoError) as caught:
        bring(source, tmp_path / "out")
    assert message in str(caught.value)


def test_embeddings_of_a_decoder_are_refused(tmp_path: Path) -> None:
    source = copied("qwen3", tmp_path)
    modules = [{"path": "", "type": "a.Transformer"}, {"path": "1_Pooling", "type": "a.Pooling"}]
    (source / "modules.json").write_text(json.dumps(modules))
    (source / "1_Pooling").mkdir()
    (source / "1_Pooling" / "config.json").write_text('{"pooling_mode": "lasttoken"}')
    with pytest.raises(ForeignFileInvalid, match="from left to right"):
        bring(source, tmp_path / "out")
