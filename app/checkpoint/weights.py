"""The header of a safetensors file, trusted in nothing. Knows bytes and JSON; reads no weight and allocates none.

The format: 8 bytes of header length (little-endian), a JSON header, the tensors' bytes without gaps or overlaps
(https://github.com/huggingface/safetensors#format).
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from app.errors import CheckpointInvalid
from models.config import ModelConfig
from models.weight_format import WeightsMismatch, check_weights

SIZES = {"BOOL": 1, "U8": 1, "I8": 1, "I16": 2, "U16": 2, "F16": 2, "BF16": 2, "I32": 4, "U32": 4, "F32": 4}
SIZES |= {"I64": 8, "U64": 8, "F64": 8}
HEADER_LIMIT = 16 * 2**20
DIMENSIONS_LIMIT = 8
ELEMENTS_LIMIT = 2**48
PLAIN_METADATA = {"format": "pt"}  # what common writers add; anything else would make equal weights differ


@dataclass(frozen=True, slots=True)
class TensorEntry:
    dtype: str
    shape: tuple[int, ...]
    begin: int
    end: int

    @property
    def elements(self) -> int:
        return math.prod(self.shape)


def read_header(path: Path) -> dict[str, TensorEntry]:
    """Tensors by name. Raises CheckpointInvalid unless the header accounts for every byte of the file."""
    size = path.stat().st_size
    with path.open("rb") as file:
        prefix = file.read(8)
        length = int.from_bytes(prefix, "little")
        if len(prefix) < 8 or length > min(size - 8, HEADER_LIMIT):
            raise _bad(f"its header claims {length} bytes; the file has {size} and a header {HEADER_LIMIT} at most")
        raw = file.read(length)
    return parse_header(raw, size - 8 - length)


def parse_header(raw: bytes, data_bytes: int) -> dict[str, TensorEntry]:
    """Check the JSON header `raw` of a file with `data_bytes` bytes of tensors."""
    header = _load(raw)
    if header.pop("__metadata__", PLAIN_METADATA) != PLAIN_METADATA:
        raise _bad("it carries __metadata__; save it without")
    entries = {name: _entry(name, value) for name, value in header.items()}
    if not entries:
        raise _bad("it holds no tensor")
    _check_layout(entries.items(), data_bytes)
    return entries


def check_tensors(entries: Mapping[str, TensorEntry], config: ModelConfig) -> None:
    """Raise CheckpointInvalid unless the tensors of a header are exactly the weights of `config`."""
    try:
        check_weights(config, {name: (entry.dtype, entry.shape) for name, entry in entries.items()})
    except WeightsMismatch as error:
        raise CheckpointInvalid(f"model.safetensors does not match config.json: {error}") from None


def _load(raw: bytes) -> dict[str, Any]:
    if not raw.startswith(b"{"):
        raise _bad("its header is not a JSON object")
    try:
        header = json.loads(raw.decode(), object_pairs_hook=_unique, parse_constant=_no_constant)
    except (ValueError, RecursionError):
        raise _bad("its header is not valid JSON with unique names") from None
    if not isinstance(header, dict):
        raise _bad("its header is not a JSON object")
    return header


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        raise ValueError("a name occurs twice")
    return found


def _no_constant(name: str) -> None:
    raise ValueError(f"{name} is no JSON")


def _entry(name: str, value: object) -> TensorEntry:
    where = f"tensor {name[:80]!r}"
    if not isinstance(value, dict) or set(value) != {"dtype", "shape", "data_offsets"}:
        raise _bad(f"{where} needs exactly dtype, shape and data_offsets")
    dtype, shape, offsets = value["dtype"], value["shape"], value["data_offsets"]
    if not isinstance(dtype, str) or dtype not in SIZES:
        raise _bad(f"{where} has dtype {str(dtype)[:20]!r}; it can be {', '.join(SIZES)}")
    if not _whole(shape) or len(shape) > DIMENSIONS_LIMIT:
        raise _bad(f"{where} needs a shape of at most {DIMENSIONS_LIMIT} sizes of 0 or more")
    if not _whole(offsets) or len(offsets) != 2 or offsets[0] > offsets[1]:
        raise _bad(f"{where} needs two rising data_offsets of 0 or more")
    entry = TensorEntry(dtype, tuple(shape), offsets[0], offsets[1])
    if entry.elements > ELEMENTS_LIMIT or entry.elements * SIZES[dtype] != entry.end - entry.begin:
        raise _bad(f"{where}: dtype and shape do not fit the {entry.end - entry.begin} bytes of its data_offsets")
    return entry


def _whole(values: object) -> bool:
    return isinstance(values, list) and all(type(v) is int and 0 <= v <= 2**63 for v in values)


def _check_layout(entries: Iterable[tuple[str, TensorEntry]], data_bytes: int) -> None:
    position = 0
    for name, entry in sorted(entries, key=lambda item: (item[1].begin, item[1].end)):
        if entry.begin != position:
            kind = "overlaps the one before" if entry.begin < position else "leaves a gap before it"
            raise _bad(f"tensor {name[:80]!r} {kind}")
        position = entry.end
    if position != data_bytes:
        raise _bad(f"its tensors end at byte {position}; {data_bytes} bytes are there")


def _bad(what: str) -> CheckpointInvalid:
    return CheckpointInvalid(f"model.safetensors is not valid: {what}")
