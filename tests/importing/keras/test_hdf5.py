"""HDF5 files with false sizes, links or filters are rejected before their data is read."""

from __future__ import annotations

import io
import sys
import tracemalloc
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest

from app.errors import InvalidRequest
from app.importing.keras.hdf5 import open_hdf5
from app.importing.keras.sources import open_keras
from app.importing.pytorch.tensors import ForeignFileInvalid

SMALL = np.arange(6, dtype=np.float32).reshape(2, 3)


def written(fill: Callable[[Any], Any]) -> bytes:
    stream = io.BytesIO()
    with h5py.File(stream, "w") as file:
        fill(file)
    return stream.getvalue()


def read(content: bytes) -> dict[str, Any]:
    with open_hdf5(content, "x.h5") as file:
        return dict(file.arrays("a"))


def test_arrays(tmp_path: Path) -> None:
    def fill(file: Any) -> None:
        file["a/b/plain"] = SMALL
        file["a/half"] = SMALL.astype(np.float16)
        file.create_dataset("a/packed", data=SMALL, compression="gzip", shuffle=True, fletcher32=True)

    arrays = read(written(fill))
    assert list(arrays) == ["b/plain", "half", "packed"]
    for array in arrays.values():
        np.testing.assert_array_equal(array, SMALL)
        assert array.dtype == np.float32


def _virtual(file: Any) -> None:
    layout = h5py.VirtualLayout((2, 3), np.float32)
    layout[:] = h5py.VirtualSource("other.h5", "x", (2, 3))
    file.create_virtual_dataset("a/x", layout)


def _alias(file: Any) -> None:
    """One array under 200 names, which would be read 200 times."""
    file["a/x0"] = np.zeros(100_000, np.float32)
    for number in range(1, 200):
        file[f"a/x{number}"] = file["a/x0"]


def _loop(file: Any) -> None:
    """A group inside itself, under many names."""
    group = file.create_group("a")
    for number in range(50):
        group[f"x{number}"] = group


@pytest.mark.parametrize(
    ("fill", "message"),
    [
        (lambda file: file.create_dataset("a/x", (2**40,), "f4"), "declares"),
        (lambda file: file.create_dataset("a/x", (2**36,), "f4", chunks=(2**20,), compression="gzip"), "declares"),
        (lambda file: file.create_dataset("a/x", data=np.zeros(2**22, "f4"), compression="gzip"), "declares"),
        (_alias, "declares"),
        (_loop, "too many entries"),
        (_virtual, "refers to data outside the file"),
        (lambda file: file.create_dataset("a/x", (4,), "f4", external=[("/etc/passwd", 0, 16)]), "outside the file"),
        (lambda file: file.create_dataset("a/x", data=SMALL, compression="lzf"), "filter 32000"),
        (lambda file: file.create_group("a").update({"x": h5py.SoftLink("/b")}), "link to another place"),
        (lambda file: file.create_group("a").update({"x": h5py.ExternalLink("b.h5", "/x")}), "link to another"),
        (lambda file: file.update({"a": h5py.ExternalLink("b.h5", "/x")}), "link to another"),
        (lambda file: file.create_dataset("a/x", data=["text"]), "must be an array of float16"),
        (lambda file: file.create_dataset("a/x", data=h5py.Empty("f4")), "must be an array of float16"),
    ],
)  # fmt: skip
def test_hostile_files(fill: Callable[[Any], Any], message: str) -> None:
    content = written(fill)
    tracemalloc.start()
    try:
        with pytest.raises(ForeignFileInvalid, match=message):
            read(content)
        assert tracemalloc.get_traced_memory()[1] < 100 * 2**20
    finally:
        tracemalloc.stop()


def test_damaged_files() -> None:
    content = written(lambda file: file.update({"a/x": SMALL}))
    for damaged in (content[:100], content[: len(content) // 2], content[:8] + bytes(2000)):
        with pytest.raises(ForeignFileInvalid, match=r"x.h5 is damaged"):
            read(damaged)


@pytest.mark.parametrize("value", [["a", "b"], 3.0])
def test_attributes_that_are_not_text(value: Any) -> None:
    content = written(lambda file: file.attrs.update({"model_config": value}))
    with open_hdf5(content, "x.h5") as file, pytest.raises(ForeignFileInvalid, match="must be one string"):
        file.text("", "model_config")


def test_an_archive_that_unpacks_to_much_more(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "x.keras", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("config.json", "{}")
        archive.writestr("model.weights.h5", bytes(2**24))
    with (
        pytest.raises(ForeignFileInvalid, match=r"model.weights.h5 declares 16777216 bytes"),
        open_keras(tmp_path / "x.keras"),
    ):
        pass


def test_without_h5py_the_error_names_the_package(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "h5py", None)
    with pytest.raises(InvalidRequest, match=r"pip install 'ostinato\[keras\]'"), open_hdf5(b"", "x.h5"):
        pass
