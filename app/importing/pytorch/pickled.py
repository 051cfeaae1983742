"""Reads the pickle inside a `.pt` file without running any code from it.

Python's unpickler calls any function named in the file, and lists of allowed or forbidden names have been circumvented
before. Therefore, this module does not use the unpickler. Instead, it reads the opcodes as data (`pickletools.genops`)
and executes them on a small stack machine. The stack machine supports dictionaries, tuples, lists, numbers, strings and
tensors, and cannot import or call anything. An opcode or name that the machine does not support is an error.
"""

from __future__ import annotations

import pickletools
import warnings
from collections.abc import Callable, Mapping
from typing import Any

from app.importing.pytorch.stored import Name, build, check_name, make_storage
from app.importing.pytorch.tensors import ForeignFileInvalid

MOST_OPCODES = 5_000_000  # a state dict needs about thirty opcodes per tensor


MARK = object()  # marks where the items of a tuple, list or dictionary begin on the stack


def read(data: bytes) -> Any:
    """Return the object in a pickle, which consists of dictionaries, lists, tuples, scalars and `StoredTensor`s.

    Raises ForeignFileInvalid if the pickle is damaged or contains anything else.
    """
    try:
        # `genops` only warns about a bad escape in a text opcode; here, such a file counts as damaged
        with warnings.catch_warnings(action="error"):
            return _run(data)
    except (ValueError, TypeError, KeyError, IndexError, AttributeError, Warning) as error:
        raise ForeignFileInvalid(f"the file's pickle is damaged: {str(error)[:120]}") from None


def _run(data: bytes) -> Any:
    machine = _Machine()
    for count, (opcode, argument, _) in enumerate(pickletools.genops(data)):
        if count > MOST_OPCODES:
            raise ForeignFileInvalid(f"the file's pickle has more than {MOST_OPCODES} opcodes")
        machine.step(opcode.name, argument)
    return machine.result()


class _Machine:
    """Executes opcodes with a stack and a memo, without imports or calls. Has one method for each group of opcodes."""

    def __init__(self) -> None:
        self._stack: list[Any] = []
        self._memo: dict[int, Any] = {}

    def result(self) -> Any:
        [value] = self._stack
        return value

    def step(self, opcode: str, argument: Any) -> None:
        """Execute one opcode."""
        if opcode in _CONSTANTS:
            self._stack.append(argument)
        elif opcode in _NEW:
            self._stack.append(_NEW[opcode]())
        elif opcode in _ACTIONS:
            _ACTIONS[opcode](self, argument)
        elif opcode not in _IGNORED:
            raise ForeignFileInvalid(
                f"the file's pickle uses the opcode {opcode}, which no state dict needs; no code was run"
            )

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
        self._stack.append(check_name(Name(module, name)))

    def stack_name(self, _: None) -> None:
        name, module = self._stack.pop(), self._stack.pop()
        self._stack.append(check_name(Name(str(module), str(name))))

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
            raise TypeError("items are set on something that is not a dictionary")
        for key, value in zip(pairs[::2], pairs[1::2], strict=True):
            if not isinstance(key, str | int):
                raise TypeError("a key is neither a string nor an integer")
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
            raise TypeError("items are appended to something that is not a list")
        target += items

    def reduce(self, _: None) -> None:
        """Build the value that a call in the pickle describes. Only three names are supported; all describe data."""
        arguments, called = self._stack.pop(), self._stack.pop()
        self._stack.append(build(called, arguments))

    def drop_state(self, _: None) -> None:
        """Drop an object's attributes, such as a state dict's `_metadata`, because they are not needed."""
        self._stack.pop()

    def persistent(self, _: None) -> None:
        """Replace a persistent id with the storage that it refers to in the archive."""
        self._stack.append(make_storage(self._stack.pop()))


_IGNORED = {"PROTO", "FRAME", "STOP"}
_CONSTANTS = {"BININT", "BININT1", "BININT2", "LONG1", "BINFLOAT", "BINUNICODE", "SHORT_BINUNICODE", "BINUNICODE8"}
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
    "BUILD": _Machine.drop_state,
    "BINPERSID": _Machine.persistent,
}
