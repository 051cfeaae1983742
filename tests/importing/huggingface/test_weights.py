"""Weights in shards, and damaged or malicious files."""

from __future__ import annotations

import json
import random
import tracemalloc
from pathlib import Path

import pytest

from app.importing.huggingface.weights import find_files, read_safetensors, read_weights
from app.importing.pytorch.tensors import ForeignFileInvalid
from app.importing.questions import Answers
from tests.importing.huggingface.directories import CASES, bring, copied, edit

INDEX = "model.safetensors.index.json"


@pytest.mark.parametrize("name", ["../model.safetensors", "/etc/passwd", "a\\b", "", 3, ["a"], "x/../y"])
def test_an_index_names_files_next_to_it(name: object, tmp_path: Path) -> None:
    source = copied("roberta", tmp_path)
    edit(source / INDEX, weight_map={"a": name})
    with pytest.raises(ForeignFileInvalid, match="not the name of a file in the same directory"):
        find_files(source)


def test_every_shard_is_there_and_has_its_own_tensors(tmp_path: Path) -> None:
    source = copied("roberta", tmp_path)
    first, second, _ = find_files(source)
    with pytest.raises(ForeignFileInvalid, match="is also in another file"):
        read_weights([first, second, first], Answers({}), allow_pickle_tensors=False)
    second.unlink()
    with pytest.raises(ForeignFileInvalid, match=second.name):
        find_files(source)


def test_a_directory_without_weights_names_the_files_that_it_has(tmp_path: Path) -> None:
    source = copied("bert", tmp_path)
    (source / "model.safetensors").rename(source / "tf_model.h5")
    with pytest.raises(ForeignFileInvalid, match=r"tf_model\.h5 cannot be imported"):
        find_files(source)


def test_a_pickle_is_read_only_on_request_and_never_run(tmp_path: Path) -> None:
    source = copied("minilm", tmp_path)
    with pytest.raises(ForeignFileInvalid, match="--allow-pickle-tensors"):
        read_weights(find_files(source), Answers({}), allow_pickle_tensors=False)
    (source / "pytorch_model.bin").write_bytes(b"\x80\x04cposix\nsystem\n(S'touch /tmp/ran'\ntR.")
    with pytest.raises(ForeignFileInvalid):
        bring(source, tmp_path / "out")


def test_mutated_headers_never_allocate_more_than_the_file(tmp_path: Path) -> None:
    content = (CASES / "bert" / "model.safetensors").read_bytes()
    length = 8 + int.from_bytes(content[:8], "little")
    path, chance = tmp_path / "mutated.safetensors", random.Random(3)
    read_safetensors(CASES / "bert" / "model.safetensors")
    tracemalloc.start()
    for _ in range(2_000):
        changed = bytearray(content)
        for _ in range(chance.choice((1, 1, 2, 8))):
            changed[chance.randrange(8) if chance.random() < 0.1 else chance.randrange(length)] = chance.randrange(256)
        path.write_bytes(changed[: chance.choice((len(changed), len(changed), chance.randrange(len(changed))))])
        try:
            read_safetensors(path)
        except ForeignFileInvalid:
            continue
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 2**20 + 8 * len(content)


@pytest.mark.parametrize(
    "entry",
    [
        {"dtype": "F32", "shape": [2**40], "data_offsets": [0, 4]},
        {"dtype": "F32", "shape": [-1], "data_offsets": [0, 4]},
        {"dtype": "F32", "shape": [1], "data_offsets": [4, 8]},
        {"dtype": "F8_E4M3", "shape": [4], "data_offsets": [0, 4]},
        {"dtype": "U32", "shape": [1], "data_offsets": [0, 4]},
    ],
)
def test_false_headers(entry: dict[str, object], tmp_path: Path) -> None:
    header = json.dumps({"a": entry}).encode()
    path = tmp_path / "model.safetensors"
    path.write_bytes(len(header).to_bytes(8, "little") + header + bytes(4))
    with pytest.raises(ForeignFileInvalid):
        read_safetensors(path)
    path.write_bytes((2**63).to_bytes(8, "little") + header + bytes(4))
    with pytest.raises(ForeignFileInvalid, match="header declares"):
        read_safetensors(path)
