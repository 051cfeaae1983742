"""Errors about files from other programs name the format of the file."""

from __future__ import annotations

import zipfile
from pathlib import Path

import pytest
import torch
from torch import nn

from app.importing.formats import describe


def archive(path: Path, *names: str) -> Path:
    with zipfile.ZipFile(path, "w") as file:
        for name in names:
            file.writestr(name, b"{}")
    return path


@pytest.mark.parametrize("name", ["model.h5", "model.pt", "weights.hdf5"])
def test_hdf5_is_known_by_its_first_bytes(name: str, tmp_path: Path) -> None:
    (tmp_path / name).write_bytes(b"\x89HDF\r\n\x1a\n" + bytes(100))
    assert "Keras" in str(describe(tmp_path / name))


def test_keras(tmp_path: Path) -> None:
    assert "Keras" in str(describe(archive(tmp_path / "a.keras", "config.json", "model.weights.h5")))
    assert "Keras" in str(describe(archive(tmp_path / "a.zip", "metadata.json", "model.weights.h5")))
    (tmp_path / "empty.h5").write_bytes(b"")
    assert "Keras" in str(describe(tmp_path / "empty.h5"))


@pytest.mark.parametrize("name", ["model.pt", "model.ts", "model.pth"])
def test_torchscript(name: str, tmp_path: Path) -> None:
    archive(tmp_path / name, "model/data.pkl", "model/constants.pkl", "model/code/__torch__.py")
    assert "TorchScript" in str(describe(tmp_path / name)) and "state_dict" in str(describe(tmp_path / name))


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        ("m.onnx", "ONNX"), ("m.tflite", "TensorFlow Lite"), ("m.pb", "TensorFlow"),
        ("m.npz", "NumPy"), ("m.joblib", "scikit-learn"), ("m.jit", "TorchScript"),
        ("m.pt2", "torch.export"), ("m.ftz", "fastText"), ("m.mlmodel", "Core ML"), ("m.pte", "ExecuTorch"),
        ("m.engine", "TensorRT"), ("m.msgpack", "Flax"),
    ],
)  # fmt: skip
def test_other_files_by_their_names(name: str, kind: str, tmp_path: Path) -> None:
    (tmp_path / name).write_bytes(b"x")
    assert kind in str(describe(tmp_path / name))


@pytest.mark.parametrize("name", ["model.pt2", "model.pt", "model.pth"])
@pytest.mark.parametrize(
    "entries", [("m/archive_format", "m/models/model.json"), ("serialized_exported_program.json",)]
)
def test_torch_export(name: str, entries: tuple[str, ...], tmp_path: Path) -> None:
    """Older releases of PyTorch write a different archive for the same format."""
    archive(tmp_path / name, *entries)
    assert "torch.export" in str(describe(tmp_path / name)) and "state_dict" in str(describe(tmp_path / name))


@pytest.mark.filterwarnings("ignore")
def test_a_file_that_torch_export_has_written(tmp_path: Path) -> None:
    program = torch.export.export(nn.Linear(3, 2), (torch.zeros(1, 3),))
    torch.export.save(program, tmp_path / "model.pt2")
    (tmp_path / "model.pt2").rename(tmp_path / "model.pt")
    assert "torch.export" in str(describe(tmp_path / "model.pt"))


def test_fasttext_is_known_by_its_first_bytes(tmp_path: Path) -> None:
    (tmp_path / "model.bin").write_bytes(bytes.fromhex("ba164f2f0c000000") + bytes(100))
    assert "fastText" in str(describe(tmp_path / "model.bin"))


def test_directories(tmp_path: Path) -> None:
    (tmp_path / "tf").mkdir()
    (tmp_path / "tf" / "saved_model.pb").write_bytes(b"")
    assert "SavedModel" in str(describe(tmp_path / "tf"))
    (tmp_path / "m.mlpackage").mkdir()
    assert "Core ML" in str(describe(tmp_path / "m.mlpackage"))
    for folder, config, kind in (
        ("hf", '{"model_type": "bert"}', None),
        ("ours", '{"format_version": 1}', None),
        ("bad", "{", None),
        ("list", "[]", None),
    ):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / "config.json").write_text(config)
        description = describe(tmp_path / folder)
        assert description is None if kind is None else kind in str(description)
    assert describe(tmp_path / "nothing") is None


def test_weights_and_archives_of_checkpoints_are_not_named(tmp_path: Path) -> None:
    torch.save(nn.Linear(2, 2).state_dict(), tmp_path / "model.pt")
    (tmp_path / "x.safetensors").write_bytes(b"")
    (tmp_path / "broken.pt").write_bytes(b"PK\x03\x04" + bytes(20))
    archive(tmp_path / "plain.zip", "notes.txt")
    assert "TorchServe" in str(describe(archive(tmp_path / "m.mar", "MAR-INF/MANIFEST.json", "model.pt")))
    for name in ("model.pt", "x.safetensors", "broken.pt", "plain.zip"):
        assert describe(tmp_path / name) is None
