"""Reads the weights in a Hugging Face directory: in safetensors or PyTorch format, in one file or in shards."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from app.checkpoint.weights import SIZES, read_header
from app.errors import CheckpointInvalid
from app.importing.huggingface.directory import inner, read_object
from app.importing.pytorch import state_dict
from app.importing.pytorch.tensors import TYPES, ForeignFileInvalid, Tensors, flat, to_float32
from app.importing.questions import Answers

SAFETENSORS, PICKLE = "model.safetensors", "pytorch_model.bin"
INDEX = ".index.json"
OTHERS = ("tf_model.h5", "flax_model.msgpack", "model.onnx", "rust_model.ot")


def find_files(folder: Path) -> list[Path]:
    """Return the files that contain the weights. Prefers safetensors. Raises ForeignFileInvalid if any are missing."""
    for name in (SAFETENSORS, PICKLE):
        if (folder / name).is_file():
            return [folder / name]
        if (folder / (name + INDEX)).is_file():
            return _shards(folder, name + INDEX)
    others = [name for name in OTHERS if (folder / name).is_file()]
    hint = f"; {others[0]} cannot be imported" if others else ""
    raise ForeignFileInvalid(f"{folder} has no {SAFETENSORS} or {PICKLE}, and no index of such files{hint}")


def _shards(folder: Path, index: str) -> list[Path]:
    names = read_object(folder / index, required=True).get("weight_map")
    if not isinstance(names, dict) or not names:
        raise ForeignFileInvalid(f"{index} has no weight_map")
    paths = list(dict.fromkeys(inner(folder, name, index) for name in names.values()))
    if missing := [path.name for path in paths if not path.is_file()]:
        raise ForeignFileInvalid(f"{index} names files that do not exist: {', '.join(missing[:10])}")
    return paths


def read_weights(files: list[Path], answers: Answers, *, allow_pickle_tensors: bool) -> Tensors:
    """Return the tensors in all files, as float32.

    Raises ForeignFileInvalid for a file that is damaged or contains code.
    """
    tensors: Tensors = {}
    for path in files:
        if path.suffix == ".safetensors":
            part = read_safetensors(path)
        else:
            part = state_dict.read(path, answers, allow_pickle_tensors=allow_pickle_tensors).tensors
        if repeated := sorted(tensors.keys() & part.keys()):
            raise ForeignFileInvalid(f"{path.name}: the tensor {repeated[0][:80]!r} is also in another file")
        tensors |= part
    return tensors


def read_safetensors(path: Path) -> Tensors:
    """Return the tensors in a file. The header is checked against the file size before any tensor is read."""
    try:
        header = read_header(path, any_metadata=True)
    except CheckpointInvalid as error:
        raise ForeignFileInvalid(error.message.replace(SAFETENSORS, path.name, 1)) from None
    if unknown := next((name for name, entry in header.items() if entry.dtype not in TYPES), None):
        raise ForeignFileInvalid(f"{unknown[:80]}: the data type {header[unknown].dtype} is not supported")
    data = np.memmap(path, np.uint8, mode="r")
    start = len(data) - max(entry.end for entry in header.values())
    tensors = {}
    for name, entry in header.items():
        assert entry.end - entry.begin == entry.elements * SIZES[entry.dtype]
        numbers = flat(data[start + entry.begin : start + entry.end].tobytes(), entry.dtype)
        tensors[name] = to_float32(numbers.reshape(entry.shape))
    return tensors
