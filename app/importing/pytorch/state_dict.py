"""Reading other people's weights: safetensors, or a `.pt` file of `torch.save(model.state_dict())`.

Knows files; knows no network. Nothing in a file is ever run, and there is no second, more trusting way to read one.
"""

from __future__ import annotations

import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import safetensors

from app.importing.pytorch import pickled
from app.importing.pytorch.pickled import Storage, StoredTensor
from app.importing.pytorch.tensors import TYPES, ForeignFileInvalid, Tensors, flat, itemsize, view

WRAPPERS = ("model_state_dict", "state_dict", "model")  # where training scripts keep it beside their optimizer
PREFIXES = ("_orig_mod.", "module.")  # what torch.compile and DataParallel put before every name
PICKLES = (".pt", ".pth", ".bin", ".ckpt", ".pkl", ".pickle")
WEIGHTS = (".safetensors", *PICKLES)
PICKLE_LIMIT = 64 * 2**20
FORM = "save it as torch.save(model.state_dict(), …) of PyTorch 1.6 or later does, or as safetensors"


def read(path: Path, *, allow_pickle_tensors: bool = False) -> Tensors:
    """Tensors by name, as float32. A `.pt` file is only opened where the caller allows it."""
    if not path.is_file():
        raise ForeignFileInvalid(f"{path} is not there, or is no file")
    if path.suffix == ".safetensors":
        return _plain_names(_read_safetensors(path))
    if path.suffix not in PICKLES:
        raise ForeignFileInvalid(f"{path.name}: weights come as .safetensors or .pt files")
    if not allow_pickle_tensors:
        raise ForeignFileInvalid(
            f"{path.name} is a pickle, a format that can carry programs; with --allow-pickle-tensors it is read by a "
            "reader that builds tensors only and runs nothing (or save the weights as safetensors)"
        )
    return _plain_names(_read_archive(path))


def _read_safetensors(path: Path) -> Tensors:
    try:
        found: list[tuple[str, Any]] = safetensors.deserialize(path.read_bytes())  # type: ignore[no-untyped-call]
    except Exception as error:  # the library's own error is no public type
        raise ForeignFileInvalid(f"{path.name} is not a safetensors file: {error}") from None
    tensors = {}
    for name, entry in found:
        if entry["dtype"] not in TYPES:
            raise ForeignFileInvalid(f"{name}: numbers of type {entry['dtype']} are not known here")
        numbers, shape = flat(bytes(entry["data"]), entry["dtype"]), tuple(entry["shape"])
        tensors[name] = numbers.reshape(shape).astype("float32")
    return tensors


def _read_archive(path: Path) -> Tensors:
    try:
        with zipfile.ZipFile(path) as archive:
            return _Archive(archive).tensors()
    except (zipfile.BadZipFile, NotImplementedError, EOFError, RuntimeError) as error:
        raise ForeignFileInvalid(f"{path.name} is not a PyTorch archive ({error}); {FORM}") from None


class _Archive:
    """The zip file that `torch.save` writes: a pickle, and one stored entry for each run of numbers."""

    def __init__(self, archive: zipfile.ZipFile) -> None:
        self._archive = archive
        names = [info.filename for info in archive.infolist()]
        pickles = [name for name in names if name.count("/") == 1 and name.endswith("/data.pkl")]
        if len(pickles) != 1 or len(set(names)) != len(names):
            raise ForeignFileInvalid(f"the archive does not hold exactly one state dict; {FORM}")
        self._root = pickles[0].removesuffix("data.pkl")
        if self._root + "constants.pkl" in names:
            raise ForeignFileInvalid(f"this is a TorchScript program, not a state dict; {FORM}")
        order = self._root + "byteorder"
        if order in names and self._bytes("byteorder", 16) != b"little":
            raise ForeignFileInvalid("the file was written on a big-endian machine, which is not supported")
        self._storages: dict[str, Any] = {}

    def tensors(self) -> Tensors:
        return {name: self._tensor(name, stored) for name, stored in _state_dict(pickled.read(self._pickle()))}

    def _pickle(self) -> bytes:
        return self._bytes("data.pkl", PICKLE_LIMIT)

    def _bytes(self, name: str, limit: int) -> bytes:
        try:
            info = self._archive.getinfo(self._root + name)
        except KeyError:
            raise ForeignFileInvalid(f"the archive lacks {name!r}; {FORM}") from None
        if info.compress_type != zipfile.ZIP_STORED or info.file_size > limit:
            raise ForeignFileInvalid(f"the archive's {name!r} is compressed or too large; {FORM}")
        return self._archive.read(info)

    def _tensor(self, name: str, stored: StoredTensor) -> Any:
        storage = stored.storage
        if storage.key not in self._storages:
            self._storages[storage.key] = (storage, self._numbers(storage))
        known, numbers = self._storages[storage.key]
        if known != storage:
            raise ForeignFileInvalid(f"{name}: one storage is described in two ways")
        return view(numbers, stored.offset, stored.shape, stored.strides, name)

    def _numbers(self, storage: Storage) -> Any:
        size = storage.count * itemsize(storage.dtype)
        data = self._bytes(f"data/{storage.key}", size)
        if len(data) != size:
            raise ForeignFileInvalid(f"storage {storage.key!r} has {len(data)} bytes where {size} were announced")
        return flat(data, storage.dtype)


def _state_dict(value: Any) -> Iterator[tuple[str, StoredTensor]]:
    """The tensors of a state dict, also where a training script has packed it beside other things."""
    if not isinstance(value, dict):
        raise ForeignFileInvalid(f"the file holds no dictionary of tensors; {FORM}")
    inner = next((value[key] for key in WRAPPERS if isinstance(value.get(key), dict)), value)
    strange = [str(name) for name, item in inner.items() if not isinstance(item, StoredTensor)]
    if strange or not inner:
        raise ForeignFileInvalid(f"these entries are no tensors: {', '.join(strange[:20])}; {FORM}")
    yield from ((str(name), item) for name, item in inner.items())


def _plain_names(tensors: Tensors) -> Tensors:
    for prefix in PREFIXES:
        if tensors and all(name.startswith(prefix) for name in tensors):
            tensors = {name.removeprefix(prefix): tensor for name, tensor in tensors.items()}
    return tensors
