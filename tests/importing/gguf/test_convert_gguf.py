"""Imported GGUF files of small models compute the same logits as transformers."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from app.errors import OstinatoError
from app.importing.gguf.convert_gguf import convert_gguf, is_gguf
from app.tokenization.tokenizer import Tokenizer
from tests.importing.gguf.files import model, write
from tests.importing.huggingface.directories import CASES, expected, outputs

SCALING = {"llama.rope.scaling.type": "linear", "llama.rope.scaling.factor": 2.0}


@pytest.mark.parametrize(("name", "architecture"), [("qwen2", "qwen2"), ("qwen3", "qwen3"), ("mistral", "llama")])
def test_logits_equal_those_of_transformers(name: str, architecture: str, tmp_path: Path) -> None:
    metadata, tensors = model(name, architecture)
    metadata |= SCALING if name == "mistral" else {}
    source = write(tmp_path / "model.gguf", metadata, tensors)
    assert is_gguf(source)
    converted = convert_gguf(source, tmp_path / "out")
    logits = load_file(CASES / name / "expected.safetensors")["logits"]
    torch.testing.assert_close(outputs(tmp_path / "out", expected(name)["ids"]), logits, atol=1e-4, rtol=1e-4)
    config = converted.checkpoint.raw_config
    assert (config["eos_token"], config["chat_template"]) == ("</s>", "{{ messages }}")
    tokenizer = Tokenizer.load(tmp_path / "out")
    assert tokenizer.eos_id == 2
    plain = [ids[1:-1] for ids in expected(name)["ids"]]  # the directory's tokenizer adds a token on each side
    assert tokenizer.encode_batch(expected(name)["texts"]) == plain


def test_a_first_token_is_added_if_the_file_asks_for_it(tmp_path: Path) -> None:
    metadata, tensors = model("qwen2", "qwen2")
    convert_gguf(write(tmp_path / "a.gguf", metadata | {"tokenizer.ggml.add_bos_token": True}, tensors), tmp_path / "a")
    assert Tokenizer.load(tmp_path / "a").encode("hello")[0] == metadata["tokenizer.ggml.bos_token_id"]


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"general.architecture": "mamba"}, "general.architecture is 'mamba'"),
        ({"qwen2.expert_count": 8}, "not supported: qwen2.expert_count"),
        ({"qwen2.rope.scaling.type": "yarn"}, "rotary positions 'yarn'"),
        ({"qwen2.rope.dimension_count": 2}, "width of a head"),
        ({"qwen2.block_count": 3}, "layers.2.input_layernorm.weight' is missing"),
        ({"split.count": 2}, "split.count"),
        ({"tokenizer.ggml.model": "llama"}, "its tokenizer (llama, gpt-2)"),
        ({"tokenizer.ggml.pre": "tekken"}, "its tokenizer (gpt2, tekken)"),
        ({"tokenizer.ggml.add_eos_token": True}, "add_eos_token"),
        ({"tokenizer.ggml.tokens": ["a", "b", "a"]}, "the token 'a' twice, as ids 0 and 2"),
        ({"tokenizer.ggml.tokens": ["a"]}, "does not fit"),
    ],
)
def test_what_is_not_understood_is_refused_by_name(changes: dict[str, Any], message: str, tmp_path: Path) -> None:
    metadata, tensors = model("qwen2", "qwen2")
    with pytest.raises(OstinatoError) as caught:
        convert_gguf(write(tmp_path / "a.gguf", metadata | changes, tensors), tmp_path / "out")
    assert message in str(caught.value)


def test_other_tensors_and_numbers_that_are_not_finite_are_refused(tmp_path: Path) -> None:
    metadata, tensors = model("qwen2", "qwen2")
    with pytest.raises(OstinatoError, match=r"cannot be imported: rope_freqs\.weight"):
        convert_gguf(write(tmp_path / "a.gguf", metadata, tensors | {"rope_freqs.weight": np.ones(2)}), tmp_path / "a")
    tensors["output_norm.weight"] = np.full(16, np.nan)
    with pytest.raises(OstinatoError, match="not finite"):
        convert_gguf(write(tmp_path / "b.gguf", metadata, tensors), tmp_path / "b")
