"""Imported directories give the same token ids and outputs as transformers."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from app.errors import CheckpointInvalid, OstinatoError
from app.importing.pytorch.tensors import ForeignFileInvalid
from tests.importing.huggingface.directories import bring, copied, edit, expected, loaded, outputs


@pytest.mark.parametrize("name", ["bert", "distilbert", "roberta", "minilm", "modernbert", "modernbert-sentences"])
def test_outputs_equal_those_of_transformers(name: str, tmp_path: Path) -> None:
    bring(copied(name, tmp_path), tmp_path / "out")
    wanted, (_, tokenizer) = expected(name), loaded(tmp_path / "out")
    ids = tokenizer.encode_batch(wanted["texts"])
    ids += [tokenizer.encode_pair(*pair) for pair in wanted["pairs"][: len(wanted["ids"]) - len(ids)]]
    assert ids == wanted["ids"]
    answers = outputs(tmp_path / "out", wanted["ids"])
    torch.testing.assert_close(answers, torch.tensor(wanted["outputs"]), atol=1e-5, rtol=1e-5)


def test_the_names_of_special_tokens_in_a_text_are_ordinary_text(tmp_path: Path) -> None:
    """If `[SEP]` in a text became the special token, the text after it would be read as the second text of a pair."""
    bring(copied("bert", tmp_path), tmp_path / "out")
    _, tokenizer = loaded(tmp_path / "out")
    ids = tokenizer.encode("a [SEP] b")
    assert ids.count(tokenizer.encode("a")[-1]) == 1 and len(ids) > 5


def test_labels_and_task_come_from_the_configuration(tmp_path: Path) -> None:
    bert = bring(copied("bert", tmp_path), tmp_path / "a").checkpoint
    assert (bert.config.task, bert.labels) == ("multilabel", ["calm", "angry", "glad"])
    distilbert = bring(copied("distilbert", tmp_path), tmp_path / "b")
    assert (distilbert.checkpoint.config.task, distilbert.checkpoint.labels) == (
        "classification",
        ["LABEL_0", "LABEL_1"],
    )
    assert any(line.startswith("task=classification") for line in distilbert.assumed)
    assert bring(copied("roberta", tmp_path), tmp_path / "c").checkpoint.config.task == "regression"
    assert bring(tmp_path / "distilbert", tmp_path / "d", task="multilabel").checkpoint.config.task == "multilabel"


def test_a_text_is_as_long_as_in_the_original_program(tmp_path: Path) -> None:
    converted = bring(copied("minilm", tmp_path), tmp_path / "out")  # 64 positions; the tokenizer cuts at 40 tokens
    assert converted.checkpoint.config.context_length == 40
    assert any("model_max_length" in line for line in converted.assumed)
    edit(tmp_path / "minilm" / "tokenizer_config.json", model_max_length=1e30)
    assert bring(tmp_path / "minilm", tmp_path / "again").checkpoint.config.context_length == 48  # max_seq_length


def test_a_base_model_becomes_a_network_for_embeddings(tmp_path: Path) -> None:
    source = copied("minilm", tmp_path)
    (source / "modules.json").unlink()
    converted = bring(source, tmp_path / "out")
    assert (converted.checkpoint.config.task, converted.checkpoint.config.pooling) == ("embedding", "mean")
    assert {line.partition("=")[0] for line in converted.assumed} == {"pooling", "dropped", "context_length"}
    assert bring(source, tmp_path / "first", pooling="first").checkpoint.config.pooling == "first"
    answers = outputs(tmp_path / "first", expected("minilm")["ids"])
    torch.testing.assert_close(answers, torch.tensor(expected("minilm")["outputs"]), atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"auto_map": {"AutoModel": "modeling.Net"}}, "refers to code (auto_map)"),
        ({"model_type": "bart"}, "model_type is 'bart'"),
        ({"hidden_act": "swish2"}, "hidden_act is 'swish2'"),
        ({"position_embedding_type": "relative_key"}, "position_embedding_type is 'relative_key'"),
        ({"is_decoder": True}, "is_decoder is True"),
        ({"quantization_config": {"bits": 4}}, "quantization_config"),
        ({"memory_tokens": 4}, "entries that are not supported: memory_tokens"),
        ({"architectures": ["BertForTokenClassification"]}, "BertForTokenClassification"),
        ({"hidden_size": "16"}, "hidden_size is '16'"),
        ({"num_hidden_layers": 3}, "encoder.layer.2.attention.self.query.weight' is missing"),
        ({"num_hidden_layers": 1}, "tensors that cannot be imported: encoder.layer.1"),
        ({"num_attention_heads": 5}, "heads"),
        ({"id2label": {"0": "a"}}, "id2label"),
    ],
)
def test_what_is_not_understood_is_refused_by_name(changes: dict[str, object], message: str, tmp_path: Path) -> None:
    source = copied("bert", tmp_path)
    edit(source / "config.json", **changes)
    with pytest.raises(OstinatoError) as caught:
        bring(source, tmp_path / "out")
    assert message in str(caught.value)


def test_an_entry_without_effect_can_be_ignored(tmp_path: Path) -> None:
    source = copied("bert", tmp_path)
    edit(source / "config.json", trained_by="us")
    with pytest.raises(ForeignFileInvalid, match="--set ignore=trained_by"):
        bring(source, tmp_path / "out")
    bring(source, tmp_path / "out", ignore="trained_by")


def test_old_names_of_norms_and_a_missing_prefix(tmp_path: Path) -> None:
    source = copied("bert", tmp_path)
    tensors = {
        name.removeprefix("bert.").replace("LayerNorm.weight", "LayerNorm.gamma").replace("Norm.bias", "Norm.beta"): t
        for name, t in load_file(source / "model.safetensors").items()
    }
    save_file(tensors, source / "model.safetensors", {"format": "pt", "written_by": "an older version"})
    bring(source, tmp_path / "out")
    answers = outputs(tmp_path / "out", expected("bert")["ids"])
    torch.testing.assert_close(answers, torch.tensor(expected("bert")["outputs"]), atol=1e-5, rtol=1e-5)


def test_weights_that_are_not_finite_are_refused(tmp_path: Path) -> None:
    source = copied("bert", tmp_path)
    tensors = load_file(source / "model.safetensors")
    tensors["classifier.bias"][1] = float("nan")
    save_file(tensors, source / "model.safetensors")
    with pytest.raises(ForeignFileInvalid, match=r"classifier\.bias"):
        bring(source, tmp_path / "out")


def test_a_tokenizer_that_does_not_fit_is_refused(tmp_path: Path) -> None:
    source = copied("bert", tmp_path)
    (source / "tokenizer.json").write_text((copied("roberta", tmp_path) / "tokenizer.json").read_text())
    with pytest.raises(ForeignFileInvalid, match="but the embedding has"):
        bring(source, tmp_path / "out")
    edit(
        source / "tokenizer.json",
        pre_tokenizer={"type": "Split", "pattern": {"Regex": "(a+)+"}, "behavior": "Isolated"},
    )
    with pytest.raises(CheckpointInvalid, match="regular expression"):
        bring(source, tmp_path / "out")
    (source / "tokenizer.json").unlink()
    with pytest.raises(ForeignFileInvalid, match=r"AutoTokenizer\.from_pretrained"):
        bring(source, tmp_path / "out")
