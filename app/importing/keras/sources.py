"""Opens the files in which Keras saves models: HDF5 files with a configuration, and archives (`.keras`)."""

from __future__ import annotations

import zipfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from app import strict_json
from app.importing.keras.hdf5 import INFLATION, Hdf5File, is_hdf5, open_hdf5, read_entry
from app.importing.keras.layers import KerasLayer
from app.importing.pytorch.tensors import Array, ForeignFileInvalid

CONFIG, WEIGHTS = "config.json", "model.weights.h5"  # entries of an archive
CONFIG_LIMIT = 64 * 2**20  # maximum size of a configuration, in bytes
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
    except (zipfile.BadZipFile, NotImplementedError, OSError):
        return False


@dataclass(frozen=True, slots=True)
class KerasFile:
    """The parsed configuration of a model, and its open weights file. `root` is the group with all layers.

    In the layout of Keras 3 (`numbered`), a layer's weights are numbered; in the older layout, they have names.
    """

    config: Any
    weights: Hdf5File
    root: str
    numbered: bool

    def read(self, layer: KerasLayer) -> dict[str, NamedWeights]:
        """Return the weights of a layer for each direction; layers other than Bidirectional only have FORWARD.

        Raises ForeignFileInvalid if a weight is missing or occurs twice.
        """
        weights: dict[str, dict[str, Array]] = {}
        place = f"{self.root}/{layer.key if self.numbered else layer.name}"
        for path, array in self.weights.arrays(place):
            direction, name = self._identify(layer, path)
            if name in weights.setdefault(direction, {}):
                raise ForeignFileInvalid(f"{self.weights.name}: {layer} has the weight {name!r} twice")
            weights[direction][name] = array
        if not weights:
            raise ForeignFileInvalid(
                f"{self.weights.name} has no weights of {layer}; the weights and the configuration must be of one model"
            )
        return dict(weights)

    def _identify(self, layer: KerasLayer, path: str) -> tuple[str, str]:
        """Return the direction and the name of a weight, given its path inside the layer's group."""
        parts = path.split("/")
        backward = any(part.startswith(BACKWARD) for part in parts[:-1]) and layer.kind == "Bidirectional"
        name = parts[-1].partition(":")[0]
        if self.numbered:
            kind = layer.settings["layer"]["class_name"] if layer.kind == "Bidirectional" else layer.kind
            names = NUMBERED.get(kind, ())
            name = names[int(name)] if name.isdecimal() and int(name) < len(names) else path
        return (BACKWARD if backward else FORWARD), name


def shapes_of(weights: NamedWeights) -> str:
    """Return the names and shapes of weights, for messages."""
    return ", ".join(f"{name} {tuple(weight.shape)}" for name, weight in weights.items()) or "there are none"


@contextmanager
def open_keras(path: Path) -> Iterator[KerasFile]:
    """Open a file that `is_keras` accepts.

    Raises ForeignFileInvalid if the file is damaged, or if it is a file of weights without a configuration beside it.
    """
    config: bytes | None
    if is_hdf5(path):
        with open_hdf5(path, path.name) as weights:
            config = weights.text("", "model_config")
            yield _keras_file(_parse(config if config is not None else _config_beside(path)), weights)
        return
    with zipfile.ZipFile(path) as archive:
        config = _entry(archive, path, CONFIG, CONFIG_LIMIT)
        content = _entry(archive, path, WEIGHTS, INFLATION * path.stat().st_size)
    with open_hdf5(content, f"{path.name}/{WEIGHTS}") as weights:
        yield _keras_file(_parse(config), weights)


def _keras_file(config: Any, weights: Hdf5File) -> KerasFile:
    for container in CONTAINERS:
        if weights.has(container):
            return KerasFile(config, weights, container, numbered=True)
    return KerasFile(config, weights, "model_weights" if weights.has("model_weights") else "", numbered=False)


def _entry(archive: zipfile.ZipFile, path: Path, name: str, limit: int) -> bytes:
    """Return the content of an archive's entry. Raises ForeignFileInvalid if it is damaged or larger than `limit`."""
    try:
        size = archive.getinfo(name).file_size
        if size > limit:
            raise ForeignFileInvalid(f"{path.name}: {name} declares {size} bytes, but the limit is {limit}")
        with archive.open(name) as file:
            return read_entry(file, size, f"{path.name}: {name}")  # type: ignore[arg-type]
    except (zipfile.BadZipFile, NotImplementedError, OSError, EOFError, RuntimeError, ValueError) as error:
        raise ForeignFileInvalid(f"{path.name}: {name} cannot be read: {str(error)[:200]}") from None


def _config_beside(path: Path) -> bytes:
    """Return the configuration beside a file of weights: `NAME.json`, `model.json` or `config.json`."""
    stem = path.name.removesuffix(path.suffix).removesuffix(".weights")
    for name in (f"{stem}.json", "model.json", CONFIG):
        file = path.with_name(name)
        if file.is_file() and file.stat().st_size <= CONFIG_LIMIT:
            return file.read_bytes()
    raise ForeignFileInvalid(
        f"{path.name} contains weights without the model's configuration; save the whole model with "
        f"model.save('{stem}.keras'), or write model.to_json() to {stem}.json beside the weights"
    )


def _parse(content: bytes) -> Any:
    try:
        return strict_json.parse(content, depth=CONFIG_DEPTH)
    except strict_json.JsonInvalid as error:
        raise ForeignFileInvalid(f"the model's configuration is not valid JSON: {error}") from None
