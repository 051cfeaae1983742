"""Identifies the formats of files that cannot be imported."""

from __future__ import annotations

import zipfile
from pathlib import Path

ADVICE = "save plain weights from the program that wrote the file: torch.save(model.state_dict(), 'model.pt')"
KERAS = (
    "named like a Keras model, but is neither an HDF5 file nor a Keras archive; save the model again with "
    "model.save('model.keras')"
)
TORCHSCRIPT = f"a TorchScript program (torch.jit), which contains code; {ADVICE}"
TORCH_EXPORT = f"a program of torch.export, which contains operations instead of layers; {ADVICE}"
CORE_ML = "a Core ML model, which cannot be imported"
FASTTEXT = "a fastText model, which cannot be imported; train a similar classifier with the architecture linear"
SUFFIXES = {
    ".keras": KERAS, ".h5": KERAS, ".hdf5": KERAS,
    ".onnx": "an ONNX graph, which cannot be imported",
    ".tflite": "a TensorFlow Lite model, which cannot be imported",
    ".pb": "a TensorFlow graph, which cannot be imported",
    ".npz": f"NumPy arrays without a network; {ADVICE}",
    ".npy": f"NumPy arrays without a network; {ADVICE}",
    ".joblib": "a joblib file, usually a scikit-learn model, which cannot be imported",
    ".ts": TORCHSCRIPT, ".jit": TORCHSCRIPT, ".ptl": TORCHSCRIPT, ".torchscript": TORCHSCRIPT,
    ".pt2": TORCH_EXPORT, ".mlmodel": CORE_ML, ".ftz": FASTTEXT,
    ".pte": f"an ExecuTorch program, which contains operations instead of layers; {ADVICE}",
    ".engine": "a TensorRT engine, which cannot be imported",
    ".msgpack": "a Flax checkpoint, which cannot be imported",
}  # fmt: skip
MAGIC = {
    b"\x89HDF\r\n\x1a\n": "an HDF5 file, which can only be imported if it is a Keras model",
    b"\xba\x16\x4f\x2f": FASTTEXT,
}


def describe(path: Path) -> str | None:
    """Return the format of a file or directory that cannot be imported, or None if it may be importable."""
    if path.is_dir():
        return _describe_directory(path)
    if not path.is_file():
        return None
    with path.open("rb") as file:
        start = file.read(16)
    for magic, kind in MAGIC.items():
        if start.startswith(magic):
            return kind
    if start.startswith(b"PK") and (archive := _describe_zip(path)):
        return archive
    return SUFFIXES.get(path.suffix.lower())


def _describe_zip(path: Path) -> str | None:
    try:
        with zipfile.ZipFile(path) as archive:
            names = archive.namelist()
    except (zipfile.BadZipFile, OSError, NotImplementedError, ValueError):
        return None
    if any(name.count("/") == 1 and name.endswith("/constants.pkl") for name in names):
        return TORCHSCRIPT
    if any(name.count("/") == 1 and name.endswith("/archive_format") for name in names):
        return TORCH_EXPORT
    if "serialized_exported_program.json" in names:  # as written by earlier releases of PyTorch
        return TORCH_EXPORT
    if "model.weights.h5" in names:
        return KERAS
    return (
        "a TorchServe archive; unpack it and import the weights that it contains"
        if "MAR-INF/MANIFEST.json" in names
        else None
    )


def _describe_directory(path: Path) -> str | None:
    if (path / "saved_model.pb").is_file():
        return "a TensorFlow SavedModel, which cannot be imported; save the model with model.save('model.keras')"
    return CORE_ML if path.suffix.lower() == ".mlpackage" else None
