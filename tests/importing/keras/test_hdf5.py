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
from app.importing.formats import describe
from app.importing.keras.hdf5 import open_hdf5
from app.importing.keras.sources import is_keras, open_keras
from app.importing.pytorch import state_dict
from app.importing.pytorch.tensors import ForeignFileInvalid
from app.importing.questions import Answers

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
        (_alias, "needs"),
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


def packed(path: Path, content: bytes, method: int = zipfile.ZIP_DEFLATED) -> Path:
    """Write an archive of Keras around an HDF5 file."""
    with zipfile.ZipFile(path, "w", method) as archive:
        archive.writestr("config.json", "{}")
        archive.writestr("model.weights.h5", content)
    return path


def test_an_archive_that_unpacks_to_much_more(tmp_path: Path) -> None:
    source = packed(tmp_path / "x.keras", bytes(2**24))
    with pytest.raises(ForeignFileInvalid, match=r"model.weights.h5 declares 16777216 bytes"), open_keras(source):
        pass


def test_an_archive_whose_arrays_unpack_again(tmp_path: Path) -> None:
    """The limit for the archive and for the arrays in it is a single one: their ratios are not multiplied."""
    noise = np.random.default_rng(1).random(2**13).astype("f4")
    rows = np.repeat(noise.reshape(-1, 1), 48, 1).reshape(-1)

    def fill(file: Any) -> None:
        for number in range(8):
            file.create_dataset(f"a/x{number}", data=rows, compression="gzip", compression_opts=9)

    source = packed(tmp_path / "x.keras", written(fill), zipfile.ZIP_STORED)
    with open_keras(source) as file:
        assert len(dict(file.weights.arrays("a"))) == 8
    content = written(fill)
    source = packed(tmp_path / "x.keras", content + bytes(len(content) * 30))
    with pytest.raises(ForeignFileInvalid, match=r"needs .* at most 64 times the size"), open_keras(source) as file:
        list(file.weights.arrays("a"))


@pytest.mark.parametrize("method", [zipfile.ZIP_LZMA, zipfile.ZIP_BZIP2])
def test_other_compression(method: int, tmp_path: Path) -> None:
    source = packed(tmp_path / "x.keras", bytes(200), method)
    with pytest.raises(ForeignFileInvalid, match="must be stored or deflated"), open_keras(source):
        pass


def test_damaged_archives(tmp_path: Path) -> None:
    source = packed(tmp_path / "x.keras", np.arange(99).tobytes())
    content = bytearray(source.read_bytes())
    start = content.index(b"model.weights.h5") + len(b"model.weights.h5")
    content[start : start + 20] = b"\xff" * 20
    source.write_bytes(content)
    with pytest.raises(ForeignFileInvalid, match=r"model.weights.h5 cannot be read"), open_keras(source):
        pass


def test_names_that_are_not_utf_8(tmp_path: Path) -> None:
    """An archive may mark a name as UTF-8 that is not. Every source of an import is checked, so nothing is raised."""
    with zipfile.ZipFile(tmp_path / "x.pt", "w") as archive:
        archive.writestr("\u00e9\u00e9", b"")
    content = (tmp_path / "x.pt").read_bytes().replace("\u00e9\u00e9".encode(), b"\xff\xff\xff\xff")
    (tmp_path / "x.pt").write_bytes(content)
    assert not is_keras(tmp_path / "x.pt") and describe(tmp_path / "x.pt") is None
    with pytest.raises(InvalidRequest):
        state_dict.read(tmp_path / "x.pt", Answers({}), allow_pickle_tensors=True)


def test_our_own_errors_are_not_called_damage() -> None:
    content = written(lambda file: file.update({"a/x": SMALL}))
    with pytest.raises(KeyError), open_hdf5(content, "x.h5"):
        raise KeyError


def test_without_h5py_the_error_names_the_package(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "h5py", None)
    with pytest.raises(InvalidRequest, match=r"pip install 'ostinato\[keras\]'"), open_hdf5(b"", "x.h5"):
        pass
