"""Reads and checks the header of an untrusted safetensors file, without reading the weights.

A safetensors file consists of the length of the header (8 bytes, little-endian), a JSON header, and the bytes of the
tensors without gaps or overlaps (https://github.com/huggingface/safetensors#format).
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from app import strict_json
from app.errors import CheckpointInvalid
from models.config import ModelConfig
from models.weight_format import WeightsMismatch, check_weights

SIZES = {"BOOL": 1, "U8": 1, "I8": 1, "I16": 2, "U16": 2, "F16": 2, "BF16": 2, "I32": 4, "U32": 4, "F32": 4}
SIZES |= {"I64": 8, "U64": 8, "F64": 8}  # dtype -> bytes per number
HEADER_LIMIT = 16 * 2**20  # bytes
DIMENSIONS_LIMIT = 8
TENSORS_LIMIT = 16_384  # more than any network of this service has
ELEMENTS_LIMIT = 2**48
# The only metadata that is allowed; common writers add it. With arbitrary metadata, files with equal weights would have
# different hashes.
PLAIN_METADATA = {"format": "pt"}


@dataclass(frozen=True, slots=True)
class TensorEntry:
    """A tensor's entry in the header. `begin` and `end` are offsets in bytes from the end of the header."""

    dtype: str
    shape: tuple[int, ...]
    begin: int
    end: int

    @property
    def elements(self) -> int:
        return math.prod(self.shape)


def read_header(path: Path, *, any_metadata: bool = False) -> dict[str, TensorEntry]:
    """Read the descriptions of the tensors from a file's header, keyed by tensor name.

    Raises CheckpointInvalid unless the tensors fill the file exactly.

    With `any_metadata`, other programs' metadata is ignored instead of being rejected.
    """
    size = path.stat().st_size
    with path.open("rb") as file:
        prefix = file.read(8)
        length = int.from_bytes(prefix, "little")
        if len(prefix) < 8 or length > min(size - 8, HEADER_LIMIT):
            raise _invalid(
                f"its header declares {length} bytes, but the file has {size} bytes and the limit is {HEADER_LIMIT}"
            )
        raw = file.read(length)
    return parse_header(raw, size - 8 - length, any_metadata=any_metadata)


def parse_header(raw: bytes, data_bytes: int, *, any_metadata: bool = False) -> dict[str, TensorEntry]:
    """Parse and check a JSON header; `data_bytes` is the number of bytes after the header. Raises CheckpointInvalid."""
    header = _parse_json(raw)
    if header.pop("__metadata__", PLAIN_METADATA) != PLAIN_METADATA and not any_metadata:
        raise _invalid("it has __metadata__; save it without metadata")
    if len(header) > TENSORS_LIMIT:
        raise _invalid(f"it contains {len(header)} tensors; the limit is {TENSORS_LIMIT}")
    entries = {name: _parse_entry(name, value) for name, value in header.items()}
    if not entries:
        raise _invalid("it contains no tensors")
    _check_layout(entries.items(), data_bytes)
    return entries


def check_tensors(entries: Mapping[str, TensorEntry], config: ModelConfig) -> None:
    """Raise CheckpointInvalid unless the tensors in a header are exactly the weights that `config` requires."""
    try:
        check_weights(config, {name: (entry.dtype, entry.shape) for name, entry in entries.items()})
    except WeightsMismatch as error:
        raise CheckpointInvalid(f"model.safetensors does not match config.json: {error}") from None


def _parse_json(raw: bytes) -> dict[str, Any]:
    if not raw.startswith(b"{"):
        raise _invalid("its header is not a JSON object")
    try:
        header = strict_json.parse(raw)
    except strict_json.JsonInvalid as error:
        raise _invalid(f"its header is not valid JSON: {error}") from None
    if not isinstance(header, dict):
        raise _invalid("its header is not a JSON object")
    return header


def _parse_entry(name: str, value: object) -> TensorEntry:
    where = f"tensor {name[:80]!r}"
    if not isinstance(value, dict) or set(value) != {"dtype", "shape", "data_offsets"}:
        raise _invalid(f"{where} must have exactly the fields dtype, shape and data_offsets")
    dtype, shape, offsets = value["dtype"], value["shape"], value["data_offsets"]
    if not isinstance(dtype, str) or dtype not in SIZES:
        raise _invalid(f"{where} has dtype {str(dtype)[:20]!r}; it must be one of {', '.join(SIZES)}")
    if not _are_sizes(shape) or len(shape) > DIMENSIONS_LIMIT:
        raise _invalid(f"{where}: shape must be a list of at most {DIMENSIONS_LIMIT} non-negative integers")
    if not _are_sizes(offsets) or len(offsets) != 2 or offsets[0] > offsets[1]:
        raise _invalid(f"{where}: data_offsets must be two non-negative integers in ascending order")
    entry = TensorEntry(dtype, tuple(shape), offsets[0], offsets[1])
    if entry.elements > ELEMENTS_LIMIT or entry.elements * SIZES[dtype] != entry.end - entry.begin:
        raise _invalid(f"{where}: dtype and shape do not match its {entry.end - entry.begin} bytes")
    return entry


def _are_sizes(values: object) -> bool:
    """Whether `values` is a list of non-negative integers. `type(v) is int` excludes True and False."""
    return isinstance(values, list) and all(type(v) is int and 0 <= v <= 2**63 for v in values)


def _check_layout(entries: Iterable[tuple[str, TensorEntry]], data_bytes: int) -> None:
    """Check that the tensors fill the file without gaps or overlaps."""
    position = 0
    for name, entry in sorted(entries, key=lambda item: (item[1].begin, item[1].end)):
        if entry.begin != position:
            problem = "overlaps the one before it" if entry.begin < position else "has a gap before it"
            raise _invalid(f"tensor {name[:80]!r} {problem}")
        position = entry.end
    if position != data_bytes:
        raise _invalid(f"its tensors end at byte {position}, but its data has {data_bytes} bytes")


def _invalid(problem: str) -> CheckpointInvalid:
    return CheckpointInvalid(f"model.safetensors is not valid: {problem}")
