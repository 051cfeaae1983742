"""Reads arrays and attributes from HDF5 files. Every file is treated as untrusted.

Only data inside the file is read: links to other places, external storage, virtual datasets and filters that may load a
plug-in are rejected. Every size is checked before anything of that size is read.
"""

from __future__ import annotations

import io
import math
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO

from app.errors import InvalidRequest
from app.importing.keras.layers import shown
from app.importing.pytorch.tensors import Array, ForeignFileInvalid, to_float32

MAGIC = b"\x89HDF\r\n\x1a\n"
FILTERS = (1, 2, 3)  # deflate, shuffle and fletcher32, which HDF5 itself contains
INFLATION = 64  # everything that is read from a file may be this many times as large as the file on disk
ENTRY_LIMIT = 2**16  # maximum number of entries that are read from a file
DEPTH_LIMIT = 8  # levels of groups inside a layer's group
HDF5_ERRORS = (OSError, LookupError, TypeError, ValueError, RuntimeError, ArithmeticError, MemoryError, AttributeError)
ITEM_SIZES = (2, 4, 8)  # bytes of float16, float32 and float64


def is_hdf5(path: Path) -> bool:
    """Whether a file starts like an HDF5 file."""
    if not path.is_file():
        return False
    with path.open("rb") as file:
        return file.read(len(MAGIC)) == MAGIC


@contextmanager
def open_hdf5(source: Path | bytes, name: str, size: int | None = None) -> Iterator[Hdf5File]:
    """Open an HDF5 file, given its path or its content. `name` is the name of the file in messages.

    `size` is the size of the file on disk that contains it; without it, that of the HDF5 file. Raises InvalidRequest if
    h5py is not installed, and ForeignFileInvalid if the file is damaged.
    """
    try:
        import h5py
    except ImportError:
        raise InvalidRequest(
            "Keras files can only be read with the library h5py, which is not installed: pip install 'ostinato[keras]'"
        ) from None
    with io.BytesIO(source) if isinstance(source, bytes) else source.open("rb") as stream:
        size = stream.seek(0, io.SEEK_END) if size is None else size
        stream.seek(0)
        with damaged(name):
            file = h5py.File(stream, "r")  # h5py reads through this stream, so HDF5 does not open files itself
        try:
            yield Hdf5File(file, h5py, size, name)
        finally:
            with damaged(name):
                file.close()


@contextmanager
def damaged(name: str) -> Iterator[None]:
    """Convert the exceptions that h5py raises for a damaged file. Our own errors pass unchanged."""
    try:
        yield
    except HDF5_ERRORS as error:
        raise ForeignFileInvalid(f"{name} is damaged: {str(error)[:200]}") from None


class Hdf5File:
    """An open HDF5 file. Paths consist of the names of groups, separated by `/`."""

    def __init__(self, file: Any, h5py: Any, size: int, name: str) -> None:
        self._file, self._h5py, self._size, self.name = file, h5py, size, name
        self._budget, self._entries = INFLATION * size, 0  # bytes that may still be read, and entries read so far

    def has(self, path: str) -> bool:
        return self._find(path) is not None

    def reserve(self, size: int, what: str) -> None:
        """Count `size` bytes of memory. Raises ForeignFileInvalid if the file is too small to need that many."""
        self._budget -= size
        if self._budget < 0:
            limit = f"all parts together may need at most {INFLATION} times the size of the file"
            raise ForeignFileInvalid(f"{self.name}: {what} needs {size} bytes, but {limit}")

    def text(self, path: str, attribute: str) -> bytes | None:
        """Return an attribute that consists of one string, as bytes, or None if there is no such attribute."""
        place = self._find(path)
        with damaged(self.name):
            if place is None or attribute not in place.attrs:
                return None
            stored = place.attrs.get_id(attribute)
            if stored.shape != () or stored.dtype.itemsize > self._size or stored.dtype.kind not in "SO":
                raise ForeignFileInvalid(f"{self.name}: the attribute {attribute!r} must be one string")
            value = place.attrs[attribute]
        if isinstance(value, str):
            return value.encode("utf-8", "surrogateescape")
        if not isinstance(value, bytes):
            raise ForeignFileInvalid(f"{self.name}: the attribute {attribute!r} must be one string")
        return bytes(value)

    def arrays(self, path: str) -> Iterator[tuple[str, Array]]:
        """Yield the path, relative to the group `path`, and the content of every array inside the group."""
        return self._walk(self._find(path), path, DEPTH_LIMIT)

    def _walk(self, place: Any, path: str, depth: int) -> Iterator[tuple[str, Array]]:
        if isinstance(place, self._h5py.Dataset):
            yield "", self._read(place, path)
        if not isinstance(place, self._h5py.Group):
            return
        with damaged(self.name):
            self._entries += len(place)
            if self._entries > ENTRY_LIMIT or not depth:
                raise ForeignFileInvalid(f"{self.name}: the group '{shown(path)}' has too many entries or levels")
            names = list(place)
        for name in names:
            for inner, array in self._walk(self._child(place, name, path), f"{path}/{name}", depth - 1):
                yield f"{name}/{inner}".rstrip("/"), array

    def _find(self, path: str) -> Any:
        """Return the group or dataset at `path`, or None if there is none."""
        place: Any = self._file
        for name in filter(None, path.split("/")):
            place = self._child(place, name, path)
        return place

    def _child(self, place: Any, name: str, path: str) -> Any:
        """Return an entry of the group `place`, or None. Raises ForeignFileInvalid for a link to another place."""
        with damaged(self.name):
            link = place.get(name, getlink=True) if isinstance(place, self._h5py.Group) else None
            if link is None:
                return None
            if isinstance(link, self._h5py.HardLink):
                return place[name]
        raise ForeignFileInvalid(
            f"{self.name}: '{shown(name)}' in '{shown(path)}' is a link to another place or file, which is not read; "
            "save the model again with Keras"
        )

    def _read(self, dataset: Any, path: str) -> Array:
        """Return a dataset as float32. Raises ForeignFileInvalid unless its sizes are plausible."""
        with damaged(self.name):
            shape, dtype = dataset.shape, dataset.dtype
            if shape is None or dtype.kind != "f" or dtype.itemsize not in ITEM_SIZES:
                raise ForeignFileInvalid(
                    f"{self.name}: '{shown(path)}' must be an array of float16, float32 or float64 numbers"
                )
            if dataset.is_virtual or dataset.external:
                raise ForeignFileInvalid(
                    f"{self.name}: '{shown(path)}' refers to data outside the file, which is not read"
                )
            self._check_size(dataset, path)
            return to_float32(dataset[()])

    def _check_size(self, dataset: Any, path: str) -> None:
        """Count the memory that a dataset needs. Raises ForeignFileInvalid if its sizes are not plausible."""
        count, item = math.prod(dataset.shape), dataset.dtype.itemsize
        filters = self._filters(dataset, path)
        chunk = math.prod(dataset.chunks or ()) * item
        stored = int(dataset.id.get_storage_size())
        limit = INFLATION * stored if filters else stored
        if count * item > limit or chunk > INFLATION * self._size:
            raise ForeignFileInvalid(
                f"{self.name}: '{shown(path)}' declares {count * item} bytes, but the file stores {stored} bytes for it"
            )
        self.reserve(count * max(item, 4), f"'{shown(path)}'")

    def _filters(self, dataset: Any, path: str) -> list[int]:
        """Return the numbers of a dataset's filters. Raises ForeignFileInvalid for a filter that HDF5 must load."""
        properties = dataset.id.get_create_plist()
        filters = [properties.get_filter(number)[0] for number in range(properties.get_nfilters())]
        self._refuse_plugins([number for number in filters if number not in FILTERS], path)
        return filters

    def _refuse_plugins(self, filters: list[int], path: str) -> None:
        if filters:
            raise ForeignFileInvalid(
                f"{self.name}: '{shown(path)}' is compressed with the HDF5 filter {filters[0]}, which may need a "
                "plug-in; save the model again with Keras"
            )


def read_entry(file: BinaryIO, size: int, name: str) -> bytes:
    """Return the content of an archive's entry, which must have exactly `size` bytes."""
    content = file.read(size + 1)
    if len(content) != size:
        raise ForeignFileInvalid(f"{name} does not have the size that the archive declares")
    return content
