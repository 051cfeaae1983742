"""The tensors that a PyTorch pickle describes, and the storages that contain their values. Rejects other objects."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from app.importing.pytorch.tensors import ForeignFileInvalid

STORAGES: Mapping[str, str] = {  # torch's storage types -> the data types in `tensors.TYPES`
    "DoubleStorage": "F64",
    "FloatStorage": "F32",
    "HalfStorage": "F16",
    "BFloat16Storage": "BF16",
    "LongStorage": "I64",
    "IntStorage": "I32",
    "ShortStorage": "I16",
    "CharStorage": "I8",
    "ByteStorage": "U8",
    "BoolStorage": "BOOL",
}
DICTIONARY = ("collections", "OrderedDict")
TENSOR = ("torch._utils", "_rebuild_tensor_v2")
PARAMETER = ("torch._utils", "_rebuild_parameter")


@dataclass(frozen=True, slots=True)
class Name:
    """The name of a global that unpickling would import. Only the name is stored, and nothing is imported."""

    module: str
    name: str


@dataclass(frozen=True, slots=True)
class Storage:
    """A storage of `count` numbers in the archive's entry `data/<key>`."""

    key: str
    dtype: str
    count: int


@dataclass(frozen=True, slots=True)
class StoredTensor:
    """A tensor as a view of its storage.

    The offset and the strides are in elements. The offset, shape and strides come from the file and have not been
    checked.
    """

    storage: Storage
    offset: int
    shape: tuple[int, ...]
    strides: tuple[int, ...]


def check_name(name: Name) -> Name:
    """Return `name` if it is one of the names that state dicts need. Raises ForeignFileInvalid for any other name."""
    allowed = (name.module, name.name) in (DICTIONARY, TENSOR, PARAMETER)
    if not allowed and not (name.module == "torch" and name.name in STORAGES):
        raise ForeignFileInvalid(
            f"the file refers to {name.module}.{name.name}, which does not describe a tensor, so the file was not "
            "read, and no code was run; save only the weights: torch.save(model.state_dict(), …), or as safetensors"
        )
    return name


def make_storage(identity: Any) -> Storage:
    """Return the storage with the persistent id ("storage", type, key, device, count).

    Raises TypeError for any other id.
    """
    kind, type_, key, _device, count = identity
    if kind != "storage" or not isinstance(type_, Name) or type_.name not in STORAGES:
        raise TypeError("a storage of an unknown type")
    if not isinstance(key, str) or not isinstance(count, int) or isinstance(count, bool):
        raise TypeError("a storage without a valid name or size")
    return Storage(key, STORAGES[type_.name], count)


def build(called: Any, arguments: Any) -> Any:
    """Return the result of a call in the pickle: an empty dictionary or a tensor.

    Raises TypeError for any other call.
    """
    if not isinstance(called, Name) or not isinstance(arguments, tuple):
        raise TypeError("a call of an object that is not a global (a module and a name)")
    match (called.module, called.name):
        case ("collections", "OrderedDict"):
            if arguments:
                raise TypeError("an OrderedDict with arguments")
            return {}
        case ("torch._utils", "_rebuild_tensor_v2"):
            return _make_tensor(*arguments)
        case ("torch._utils", "_rebuild_parameter") if arguments and isinstance(arguments[0], StoredTensor):
            return arguments[0]
    raise TypeError("a call to a storage type")


def _make_tensor(storage: Any, offset: Any, shape: Any, strides: Any, *_rest: Any) -> StoredTensor:
    if not isinstance(storage, Storage) or not isinstance(shape, tuple) or not isinstance(strides, tuple):
        raise TypeError("a tensor without a storage or a shape")
    if not all(isinstance(n, int) and not isinstance(n, bool) for n in (offset, *shape, *strides)):
        raise TypeError("a tensor whose shape does not consist of integers")
    return StoredTensor(storage, offset, shape, strides)
