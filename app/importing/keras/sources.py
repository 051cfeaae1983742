"""Opens the files in which Keras saves models: HDF5 files with a configuration, and archives (`.keras`)."""

from __future__ import annotations

import lzma
import zipfile
import zlib
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from app import strict_json
from app.importing.keras.hdf5 import INFLATION, Hdf5File, is_hdf5, open_hdf5, read_entry
from app.importing.keras.layers import KerasLayer, shown
from app.importing.pytorch.tensors import Array, ForeignFileInvalid

CONFIG, WEIGHTS = "config.json", "model.weights.h5"  # entries of an archive
VOCABULARY = "vocabulary.txt"
CONFIG_LIMIT = 64 * 2**20  # maximum size of a configuration or a vocabulary, in bytes
MOST_WORDS = 2**20  # maximum number of words in a vocabulary
ARCHIVE_ERRORS = (
    zipfile.BadZipFile, zlib.error, lzma.LZMAError, NotImplementedError, OSError, EOFError, RuntimeError, ValueError,
)  # fmt: skip
CONFIG_DEPTH = 64
CONTAINERS = ("layers", "_layer_checkpoint_dependencies")  # the groups with all layers, in Keras 3 and 2.12 to 2.15
CELL = ("kernel", "recurrent_kernel", "bias")
NUMBERED = {  # class -> the names of its numbered weights
    "Embedding": ("embeddings",), "Dense": ("kernel", "bias"), "LSTM": CELL, "GRU": CELL, "SimpleRNN": CELL,
}  # fmt: skip
FORWARD, BACKWARD = "forward", "backward"
NamedWeights = Mapping[str, Array]  # by name: kernel, recurrent_kernel, bias, embeddings


def is_keras(path: Path) -> bool:
    """Whether a file is an HDF5 file or a Keras archive."""
    return is_hdf5(path) or _is_archive(path)


def _is_archive(path: Path) -> bool:
    try:
        with zipfile.ZipFile(path) as archive:
            return {CONFIG, WEIGHTS} <= set(archive.namelist())
    except ARCHIVE_ERRORS:
        return False


@dataclass(frozen=True, slots=True)
class KerasFile:
    """The parsed configuration of a model, and its open weights file. `root` is the group with all layers.

    In the layout of Keras 3 (`numbered`), a layer's weights are numbered; in the older layout, they have names.
    `asset` returns the content of an archive's entry, or None if there is no such entry. `config_file` is the name of
    the file that contains the configuration, if that is another file.
    """

    config: Any
    weights: Hdf5File
    root: str
    numbered: bool
    asset: Callable[[str], bytes | None] = lambda name: None
    config_file: str | None = None

    def read(self, layer: KerasLayer) -> dict[str, NamedWeights]:
        """Return the weights of a layer for each direction; layers other than Bidirectional only have FORWARD.

        Raises ForeignFileInvalid if a weight is missing or occurs twice.
        """
        weights: dict[str, dict[str, Array]] = {}
        place = f"{self.root}/{layer.key if self.numbered else layer.name}"
        for path, array in self.weights.arrays(place):
            direction, name = self._identify(layer, path)
            if name in weights.setdefault(direction, {}):
                raise ForeignFileInvalid(f"{self.weights.name}: {layer} has the weight '{shown(name)}' twice")
            weights[direction][name] = array
        if not weights:
            raise ForeignFileInvalid(
                f"{self.weights.name} has no weights of {layer}; the weights and the configuration must be of one model"
            )
        return dict(weights)

    def words(self, layer: KerasLayer) -> list[str] | None:
        """Return the words in the vocabulary file of a layer, or None if there is no such file.

        The file has one word on each line. Raises ForeignFileInvalid if it is not UTF-8, or has too many words.
        """
        content = self.asset(f"assets/{CONTAINERS[0]}/{layer.key}/{VOCABULARY}")
        if content is None:
            return None
        if content.count(b"\n") >= MOST_WORDS:
            raise ForeignFileInvalid(f"the vocabulary of {layer} has more than {MOST_WORDS} words")
        try:
            return content.decode().split("\n")
        except UnicodeDecodeError:
            raise ForeignFileInvalid(f"the vocabulary of {layer} is not UTF-8; save the model again") from None

    def _identify(self, layer: KerasLayer, path: str) -> tuple[str, str]:
        """Return the direction and the name of a weight, given its path inside the layer's group."""
        parts = path.split("/")
        backward = any(part.startswith(BACKWARD) for part in parts[:-1]) and layer.kind == "Bidirectional"
        name = parts[-1].partition(":")[0]
        if self.numbered:
            kind = layer.settings["layer"]["class_name"] if layer.kind == "Bidirectional" else layer.kind
            names = NUMBERED.get(kind, ())
            name = dict(zip("0123", names, strict=False)).get(name, path)
        return (BACKWARD if backward else FORWARD), name


def shapes_of(weights: NamedWeights) -> str:
    """Return the names and shapes of weights, for messages."""
    return (
        ", ".join(f"{shown(name)} {tuple(weight.shape)}" for name, weight in list(weights.items())[:8])
        or "there are none"
    )


@contextmanager
def open_keras(path: Path) -> Iterator[KerasFile]:
    """Open a file that `is_keras` accepts.

    Raises ForeignFileInvalid if the file is damaged, or if it is a file of weights without a configuration beside it.
    """
    if is_hdf5(path):
        with open_hdf5(path, path.name) as weights:
            content, beside = weights.text("", "model_config"), None
            if content is None:
                beside = _config_beside(path)
                content = beside.read_bytes()
            yield replace(_keras_file(_parse(content), weights), config_file=beside.name if beside else None)
        return
    with _open_archive(path) as archive:
        config = _parse(_entry(archive, path, CONFIG, CONFIG_LIMIT))
        content = _entry(archive, path, WEIGHTS, INFLATION * path.stat().st_size)
        present = set(archive.namelist())
        with open_hdf5(content, f"{path.name}/{WEIGHTS}", path.stat().st_size) as weights:
            weights.reserve(len(content), WEIGHTS)
            yield replace(
                _keras_file(config, weights),
                asset=lambda name: _entry(archive, path, name, CONFIG_LIMIT) if name in present else None,
            )


def _open_archive(path: Path) -> zipfile.ZipFile:
    try:
        return zipfile.ZipFile(path)
    except ARCHIVE_ERRORS as error:
        raise ForeignFileInvalid(f"{path.name} is damaged: {str(error)[:200]}") from None


def _keras_file(config: Any, weights: Hdf5File) -> KerasFile:
    for container in CONTAINERS:
        if weights.has(container):
            return KerasFile(config, weights, container, numbered=True)
    return KerasFile(config, weights, "model_weights" if weights.has("model_weights") else "", numbered=False)


def _entry(archive: zipfile.ZipFile, path: Path, name: str, limit: int) -> bytes:
    """Return the content of an archive's entry. Raises ForeignFileInvalid if it is damaged or larger than `limit`."""
    entry = archive.getinfo(name)
    place = f"{path.name}: {shown(name)}"
    if entry.file_size > limit:
        raise ForeignFileInvalid(f"{place} declares {entry.file_size} bytes, but the limit is {limit}")
    if entry.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):  # others may need much memory
        raise ForeignFileInvalid(f"{place} must be stored or deflated; save the model again with Keras")
    try:
        with archive.open(entry) as file:
            return read_entry(file, entry.file_size, place)  # type: ignore[arg-type]
    except ARCHIVE_ERRORS as error:
        raise ForeignFileInvalid(f"{place} cannot be read: {str(error)[:200]}") from None


def _config_beside(path: Path) -> Path:
    """Return the configuration beside a file of weights: `NAME.json`, `model.json` or `config.json`.

    Raises ForeignFileInvalid if there is no such file, or if the first one is too large.
    """
    stem = path.name.removesuffix(path.suffix).removesuffix(".weights")
    for name in (f"{stem}.json", "model.json", CONFIG):
        file = path.with_name(name)
        if file.is_file():
            if (size := file.stat().st_size) > CONFIG_LIMIT:
                raise ForeignFileInvalid(
                    f"{name} beside {path.name} has {size} bytes, but a configuration has at most {CONFIG_LIMIT}"
                )
            return file
    raise ForeignFileInvalid(
        f"{path.name} contains weights without the model's configuration; save the whole model with "
        f"model.save('{stem}.keras'), or write model.to_json() to {stem}.json beside the weights"
    )


def _parse(content: bytes) -> Any:
    try:
        return strict_json.parse(content, depth=CONFIG_DEPTH)
    except strict_json.JsonInvalid as error:
        raise ForeignFileInvalid(f"the model's configuration is not valid JSON: {error}") from None
