"""The pickle inside a `.pt` file, read without running anything.

Python's unpickler calls whatever the file names; a list of forbidden or allowed names has been got round before. This
reader is none: it steps through the opcodes as data (`pickletools.genops`) with a small stack machine of its own, that
knows dictionaries, tuples, lists, numbers, strings and tensors, and has no way to import or call a thing. An opcode or
name that it does not know ends the reading; there is no other way in.
"""

from __future__ import annotations

import pickletools
import warnings
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from app.importing.pytorch.tensors import ForeignFileInvalid

STORAGES: Mapping[str, str] = {
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
MOST = 5_000_000  # opcodes; a state dict needs some thirty a tensor


@dataclass(frozen=True, slots=True)
class Name:
    """What the pickle wanted to import. It stays a name."""

    module: str
    name: str


@dataclass(frozen=True, slots=True)
class Storage:
    """A run of numbers in the archive."""

    key: str
    dtype: str
    count: int


@dataclass(frozen=True, slots=True)
class StoredTensor:
    """Where a tensor lies within its storage, as the file claims."""

    storage: Storage
    offset: int
    shape: tuple[int, ...]
    strides: tuple[int, ...]


class _Mark:
    pass


MARK = _Mark()


def read(data: bytes) -> Any:
    """The object of a pickle: dictionaries, lists, tuples, scalars and `StoredTensor`s.

    Raises ForeignFileInvalid for anything else, naming what the file asked for.
    """
    try:
        # `genops` only warns of a bad escape in a text opcode: here that is damage like any other
        with warnings.catch_warnings(action="error"):
            return _run(data)
    except (ValueError, TypeError, KeyError, IndexError, AttributeError, Warning) as error:
        raise ForeignFileInvalid(f"the file's pickle is damaged: {str(error)[:120]}") from None


def _run(data: bytes) -> Any:
    machine = _Machine()
    for count, (opcode, argument, _) in enumerate(pickletools.genops(data)):
        if count > MOST:
            raise ForeignFileInvalid(f"the file's pickle has more than {MOST} steps")
        machine.step(opcode.name, argument)
    return machine.result()


class _Machine:
    """The stack of a pickle, without its powers."""

    def __init__(self) -> None:
        self._stack: list[Any] = []
        self._memo: dict[int, Any] = {}

    def result(self) -> Any:
        [value] = self._stack
        return value

    def step(self, opcode: str, argument: Any) -> None:
        if opcode in _VALUES:
            self._stack.append(argument)
        elif opcode in _NEW:
            self._stack.append(_NEW[opcode]())
        elif opcode in _ACTIONS:
            _ACTIONS[opcode](self, argument)
        elif opcode not in _NOTHING:
            raise ForeignFileInvalid(f"the file's pickle uses {opcode}, which no state dict needs; nothing was run")

    def _since_mark(self) -> list[Any]:
        place = len(self._stack) - 1 - self._stack[::-1].index(MARK)
        items = self._stack[place + 1 :]
        del self._stack[place:]
        return items

    def put(self, index: int) -> None:
        self._memo[index] = self._stack[-1]

    def memoize(self, _: None) -> None:
        self._memo[len(self._memo)] = self._stack[-1]

    def get(self, index: int) -> None:
        self._stack.append(self._memo[index])

    def name(self, text: str) -> None:
        module, _, name = text.partition(" ")
        self._stack.append(_checked(Name(module, name)))

    def stack_name(self, _: None) -> None:
        name, module = self._stack.pop(), self._stack.pop()
        self._stack.append(_checked(Name(str(module), str(name))))

    def collect_tuple(self, _: None) -> None:
        self._stack.append(tuple(self._since_mark()))

    def short_tuple(self, count: int) -> None:
        items = tuple(self._stack[-count:])
        if len(items) < count:
            raise IndexError("the stack is too short")
        del self._stack[-count:]
        self._stack.append(items)

    def set_items(self, pairs: list[Any]) -> None:
        target = self._stack[-1]
        if not isinstance(target, dict) or len(pairs) % 2:
            raise TypeError("items are set on something that is no dictionary")
        for key, value in zip(pairs[::2], pairs[1::2], strict=True):
            if not isinstance(key, str | int):
                raise TypeError("a key is neither text nor a number")
            target[key] = value

    def one_item(self, _: None) -> None:
        value, key = self._stack.pop(), self._stack.pop()
        self.set_items([key, value])

    def many_items(self, _: None) -> None:
        self.set_items(self._since_mark())

    def append(self, _: None) -> None:
        self.extend([self._stack.pop()])

    def appends(self, _: None) -> None:
        self.extend(self._since_mark())

    def extend(self, items: list[Any]) -> None:
        target = self._stack[-1]
        if not isinstance(target, list):
            raise TypeError("items are appended to something that is no list")
        target += items

    def reduce(self, _: None) -> None:
        """Where a pickle calls: here, three names stand for three kinds of data."""
        arguments, called = self._stack.pop(), self._stack.pop()
        self._stack.append(_build(called, arguments))

    def state(self, _: None) -> None:
        """Attributes (a state dict's `_metadata`): not ours to set, so they are dropped."""
        self._stack.pop()

    def persistent(self, _: None) -> None:
        kind, type_, key, _device, count = self._stack.pop()
        if kind != "storage" or not isinstance(type_, Name) or type_.name not in STORAGES:
            raise TypeError("a storage of an unknown kind")
        if not isinstance(key, str) or not isinstance(count, int) or isinstance(count, bool):
            raise TypeError("a storage without a plain name or size")
        self._stack.append(Storage(key, STORAGES[type_.name], count))


def _checked(name: Name) -> Name:
    known = (name.module, name.name) in (DICTIONARY, TENSOR, PARAMETER)
    if not known and not (name.module == "torch" and name.name in STORAGES):
        raise ForeignFileInvalid(
            f"the file asks for {name.module}.{name.name}, which is no tensor, so nothing of it was run or read; "
            "save the weights alone: torch.save(model.state_dict(), …), or as safetensors"
        )
    return name


def _build(called: Any, arguments: Any) -> Any:
    if not isinstance(called, Name) or not isinstance(arguments, tuple):
        raise TypeError("something is called that has no name")
    match (called.module, called.name):
        case ("collections", "OrderedDict"):
            if arguments:
                raise TypeError("an OrderedDict with arguments")
            return {}
        case ("torch._utils", "_rebuild_tensor_v2"):
            return _tensor(*arguments)
        case ("torch._utils", "_rebuild_parameter") if arguments and isinstance(arguments[0], StoredTensor):
            return arguments[0]
    raise TypeError("a storage type is called")


def _tensor(storage: Any, offset: Any, shape: Any, strides: Any, *_rest: Any) -> StoredTensor:
    if not isinstance(storage, Storage) or not isinstance(shape, tuple) or not isinstance(strides, tuple):
        raise TypeError("a tensor without a storage or a shape")
    if not all(isinstance(n, int) and not isinstance(n, bool) for n in (offset, *shape, *strides)):
        raise TypeError("a tensor whose shape is no numbers")
    return StoredTensor(storage, offset, shape, strides)


_NOTHING = {"PROTO", "FRAME", "STOP"}
_VALUES = {"BININT", "BININT1", "BININT2", "LONG1", "BINFLOAT", "BINUNICODE", "SHORT_BINUNICODE", "BINUNICODE8"}
_NEW: Mapping[str, Callable[[], Any]] = {
    "EMPTY_DICT": dict,
    "EMPTY_LIST": list,
    "EMPTY_TUPLE": tuple,
    "NONE": lambda: None,
    "NEWTRUE": lambda: True,
    "NEWFALSE": lambda: False,
    "MARK": lambda: MARK,
}
_ACTIONS: Mapping[str, Callable[[_Machine, Any], None]] = {
    "BINPUT": _Machine.put,
    "LONG_BINPUT": _Machine.put,
    "MEMOIZE": _Machine.memoize,
    "BINGET": _Machine.get,
    "LONG_BINGET": _Machine.get,
    "GLOBAL": _Machine.name,
    "STACK_GLOBAL": _Machine.stack_name,
    "TUPLE": _Machine.collect_tuple,
    "TUPLE1": lambda machine, _: machine.short_tuple(1),
    "TUPLE2": lambda machine, _: machine.short_tuple(2),
    "TUPLE3": lambda machine, _: machine.short_tuple(3),
    "SETITEM": _Machine.one_item,
    "SETITEMS": _Machine.many_items,
    "APPEND": _Machine.append,
    "APPENDS": _Machine.appends,
    "REDUCE": _Machine.reduce,
    "BUILD": _Machine.state,
    "BINPERSID": _Machine.persistent,
}
