"""Reads weights of other programs: safetensors, or a `.pt` file written by `torch.save(model.state_dict())`.

Nothing in a file is ever run, and there is no second way to read a file that would.
"""

from __future__ import annotations

import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import safetensors

from app.importing.pytorch import pickled
from app.importing.pytorch.stored import Storage, StoredTensor
from app.importing.pytorch.tensors import TYPES, ForeignFileInvalid, Tensors, flat, itemsize, view

WRAPPERS = ("model_state_dict", "state_dict", "model")  # keys under which training scripts save the state dict
PREFIXES = ("_orig_mod.", "module.")  # which torch.compile and DataParallel add to every name
PICKLES = (".pt", ".pth", ".bin", ".ckpt", ".pkl", ".pickle")
WEIGHTS = (".safetensors", *PICKLES)
PICKLE_LIMIT = 64 * 2**20  # bytes
ADVICE = "save it with torch.save(model.state_dict(), …) of PyTorch 1.6 or later, or as safetensors"


def read(path: Path, *, allow_pickle_tensors: bool = False) -> Tensors:
    """The tensors of a file by name, as float32. A `.pt` file is read only with `allow_pickle_tensors`.

    Raises ForeignFileInvalid for a file that does not contain just tensors.
    """
    if not path.is_file():
        raise ForeignFileInvalid(f"{path} does not exist or is not a file")
    if path.suffix == ".safetensors":
        return _plain_names(_read_safetensors(path))
    if path.suffix not in PICKLES:
        raise ForeignFileInvalid(f"{path.name}: weights must be in a .safetensors or .pt file")
    if not allow_pickle_tensors:
        raise ForeignFileInvalid(
            f"{path.name} is a pickle, a format that can contain code; save the weights as safetensors, or add "
            "--allow-pickle-tensors to read its tensors without running anything"
        )
    return _plain_names(_read_archive(path))


def _read_safetensors(path: Path) -> Tensors:
    try:
        entries: list[tuple[str, Any]] = safetensors.deserialize(path.read_bytes())  # type: ignore[no-untyped-call]
    except Exception as error:  # the library's own exception class is not public
        raise ForeignFileInvalid(f"{path.name} is not a safetensors file: {error}") from None
    tensors = {}
    for name, entry in entries:
        if entry["dtype"] not in TYPES:
            raise ForeignFileInvalid(f"{name}: the number type {entry['dtype']} is not supported")
        numbers, shape = flat(bytes(entry["data"]), entry["dtype"]), tuple(entry["shape"])
        tensors[name] = numbers.reshape(shape).astype("float32")
    return tensors


def _read_archive(path: Path) -> Tensors:
    try:
        with zipfile.ZipFile(path) as archive:
            return _Archive(archive).tensors()
    except (zipfile.BadZipFile, NotImplementedError, EOFError, RuntimeError) as error:
        raise ForeignFileInvalid(f"{path.name} is not a PyTorch archive ({error}); {ADVICE}") from None


class _Archive:
    """The zip file that `torch.save` writes: a pickle, and one uncompressed entry for each storage."""

    def __init__(self, archive: zipfile.ZipFile) -> None:
        self._archive = archive
        names = [info.filename for info in archive.infolist()]
        pickles = [name for name in names if name.count("/") == 1 and name.endswith("/data.pkl")]
        if len(pickles) != 1 or len(set(names)) != len(names):
            raise ForeignFileInvalid(f"the archive does not hold exactly one state dict; {ADVICE}")
        self._root = pickles[0].removesuffix("data.pkl")
        if self._root + "constants.pkl" in names:
            raise ForeignFileInvalid(f"this is a TorchScript program, not a state dict; {ADVICE}")
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
            raise ForeignFileInvalid(f"the archive lacks {name!r}; {ADVICE}") from None
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


def _state_dict(value: Any) -> Iterator[tuple[str, StoredTensor]]:
    """The tensors of a state dict, which a training script may have saved under a key of a larger dictionary."""
    if not isinstance(value, dict):
        raise ForeignFileInvalid(f"the file does not contain a dictionary of tensors; {ADVICE}")
    inner = next((value[key] for key in WRAPPERS if isinstance(value.get(key), dict)), value)
    if not inner:
        raise ForeignFileInvalid(f"the file's dictionary is empty; {ADVICE}")
    others = [str(name) for name, item in inner.items() if not isinstance(item, StoredTensor)]
    if others:
        raise ForeignFileInvalid(f"these entries are not tensors: {', '.join(others[:20])}; {ADVICE}")
    yield from ((str(name), item) for name, item in inner.items())


def _plain_names(tensors: Tensors) -> Tensors:
    """The tensors without the prefixes of wrapper modules."""
    for prefix in PREFIXES:
        if tensors and all(name.startswith(prefix) for name in tensors):
            tensors = {name.removeprefix(prefix): tensor for name, tensor in tensors.items()}
    return tensors
