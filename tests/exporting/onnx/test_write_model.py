"""ONNX files compute the outputs of the networks, for every architecture and option."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import pytest
import torch
from safetensors.torch import save_file

from app.checkpoint import directory as checkpoint
from app.exporting.convert_version import convert_version
from app.exporting.onnx import write_model
from app.exporting.source_version import ExportRefused
from models.config import ModelConfig
from models.tasks import Embedder, build_for_inference
from tests.importing.huggingface.directories import bring, copied
from tests.models.configurations import SMALL, VARIANTS, batch, classifiers, with_branches

CLOSE = 1e-4
EMBEDDERS = {
    name: ModelConfig(task="embedding", vocab_size=23, pooling=pooling, **SMALL | VARIANTS[name])
    for name, pooling in (("lstm", "last"), ("gru", "max"), ("transformer-bert", "mean"), ("transformer", "first"))
}
# A quarter of all combinations of options, because each takes a fraction of a second, and all special configurations.
CHOSEN = [
    name for n, name in enumerate(classifiers()) if n % 4 == 0 or not name.endswith(("tokens", "features", "both"))
]
TOKENIZER = json.dumps({"version": "1.0", "model": {"type": "WordLevel", "vocab": {"a": 0}, "unk_token": "a"}})


def written(folder: Path, config: ModelConfig, **extra: Any) -> tuple[Path, Any]:
    """The directory of a version with random weights, and its network."""
    torch.manual_seed(0)
    network = build_for_inference(config)
    for parameter in network.parameters():
        torch.nn.init.normal_(parameter, std=0.3)
    folder.mkdir()
    save_file(network.state_dict(), folder / "model.safetensors")
    checkpoint.write_json(folder / "config.json", {"format_version": 1, **config.to_dict(), **extra})
    if config.input == "tokens":
        (folder / "tokenizer.json").write_text(TOKENIZER)
    if config.task in ("classification", "multilabel"):
        checkpoint.write_json(folder / "labels.json", [f"label {n}" for n in range(config.classes)])
    return folder, network.eval()


def run(directory: Path, inputs: torch.Tensor, lengths_B: torch.Tensor) -> dict[str, np.ndarray]:
    """The outputs of ONNX Runtime, by name. The padding of `inputs` consists of random numbers."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    session = onnxruntime.InferenceSession(directory / "model.onnx", options)
    mask = (torch.arange(inputs.shape[1]) < lengths_B[:, None]).long()
    name = "input_ids" if inputs.ndim == 2 else "features"
    names = [output.name for output in session.get_outputs()]
    values = session.run(names, {name: inputs.numpy(), "attention_mask": mask.numpy()})
    return dict(zip(names, values, strict=True))


@pytest.mark.parametrize("name", CHOSEN)
def test_a_classifier_in_onnx_gives_its_own_outputs(name: str, tmp_path: Path) -> None:
    config = classifiers()[name]
    version, network = written(tmp_path / "version", config)
    convert_version(version, tmp_path / "out", "onnx")
    inputs, lengths_B = batch(config)
    with torch.inference_mode():
        expected = network(inputs, lengths_B).numpy()
    outputs = run(tmp_path / "out", inputs, lengths_B)
    first = outputs["value" if config.task == "regression" else "logits"]
    assert np.abs(first - expected).max() < CLOSE
    if config.task == "classification":
        assert np.abs(outputs["probabilities"].sum(1) - 1).max() < CLOSE


@pytest.mark.parametrize("name", EMBEDDERS)
def test_an_encoder_in_onnx_gives_its_own_embeddings(name: str, tmp_path: Path) -> None:
    config = EMBEDDERS[name]
    version, network = written(tmp_path / "version", config)
    assert isinstance(network, Embedder)
    convert_version(version, tmp_path / "out", "onnx")
    inputs, lengths_B = batch(config)
    with torch.inference_mode():
        expected = network.embed(inputs, lengths_B).numpy()
    assert np.abs(run(tmp_path / "out", inputs, lengths_B)["embedding"] - expected).max() < CLOSE


def test_scales_of_numbers_and_values_are_part_of_the_graph(tmp_path: Path) -> None:
    config = ModelConfig(architecture="gru", task="regression", input="features", features=2, classes=1, width=8)
    scales = {"mean": [1.0, -2.0], "std": [3.0, 0.5]}
    version, network = written(tmp_path / "version", config, normalization=scales, target={"mean": 5.0, "std": 2.0})
    convert_version(version, tmp_path / "out", "onnx")
    inputs, lengths_B = torch.randn(3, 4, 2), torch.tensor([4, 2, 1])
    with torch.inference_mode():
        standard = (inputs - torch.tensor(scales["mean"])) / torch.tensor(scales["std"])
        expected = 5.0 + 2.0 * network(standard, lengths_B).numpy()
    assert np.abs(run(tmp_path / "out", inputs, lengths_B)["value"] - expected).max() < CLOSE


def test_large_numbers_keep_their_digits(tmp_path: Path) -> None:
    """Near 1.2e8, the numbers of float32 are 8 apart, so the mean must be subtracted in float64."""
    config = ModelConfig(architecture="gru", task="regression", input="features", features=2, classes=1, width=8)
    scales = {"mean": [123_456_700.25, -2.0], "std": [1.5, 0.5], "dtype": "float64"}
    version, network = written(tmp_path / "version", config, normalization=scales)
    convert_version(version, tmp_path / "out", "onnx")
    standard, lengths_B = torch.randn(3, 4, 2), torch.tensor([4, 2, 1])
    inputs = torch.tensor(scales["mean"], dtype=torch.float64) + torch.tensor(scales["std"]) * standard
    with torch.inference_mode():
        expected = network(standard, lengths_B).numpy()
    assert np.abs(run(tmp_path / "out", inputs, lengths_B)["value"] - expected).max() < CLOSE
    assert "np.zeros((1, 10, 2), np.float64)" in (tmp_path / "out" / "README.md").read_text()


def test_large_values_keep_their_digits(tmp_path: Path) -> None:
    """Near 1.8e9, the numbers of float32 are 128 apart."""
    config = ModelConfig(architecture="gru", task="regression", input="features", features=2, classes=1, width=8)
    mean, std = 1_795_000_000.0, 57_735.0
    version, network = written(tmp_path / "version", config, target={"mean": mean, "std": std})
    convert_version(version, tmp_path / "out", "onnx")
    inputs, lengths_B = torch.randn(9, 4, 2), torch.full((9,), 4)
    with torch.inference_mode():
        expected = mean + std * network(inputs, lengths_B).numpy().astype(np.float64)
    assert np.abs(run(tmp_path / "out", inputs, lengths_B)["value"] - expected).max() < 1.0


def test_an_imported_version_brings_its_tokenizer_and_its_labels(tmp_path: Path) -> None:
    bring(copied("bert", tmp_path), tmp_path / "version")
    assert convert_version(tmp_path / "version", tmp_path / "out", "onnx") == "logits, probabilities"
    names = sorted(path.name for path in (tmp_path / "out").iterdir())
    assert names == ["README.md", "labels.json", "model.onnx", "tokenizer.json"]
    session = onnxruntime.InferenceSession(tmp_path / "out" / "model.onnx")
    metadata = session.get_modelmeta().custom_metadata_map
    assert json.loads(metadata["labels"]) == ["calm", "angry", "glad"] and metadata["task"] == "multilabel"


@pytest.mark.parametrize(
    ("config", "message"),
    [
        (
            ModelConfig(architecture="lstm", task="generation", vocab_size=23, width=8),
            "can be exported to ONNX, not language models",
        ),
        (with_branches()["gru-classification-ngrams"], r"n-gram branch of this version reads .* --no-ngrams"),
        (with_branches()["linear-regression-ngrams"], r"n-gram branch of this version reads .* --no-ngrams"),
    ],
)
def test_what_onnx_cannot_compute_is_refused_by_name(config: ModelConfig, message: str, tmp_path: Path) -> None:
    version, _ = written(tmp_path / "version", config)
    with pytest.raises(ExportRefused, match=message):
        convert_version(version, tmp_path / "out", "onnx")
    assert not (tmp_path / "out").exists()


def test_the_size_of_the_whole_file_is_limited(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    version, network = written(tmp_path / "version", EMBEDDERS["lstm"])
    weights = sum(parameter.nbytes for parameter in network.state_dict().values())
    monkeypatch.setattr(write_model, "SLACK", 0)
    monkeypatch.setattr(write_model, "LIMIT", weights)
    with pytest.raises(ExportRefused, match="2 GiB"):
        convert_version(version, tmp_path / "onnx", "onnx")
    assert not (tmp_path / "onnx").exists()
