"""Files of Keras models and Tokenizers with wrong values or damaged bytes end in an import error, and nothing else."""

from __future__ import annotations

import copy
import io
import json
import random
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import h5py
import pytest

from app.errors import InvalidRequest
from app.importing.keras.infer_keras import read_model
from app.importing.keras.sources import is_keras
from app.importing.questions import Answers
from app.importing.vocabulary import tokenizer_of
from tests.importing.keras.files import unpack
from tests.importing.test_keras_texts import saved

MODELS, TOKENIZERS = 300, 1100  # changed files: for each kind of models, and Tokenizers
VALUES: list[Any] = [
    None, True, False, 0, -1, 1, 2**40, -(2**63), 0.5, "", "a", "\x00", "ä" * 300, "9" * 5000, [], {}, [[]], [0, 0],
    ["a", 0, 0], {"class_name": "LSTM", "config": {}}, {"config": []},
]  # fmt: skip


def damage(content: bytes, draw: random.Random) -> bytes:
    """Change, remove or insert a few bytes."""
    changed = bytearray(content)
    for _ in range(draw.choice((1, 1, 2, 8))):
        place = draw.randrange(len(changed) or 1)
        if draw.random() < 0.8 and changed:
            changed[place] = draw.choice((0, 1, 0x7F, 0xFF, draw.randrange(256)))
        elif draw.random() < 0.5:
            del changed[place : place + draw.randrange(1, 64)]
        else:
            changed[place:place] = draw.randbytes(8)
    return bytes(changed)


def distort(value: Any, draw: random.Random) -> Any:
    """Replace, remove or repeat a few values of parsed JSON."""
    value = copy.deepcopy(value)
    for _ in range(draw.choice((1, 1, 2, 4))):
        inner, key = draw.choice(list(places(value)))
        action = draw.random()
        if action < 0.7:
            inner[key] = copy.deepcopy(draw.choice(VALUES))
        elif action < 0.85:
            del inner[key]
        elif isinstance(inner, list):
            inner.insert(key, copy.deepcopy(inner[draw.randrange(len(inner))]))
        if not value:
            return value
    return value


def places(value: Any) -> Iterator[tuple[Any, Any]]:
    """Yield all places in parsed JSON, each as a list or dictionary and an index or a name."""
    if isinstance(value, dict | list):
        for key in list(value) if isinstance(value, dict) else range(len(value)):
            yield value, key
            yield from places(value[key])


def repacked(source: Path, draw: random.Random) -> bytes:
    """Return an archive with a changed entry."""
    stream = io.BytesIO()
    with zipfile.ZipFile(source) as old, zipfile.ZipFile(stream, "w", zipfile.ZIP_DEFLATED) as new:
        chosen = draw.choice(old.namelist())
        for name in old.namelist():
            content = old.read(name)
            if name == chosen and name == "config.json":
                content = json.dumps(distort(json.loads(content), draw)).encode()
            elif name == chosen:
                content = damage(content, draw)
            new.writestr(name, content)
    return stream.getvalue()


def archives(folder: Path, draw: random.Random) -> Path:
    source = folder / f"{draw.choice(('bidirectional', 'text-adapted', 'text-given'))}.keras"
    content = repacked(source, draw)
    (folder / "x.keras").write_bytes(damage(content, draw) if draw.random() < 0.4 else content)
    return folder / "x.keras"


def hdf5_files(folder: Path, draw: random.Random) -> Path:
    target = folder / "x.h5"
    content = (folder / f"{draw.choice(('two', 'keras2-functional'))}.h5").read_bytes()
    if draw.random() < 0.5:
        target.write_bytes(damage(content, draw))
        return target
    target.write_bytes(content)
    with h5py.File(target, "r+") as file:
        config = distort(json.loads(file.attrs["model_config"]), draw)
        file.attrs["model_config"] = json.dumps(config).encode()
    return target


def configurations(folder: Path, draw: random.Random) -> Path:
    name = draw.choice(("bidirectional", "two", "max", "gru"))
    content = (folder / f"{name}.json").read_bytes()
    target = folder / "y.weights.h5"
    target.write_bytes((folder / f"{name}.weights.h5").read_bytes())
    changed = damage(content, draw) if draw.random() < 0.2 else json.dumps(distort(json.loads(content), draw)).encode()
    (folder / "y.json").write_bytes(changed)
    return target


@pytest.mark.parametrize("make", [archives, hdf5_files, configurations])
def test_changed_models(make: Callable[[Path, random.Random], Path], tmp_path: Path) -> None:
    unpack(tmp_path)
    draw, rejected = random.Random(7), 0
    for _ in range(MODELS):
        source = make(tmp_path, draw)
        if is_keras(source):
            try:
                read_model(source, Answers({}))
            except InvalidRequest as error:
                rejected += 1
                assert len(str(error)) < 1500 and str(error).isprintable()
    assert rejected > MODELS / 5


def test_changed_tokenizers(tmp_path: Path) -> None:
    draw, rejected = random.Random(7), 0
    plain = json.loads(saved(tmp_path).read_text())
    for number in range(TOKENIZERS):
        config = plain if number % 2 else plain | {"config": distort(plain["config"], draw)}
        if number % 2:
            index = distort(json.loads(plain["config"]["word_index"]), draw)
            config = plain | {"config": plain["config"] | {"word_index": json.dumps(index)}}
        (tmp_path / "tokenizer.json").write_text(json.dumps(config))
        try:
            tokenizer_of(tmp_path / "tokenizer.json", 10, Answers({}))
        except InvalidRequest:
            rejected += 1
    assert rejected > TOKENIZERS / 5
