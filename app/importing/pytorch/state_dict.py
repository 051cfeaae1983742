"""Reads other programs' weights from safetensors files or `.pt` files written by `torch.save(model.state_dict())`.

Code in a file is never run, not even as a fallback.
"""

from __future__ import annotations

import zipfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import safetensors

from app.importing.pytorch import pickled
from app.importing.pytorch.stored import Storage, StoredTensor
from app.importing.pytorch.tensors import TYPES, ForeignFileInvalid, Tensors, flat, itemsize, to_float32, view
from app.importing.questions import Answers, Question

# The keys under which training scripts save the state dict, most common first.
WRAPPERS = ("model_state_dict", "state_dict", "model", "net", "network", "weights")
OPTIMIZERS = ("optim", "sched", "scaler")  # prefixes of the keys whose tensors are not weights
PREFIXES = ("_orig_mod.", "module.")  # torch.compile and DataParallel add these to every name
PICKLES = (".pt", ".pth", ".bin", ".ckpt", ".pkl", ".pickle")
WEIGHTS = (".safetensors", *PICKLES)
PICKLE_LIMIT = 64 * 2**20  # maximum size of the archive's pickle, in bytes
ADVICE = "save the weights with torch.save(model.state_dict(), …) in PyTorch 1.6 or later, or as safetensors"


def is_pickle(path: Path) -> bool:
    """Whether a file is named like a `.pt` file, or was written by `torch.save` under a name such as best.pth.tar."""
    return path.suffix.lower() in PICKLES or (path.suffix.lower() != ".safetensors" and _is_archive(path))


def is_weights(path: Path) -> bool:
    """Whether a path is a file with weights, by its suffix or its content."""
    return path.is_file() and (path.suffix.lower() == ".safetensors" or is_pickle(path))


def _is_archive(path: Path) -> bool:
    try:
        with zipfile.ZipFile(path) as archive:
            return any(_is_pickle_entry(name) for name in archive.namelist())
    except (zipfile.BadZipFile, NotImplementedError, OSError, ValueError):
        return False


def _is_pickle_entry(name: str) -> bool:
    return name.count("/") == 1 and name.endswith("/data.pkl")


@dataclass(frozen=True, slots=True)
class SavedWeights:
    """The weights in a file, as float32.

    `extras` contains the other entries of the file's dictionary. `order` lists the names of the tensors in the order in
    which the program defines them, or is None if the format does not preserve this order.
    """

    tensors: Tensors
    extras: Mapping[str, Any]
    order: list[str] | None


def read(path: Path, answers: Answers, *, allow_pickle_tensors: bool = False) -> SavedWeights:
    """Read the weights in a file. A `.pt` file is read only with `allow_pickle_tensors`.

    Raises ForeignFileInvalid for a file that is damaged, has an unsupported format, or contains more than plain data.
    """
    if not path.is_file():
        raise ForeignFileInvalid(f"{path} does not exist or is not a file")
    if path.suffix.lower() == ".safetensors":
        return SavedWeights(_plain_names(_read_safetensors(path)), {}, None)
    if not is_pickle(path):
        raise ForeignFileInvalid(f"{path.name}: weights must be in a .safetensors or .pt file")
    if not allow_pickle_tensors:
        raise ForeignFileInvalid(
            f"{path.name} is a pickle, a format that can contain code; save the weights as safetensors, or add "
            "--allow-pickle-tensors to read its tensors without running anything"
        )
    tensors, extras = _read_archive(path, answers)
    tensors = _plain_names(tensors)
    return SavedWeights(tensors, extras, list(tensors))


def _read_safetensors(path: Path) -> Tensors:
    try:
        entries: list[tuple[str, Any]] = safetensors.deserialize(path.read_bytes())  # type: ignore[no-untyped-call]
    except Exception as error:  # the library's own exception class is not public
        raise ForeignFileInvalid(f"{path.name} is not a safetensors file: {error}") from None
    tensors = {}
    for name, entry in entries:
        if entry["dtype"] not in TYPES:
            raise ForeignFileInvalid(f"{name}: the data type {entry['dtype']} is not supported")
        numbers, shape = flat(bytes(entry["data"]), entry["dtype"]), tuple(entry["shape"])
        tensors[name] = to_float32(numbers.reshape(shape))
    return tensors


def _read_archive(path: Path, answers: Answers) -> tuple[Tensors, dict[str, Any]]:
    try:
        with zipfile.ZipFile(path) as archive:
            return _Archive(archive).weights(answers)
    except (zipfile.BadZipFile, NotImplementedError, EOFError, RuntimeError, UnicodeDecodeError) as error:
        raise ForeignFileInvalid(f"{path.name} is not a PyTorch archive ({error}); {ADVICE}") from None


class _Archive:
    """The zip file that `torch.save` writes: a pickle, and one uncompressed entry for each storage."""

    def __init__(self, archive: zipfile.ZipFile) -> None:
        self._archive = archive
        names = [info.filename for info in archive.infolist()]
        pickles = [name for name in names if _is_pickle_entry(name)]
        if len(pickles) != 1 or len(set(names)) != len(names):
            raise ForeignFileInvalid(f"the archive does not contain exactly one state dict; {ADVICE}")
        self._root = pickles[0].removesuffix("data.pkl")
        if self._root + "constants.pkl" in names:
            raise ForeignFileInvalid(f"this is a TorchScript program, not a state dict; {ADVICE}")
        order = self._root + "byteorder"
        if order in names and self._bytes("byteorder", 16) != b"little":
            raise ForeignFileInvalid("the file was written on a big-endian machine, which is not supported")
        self._storages: dict[str, Any] = {}

    def weights(self, answers: Answers) -> tuple[Tensors, dict[str, Any]]:
        """Return the tensors in the state dict, and the other entries in the file."""
        stored, extras = _find_state_dict(pickled.read(self._bytes("data.pkl", PICKLE_LIMIT)), answers)
        return {name: self._tensor(name, tensor) for name, tensor in stored.items()}, extras

    def _bytes(self, name: str, limit: int) -> bytes:
        try:
            info = self._archive.getinfo(self._root + name)
        except KeyError:
            raise ForeignFileInvalid(f"the archive does not contain {name!r}; {ADVICE}") from None
        if info.compress_type != zipfile.ZIP_STORED or info.file_size > limit:
            raise ForeignFileInvalid(f"the archive's {name!r} is compressed or too large; {ADVICE}")
        return self._archive.read(info)

    def _tensor(self, name: str, stored: StoredTensor) -> Any:
        storage = stored.storage
        if storage.key not in self._storages:
            self._storages[storage.key] = (storage, self._numbers(storage))
        first, numbers = self._storages[storage.key]
        if first != storage:
            raise ForeignFileInvalid(f"{name}: its storage is described in two different ways")
        return view(numbers, stored.offset, stored.shape, stored.strides, name)

    def _numbers(self, storage: Storage) -> Any:
        size = storage.count * itemsize(storage.dtype)
        data = self._bytes(f"data/{storage.key}", size)
        if len(data) != size:
            raise ForeignFileInvalid(f"storage {storage.key!r} has {len(data)} bytes instead of {size}")
        return flat(data, storage.dtype)


def _find_state_dict(value: Any, answers: Answers) -> tuple[dict[str, StoredTensor], dict[str, Any]]:
    """Return the tensors of a state dict, which may be an entry of a larger dictionary."""
    if not isinstance(value, dict):
        raise ForeignFileInvalid(f"the file does not contain a dictionary of tensors; {ADVICE}")
    if not value:
        raise ForeignFileInvalid(f"the file's dictionary is empty; {ADVICE}")
    if all(isinstance(item, StoredTensor) for item in value.values()):
        return {str(name): item for name, item in value.items()}, {}
    candidates = dict(_state_dicts(value))
    if not candidates:
        inner = next((value[key] for key in WRAPPERS if isinstance(value.get(key), dict)), value)
        others = [str(name) for name, item in inner.items() if not isinstance(item, StoredTensor)]
        raise ForeignFileInvalid(f"these entries are not tensors: {', '.join(others[:20])}; {ADVICE}")
    key = next(iter(candidates))
    if len(candidates) > 1:
        usual = next((name for name in WRAPPERS if name in candidates), key)
        key = answers.ask(
            Question(
                "weights", f"which of these entries contains the weights? The usual entry is {usual}", tuple(candidates)
            )
        )
    return candidates[key], _extras(value, key)


def _extras(value: dict[Any, Any], path: str) -> dict[str, Any]:
    """Return all entries of the file except the state dict at `path`, which is a key or two keys joined by a slash."""
    extras = {str(name): item for name, item in value.items()}
    if path in extras:
        del extras[path]
        return extras
    outer = path.partition("/")[0]
    return extras | {f"{outer}/{name}": item for name, item in extras.pop(outer).items() if f"{outer}/{name}" != path}


def _state_dicts(value: dict[Any, Any], path: str = "") -> Iterator[tuple[str, dict[str, StoredTensor]]]:
    """Yield (path, dictionary) for each dictionary of tensors that contains a matrix, up to two keys deep."""
    for key, item in value.items():
        if not isinstance(item, dict) or not item or str(key).lower().startswith(OPTIMIZERS):
            continue
        tensors = [inner for inner in item.values() if isinstance(inner, StoredTensor)]
        if len(tensors) == len(item) and any(len(tensor.shape) > 1 for tensor in tensors):
            yield f"{path}{key}", {str(name): tensor for name, tensor in item.items()}
        elif not path:
            yield from _state_dicts(item, f"{key}/")


def _plain_names(tensors: Tensors) -> Tensors:
    """Return the tensors with the prefixes of wrapper modules removed from their names."""
    for prefix in PREFIXES:
        if tensors and all(name.startswith(prefix) for name in tensors):
            tensors = {name.removeprefix(prefix): tensor for name, tensor in tensors.items()}
    return tensors
