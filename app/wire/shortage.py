"""The record of a training run that ran out of memory.

A run that runs out of memory is restarted once, with batches split into smaller pieces.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import TypeVar

import msgspec

T = TypeVar("T")

FILE = "shortage.json"  # in the run directory
ENDED = "OutOfMemory"  # the `kind` of the event Broke with which such a trainer ends
DIVISOR = 4  # the maximum size of a piece is divided by this number
NOTE = "smaller_pieces"  # the kind of the event that reports the new settings


class Shortage(msgspec.Struct, frozen=True):
    """Memory ran out although batches were split into pieces of at most `micro_tokens` tokens."""

    micro_tokens: int


class _Pieces(msgspec.Struct):
    micro_tokens: int


def report(run: Path) -> bool:
    """Record that memory ran out.

    Returns whether the run may be restarted: only once, and only if its settings have been determined.
    """
    settled = _read(run / "settled.json", _Pieces)
    if settled is None:
        return False
    earlier = read(run)
    if earlier is None:
        temporary = run / f".{FILE}.{os.getpid()}.tmp"
        temporary.write_bytes(msgspec.json.encode(Shortage(settled.micro_tokens)))
        temporary.replace(run / FILE)
        return True
    return earlier.micro_tokens == settled.micro_tokens  # no attempt has reduced the size of the pieces yet


def read(run: Path) -> Shortage | None:
    """Return the record, or None if memory has not run out."""
    return _read(run / FILE, Shortage)


def _read(path: Path, kind: type[T]) -> T | None:
    try:
        return msgspec.json.decode(path.read_bytes(), type=kind)
    except (OSError, msgspec.DecodeError):
        return None
