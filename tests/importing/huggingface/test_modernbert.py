"""ModernBERT's windows and rotary positions are read from the keys of transformers 4 and 5, or refused by name."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

from app.importing.pytorch.tensors import ForeignFileInvalid
from tests.importing.huggingface.directories import bring, copied, edit, expected, outputs

DEFAULT = {"rope_type": "default", "rope_theta": 10_000.0}


def test_fields_come_from_the_configuration(tmp_path: Path) -> None:
    new = bring(copied("modernbert", tmp_path), tmp_path / "new").checkpoint.config
    assert (new.attention_window, new.global_every, new.rotary_base, new.local_rotary_base) == (3, 3, 160_000.0, 1e4)
    assert (new.pooling, new.head_norm, new.norm_bias, new.bias) == ("mean", True, False, False)
    old = bring(copied("modernbert-sentences", tmp_path), tmp_path / "old")
    config = old.checkpoint.config
    assert (config.attention_window, config.global_every, config.rotary_base, config.local_rotary_base) == (
        3, 2, 5_000.0, 50.0,
    )  # fmt: skip
    assert (config.task, config.pooling, config.norm_bias, config.bias) == ("embedding", "mean", True, True)
    assert any(line.startswith("dropped=decoder, head: these") for line in old.assumed)


def test_windows_that_are_longer_than_the_texts_have_no_effect(tmp_path: Path) -> None:
    source = copied("modernbert", tmp_path)
    edit(source / "config.json", local_attention=128)
    bring(source, tmp_path / "wide")
    same = {"rope_parameters": None, "global_rope_theta": 1e4, "local_rope_theta": 1e4}
    edit(source / "config.json", **same)
    bring(source, tmp_path / "local")
    edit(source / "config.json", **same | {"local_rope_theta": 50.0}, layer_types=["full_attention"] * 4)
    config = bring(source, tmp_path / "global").checkpoint.config
    assert (config.attention_window, config.global_every, config.local_rotary_base) == (0, 0, 1e4)
    ids = expected("modernbert")["ids"]
    narrow = torch.tensor(expected("modernbert")["outputs"])
    assert not torch.allclose(outputs(tmp_path / "wide", ids), narrow, atol=1e-2)
    assert torch.allclose(outputs(tmp_path / "local", ids), outputs(tmp_path / "global", ids), atol=1e-6)


def test_equal_settings_in_other_words(tmp_path: Path) -> None:
    source = copied("modernbert", tmp_path)
    wanted = expected("modernbert")
    edit(
        source / "config.json", local_attention=7, hidden_activation="gelu_python", classifier_activation="gelu_python"
    )
    config = bring(source, tmp_path / "same").checkpoint.config
    assert (config.attention_window, config.activation, config.head_activation) == (3, "geglu", "gelu")
    torch.testing.assert_close(outputs(tmp_path / "same", wanted["ids"]), torch.tensor(wanted["outputs"]))
    edit(source / "config.json", hidden_activation="silu", classifier_activation="silu")
    config = bring(source, tmp_path / "silu").checkpoint.config
    assert (config.activation, config.head_activation) == ("swiglu", "silu")


def test_without_a_local_base_all_layers_have_the_same(tmp_path: Path) -> None:
    source = copied("modernbert-sentences", tmp_path)
    values = json.loads((source / "config.json").read_text())
    (source / "config.json").write_text(json.dumps(values | {"local_rope_theta": None}))
    config = bring(source, tmp_path / "out").checkpoint.config
    assert (config.rotary_base, config.local_rotary_base) == (5_000.0, 5_000.0)


def test_biases_of_some_matrices(tmp_path: Path) -> None:
    source = copied("modernbert", tmp_path)
    tensors = load_file(source / "model.safetensors")
    tensors["head.dense.bias"] = torch.zeros(16)
    for layer in range(4):
        tensors |= {f"model.layers.{layer}.mlp.{name}.bias": torch.zeros(n) for name, n in (("Wi", 48), ("Wo", 16))}
    save_file(tensors, source / "model.safetensors", {"format": "pt"})
    with pytest.raises(ForeignFileInvalid, match=r"cannot be imported: .*bias"):
        bring(source, tmp_path / "refused")
    edit(source / "config.json", mlp_bias=True, classifier_bias=True)
    bring(source, tmp_path / "out")
    wanted = expected("modernbert")
    torch.testing.assert_close(outputs(tmp_path / "out", wanted["ids"]), torch.tensor(wanted["outputs"]))


def test_a_bias_that_the_configuration_does_not_mention_is_refused(tmp_path: Path) -> None:
    source = copied("modernbert", tmp_path)
    tensors = load_file(source / "model.safetensors")
    save_file(tensors | {"head.dense.bias": torch.ones(16)}, source / "model.safetensors", {"format": "pt"})
    with pytest.raises(ForeignFileInvalid, match=r"cannot be imported: head\.dense\.bias"):
        bring(source, tmp_path / "out")


@pytest.mark.parametrize("name", ["distilbert", "gpt2", "modernbert"])
def test_only_an_encoder_without_a_classifier_drops_the_layers_for_masked_tokens(name: str, tmp_path: Path) -> None:
    source = copied(name, tmp_path)
    tensors = load_file(source / "model.safetensors") | {"decoder.bias": torch.ones(3)}
    tensors |= {} if name == "modernbert" else {"head.norm.weight": torch.ones(16)}
    save_file(tensors, source / "model.safetensors", {"format": "pt"})
    with pytest.raises(ForeignFileInvalid, match=r"cannot be imported: .*decoder\.bias"):
        bring(source, tmp_path / "out")


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"hidden_activation": "relu"}, "hidden_activation is 'relu'; must be one of gelu, gelu_python, silu"),
        ({"classifier_activation": "gelu_new"}, "classifier_activation is 'gelu_new'"),
        ({"classifier_pooling": "max"}, "classifier_pooling is 'max'"),
        ({"layer_types": ["sliding_attention", "full_attention"] * 2}, "only each n-th layer, starting with the first"),
        ({"layer_types": ["full_attention"] * 3}, "layer_types is"),
        ({"layer_types": ["chunked_attention"] * 4}, "layer_types is"),
        ({"local_attention": 1}, "local_attention is 1; must be an integer of 2 or more"),
        ({"local_attention": 8194}, "local_attention is 8194; must be at most 8193"),
        ({"rope_scaling": {"rope_type": "linear", "factor": 2.0}}, "rope_scaling is"),
        ({"rope_parameters": {"full_attention": DEFAULT | {"rope_type": "yarn"}}}, "rope_parameters is"),
        ({"rope_parameters": {"full_attention": DEFAULT | {"factor": 2.0}}}, "only rope_type and rope_theta"),
        ({"rope_parameters": DEFAULT}, "with the entries full_attention and sliding_attention"),
        ({"position_embedding_type": "sans_pos"}, "position_embedding_type is 'sans_pos'"),
        ({"head_dim": 8}, "head_dim is 8"),
        ({"norm_bias": True}, "embeddings.norm.bias' is missing"),
        ({"causal": True}, "entries that are not supported: causal"),
        ({"architectures": ["ModernBertForTokenClassification"]}, "ModernBertForTokenClassification"),
    ],
)
def test_what_is_not_understood_is_refused_by_name(changes: dict[str, Any], message: str, tmp_path: Path) -> None:
    source = copied("modernbert", tmp_path)
    edit(source / "config.json", **changes)
    with pytest.raises(ForeignFileInvalid) as caught:
        bring(source, tmp_path / "out")
    assert message in str(caught.value)
