"""Valid and invalid checkpoint directories (SEC-01, SEC-04, SEC-05)."""

from __future__ import annotations

import json
import math
import os
import struct
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
import tokenizers
from hypothesis import given
from hypothesis import strategies as st
from tokenizers import pre_tokenizers

from app.checkpoint.directory import digest, manifest, validate, write_json
from app.checkpoint.patterns import SAFE
from app.checkpoint.weights import parse_header
from app.errors import CheckpointInvalid
from models.config import ModelConfig
from models.parameters import shapes
from tests.checkpoints import make_checkpoint, safetensors

F32 = {"dtype": "F32", "shape": [2], "data_offsets": [0, 8]}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return make_checkpoint(tmp_path / "checkpoint")


def test_a_valid_directory_is_read(folder: Path) -> None:
    checkpoint = validate(folder)
    assert (checkpoint.config.architecture, checkpoint.labels, checkpoint.parameters) == ("lstm", ["no", "yes"], 722)
    assert checkpoint.tokenizer and checkpoint.training == {"seed": 0}


def test_the_digest_depends_on_names_and_bytes_alone(folder: Path, tmp_path: Path) -> None:
    same = make_checkpoint(tmp_path / "same")
    os.utime(same / "config.json", (1.0, 1.0))
    assert digest(manifest(folder)) == digest(manifest(same))
    other = make_checkpoint(tmp_path / "other", seed=1)
    assert digest(manifest(folder)) != digest(manifest(other))
    assert list(manifest(folder)) == sorted(manifest(folder))


@pytest.mark.parametrize("name", ["model.pt", "model.pkl", "pytorch_model.bin", "code.py", ".hidden", "CONFIG.JSON"])
def test_sec_01_other_files_are_refused(folder: Path, name: str) -> None:
    (folder / name).write_bytes(b"x")
    with pytest.raises(CheckpointInvalid, match="does not belong"):
        manifest(folder)


def test_links_pipes_and_folders_are_refused(folder: Path, tmp_path: Path) -> None:
    (folder / "README.md").symlink_to("/etc/passwd")
    with pytest.raises(CheckpointInvalid, match="regular file"):
        manifest(folder)
    (folder / "README.md").unlink()
    os.mkfifo(folder / "results.csv")
    with pytest.raises(CheckpointInvalid, match="regular file"):
        manifest(folder)
    (folder / "results.csv").unlink()
    (folder / "plots").symlink_to(tmp_path)
    with pytest.raises(CheckpointInvalid, match="regular file"):
        manifest(folder)


def test_a_directory_may_hold_plots(folder: Path) -> None:
    (folder / "plots").mkdir()
    (folder / "plots" / "loss.png").write_bytes(b"x")
    assert "plots/loss.png" in manifest(folder)
    (folder / "plots" / "evil.html").write_bytes(b"x")
    with pytest.raises(CheckpointInvalid, match="does not belong"):
        manifest(folder)


@pytest.mark.parametrize("name", ["config.json", "model.safetensors"])
def test_configuration_and_weights_are_required(folder: Path, name: str) -> None:
    (folder / name).unlink()
    with pytest.raises(CheckpointInvalid, match="missing"):
        validate(folder)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"auto_map": {"AutoModel": "evil--x.Model"}, "trust_remote_code": True}, "'auto_map', 'trust_remote_code'"),
        ({"_name_or_path": "other/repo"}, "_name_or_path"),
        ({"vision_config": {"architectures": ["X"]}}, "vision_config"),
        ({"format_version": 2}, "format_version"),
        ({"format_version": None}, "format_version"),
        ({"architecture": "os.system"}, "architecture"),
        ({"width": "8"}, "width"),
        ({"width": True}, "width"),
        ({"width": 2**40}, "width"),
        ({"classes": 3}, "labels.json"),
        ({"threshold": 1.5}, "threshold"),
        ({"chat_template": "{{ messages }}"}, "chat_template is allowed only for generation"),
        ({"normalization": {"mean": [0.0], "std": [1.0]}}, "normalization"),
        ({"target": {"mean": 0.0, "std": 1.0}}, "target"),
    ],
)
def test_sec_05_configurations_are_checked(tmp_path: Path, changes: dict[str, Any], message: str) -> None:
    with pytest.raises(CheckpointInvalid, match=message):
        validate(make_checkpoint(tmp_path / "c", **changes))


def test_labels_in_the_configuration_must_match_labels_json(folder: Path) -> None:
    config = json.loads((folder / "config.json").read_text())
    write_json(folder / "config.json", config | {"labels": ["no", "yes"]})
    assert validate(folder).labels == ["no", "yes"]
    write_json(folder / "config.json", config | {"labels": ["yes", "no"]})
    with pytest.raises(CheckpointInvalid, match="labels differ"):
        validate(folder)


@pytest.mark.parametrize(
    "normalization",
    [{"mean": [0.0]}, {"mean": [0.0], "std": [1.0, 1.0]}, {"mean": [0.0, 0.0], "std": [1.0, 0.0]}, [1]],
)
def test_invalid_normalization_is_refused(tmp_path: Path, normalization: object) -> None:
    shape: dict[str, Any] = {"input": "features", "features": 2, "vocab_size": None}
    good = {"mean": [0.0, 1], "std": [1.0, 2]}
    assert not validate(make_checkpoint(tmp_path / "good", normalization=good, **shape)).tokenizer
    with pytest.raises(CheckpointInvalid, match="normalization"):
        validate(make_checkpoint(tmp_path / "bad", normalization=normalization, **shape))


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("config.json", "[1]"),
        ("config.json", "{"),
        ("config.json", '{"width": 1, "width": 2}'),
        ("config.json", '{"dropout": NaN}'),
        ("config.json", "[" * 100_000),
        ("labels.json", '["no", "no"]'),
        ("labels.json", '["no", 1]'),
        ("labels.json", '{"no": 0}'),
        ("tokenizer.json", "not json"),
        ("training.json", "3"),
    ],
)
def test_malformed_json_is_refused(folder: Path, name: str, text: str) -> None:
    (folder / name).write_text(text)
    with pytest.raises(CheckpointInvalid, match=name):
        validate(folder)


@pytest.mark.parametrize(
    "part",
    [
        {"pre_tokenizer": {"type": "Split", "pattern": {"Regex": "(a+)+$"}}},
        {"normalizer": {"type": "Sequence", "normalizers": [{"type": "Replace", "pattern": {"Regex": "(a+)+$"}}]}},
        {"decoder": {"type": "Sequence", "decoders": [{"type": "Replace", "pattern": {"Regex": "(a+)+$"}}]}},
    ],
    ids=lambda part: next(iter(part)),
)
def test_a_tokenizer_with_an_unknown_regular_expression_is_refused(folder: Path, part: dict[str, Any]) -> None:
    (folder / "tokenizer.json").write_text(json.dumps({"version": "1.0", **part}))
    with pytest.raises(CheckpointInvalid, match=r"regular expression '\(a\+\)\+\$'") as caught:
        validate(folder)
    assert caught.value.param == "tokenizer.json"


def test_the_regular_expressions_of_public_tokenizers_are_accepted(folder: Path) -> None:
    """The expressions of GPT-2 and Llama 3 are written as in their files. The library can compile all expressions."""
    for pattern in (
        r"'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+",
        r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*"
        r"|\s*[\r\n]+|\s+(?!\S)|\s+",
    ):
        splits = {"type": "Split", "pattern": {"Regex": pattern}, "behavior": "Isolated", "invert": False}
        (folder / "tokenizer.json").write_text(json.dumps({"pre_tokenizer": splits}))
        assert validate(folder).tokenizer
    for pattern in SAFE:
        assert pre_tokenizers.Split(tokenizers.Regex(pattern), "isolated").pre_tokenize_str("a1 !") is not None


def test_only_directories_for_tokens_have_a_tokenizer(folder: Path, tmp_path: Path) -> None:
    (folder / "tokenizer.json").unlink()
    with pytest.raises(CheckpointInvalid, match="tokenizer"):
        validate(folder)
    numeric = make_checkpoint(tmp_path / "n", input="features", features=2, vocab_size=None)
    (numeric / "tokenizer.json").write_text("{}")
    with pytest.raises(CheckpointInvalid, match="tokenizer"):
        validate(numeric)


def _file(header: object, data: bytes) -> bytes:
    raw = header if isinstance(header, bytes) else json.dumps(header).encode()
    return struct.pack("<Q", len(raw)) + raw + data


SEC_04 = {
    "empty": b"",
    "short": b"\x01\x00\x00",
    "header beyond the end": struct.pack("<Q", 2**63) + b"{}",
    "header of the largest length": struct.pack("<Q", 2**64 - 1) + b"{}",
    "invalid JSON": _file(b"{nonsense", b""),
    "a list": _file(b"[]", b""),
    "no tensors": _file({}, b""),
    "past the end": _file({"a": F32}, b"1234"),
    "bytes left over": _file({"a": F32}, b"123456789"),
    "offsets overlap": _file({"a": F32, "b": {**F32, "data_offsets": [4, 12]}}, bytes(12)),
    "the same bytes twice": _file({"a": F32, "b": F32}, bytes(8)),
    "a gap": _file({"a": F32, "b": {**F32, "data_offsets": [12, 20]}}, bytes(20)),
    "a gap at the start": _file({"a": {**F32, "data_offsets": [4, 12]}}, bytes(12)),
    "negative size": _file({"a": {**F32, "shape": [-2]}}, bytes(8)),
    "two negative sizes": _file({"a": {**F32, "shape": [-2, -1]}}, bytes(8)),
    "huge shape": _file({"a": {**F32, "shape": [2**62, 4]}}, bytes(8)),
    "a size of many digits": _file(
        b'{"a":{"dtype":"F32","shape":[' + b"9" * 5000 + b'],"data_offsets":[0,8]}}', bytes(8)
    ),
    "too many sizes": _file({"a": {**F32, "shape": [1] * 9 + [2]}}, bytes(8)),
    "size as a fraction": _file({"a": {**F32, "shape": [2.0]}}, bytes(8)),
    "size as a boolean": _file({"a": {**F32, "shape": [2, True]}}, bytes(8)),
    "descending offsets": _file({"a": {**F32, "data_offsets": [8, 0]}}, bytes(8)),
    "one offset": _file({"a": {**F32, "data_offsets": [8]}}, bytes(8)),
    "negative offset": _file({"a": {**F32, "data_offsets": [-8, 0]}}, bytes(8)),
    "unknown dtype": _file({"a": {**F32, "dtype": "PICKLE"}}, bytes(8)),
    "dtype as a list": _file({"a": {**F32, "dtype": ["F32"]}}, bytes(8)),
    "dtype of another size": _file({"a": {**F32, "dtype": "F64"}}, bytes(8)),
    "extra field": _file({"a": {**F32, "code": "x"}}, bytes(8)),
    "tensor that is not an object": _file({"a": 3}, bytes(8)),
    "name twice": _file(b'{"a":%s,"a":%s}' % ((json.dumps(F32).encode(),) * 2), bytes(8)),
    "field twice": _file(b'{"a":{"dtype":"F32","shape":[1],"shape":[2],"data_offsets":[0,8]}}', bytes(8)),
    "metadata": _file({"__metadata__": {"job": "ftjob-1"}, "a": F32}, bytes(8)),
    "deep": _file(b'{"a":' + b"[" * 100_000 + b"]" * 100_000 + b"}", b""),
    "not utf-8": _file(b'{"\xff":{}}', b""),
}


@pytest.mark.parametrize("data", SEC_04.values(), ids=SEC_04.keys())
def test_sec_04_invalid_headers_are_refused(folder: Path, data: bytes) -> None:
    (folder / "model.safetensors").write_bytes(data)
    with pytest.raises(CheckpointInvalid, match=r"model\.safetensors is not valid"):
        validate(folder)


def test_headers_of_common_writers_are_read() -> None:
    header = {"__metadata__": {"format": "pt"}, "b": {**F32, "data_offsets": [8, 16]}, "a": F32, "none": {**F32}}
    header["none"] = {"dtype": "I64", "shape": [0, 7], "data_offsets": [8, 8]}
    raw = json.dumps(header).encode() + b"   "
    assert sum(entry.elements for entry in parse_header(raw, 16).values()) == 4


def replace_tensors(folder: Path, change: dict[str, tuple[list[int], bytes] | None]) -> None:
    """Replace tensors of a valid checkpoint; None removes one."""
    config = ModelConfig.from_dict(json.loads((folder / "config.json").read_bytes()))
    tensors = {name: (list(shape), bytes(4 * math.prod(shape))) for name, shape in shapes(config).items()}
    (folder / "model.safetensors").write_bytes(
        safetensors({name: tensor for name, tensor in (tensors | change).items() if tensor is not None})
    )


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"head.bias": None}, "tensor 'head.bias' of shape (2,) is missing"),
        ({"extra.weight": ([1], bytes(4))}, "tensor 'extra.weight' is not a parameter of this network"),
        ({"head.weight": ([8, 2], bytes(64))}, "tensor 'head.weight' has shape (8, 2); it must have (2, 8)"),
    ],
    ids=["missing", "unexpected", "transposed"],
)
def test_the_weights_must_match_the_configuration(folder: Path, change: Any, message: str) -> None:
    replace_tensors(folder, {})
    assert validate(folder).parameters == 722
    replace_tensors(folder, change)
    with pytest.raises(CheckpointInvalid) as caught:
        validate(folder)
    assert message in caught.value.message


def test_integer_weights_are_refused(folder: Path) -> None:
    data = (folder / "model.safetensors").read_bytes()
    (folder / "model.safetensors").write_bytes(data.replace(b'"dtype": "F32"', b'"dtype": "I32"', 1))
    with pytest.raises(CheckpointInvalid, match="dtype I32; it must have one of BF16, F16, F32, F64"):
        validate(folder)


@given(
    shapes=st.lists(st.lists(st.integers(0, 4), max_size=3), min_size=1, max_size=5),
    change=st.integers(0, 10_000),
    byte=st.integers(0, 255),
)
def test_sec_04_a_changed_header_never_reads_outside(shapes: list[list[int]], change: int, byte: int) -> None:
    """A changed header is rejected unless its tensors still fill the file without gaps or overlaps."""

    def size(shape: list[int]) -> int:
        count = 4
        for s in shape:
            count *= s
        return count

    whole = safetensors({str(i): (shape, bytes(size(shape))) for i, shape in enumerate(shapes)})
    length = int.from_bytes(whole[:8], "little")
    raw, data = bytearray(whole[8 : 8 + length]), len(whole) - 8 - length
    assert len(parse_header(bytes(raw), data)) == len(shapes)
    raw[change % length] = byte
    try:
        entries = parse_header(bytes(raw), data)
    except CheckpointInvalid:
        return
    spans = sorted((e.begin, e.end) for e in entries.values())
    assert spans[0][0] == 0 and spans[-1][1] == data
    assert all(a[1] == b[0] for a, b in pairwise(spans))


@given(st.binary(max_size=200))
def test_sec_04_noise_is_refused(raw: bytes) -> None:
    with pytest.raises(CheckpointInvalid):
        parse_header(b"{" + raw, 8)


def test_json_is_written_completely(tmp_path: Path) -> None:
    path = tmp_path / "a.json"
    write_json(path, {"b": 1, "a": "é"})
    assert path.read_text() == '{\n  "a": "é",\n  "b": 1\n}\n'
    with pytest.raises(ValueError, match="JSON"):
        write_json(path, {"a": float("nan")})
    assert read_back(path) == {"a": "é", "b": 1}
    assert list(tmp_path.iterdir()) == [path]


def read_back(path: Path) -> object:
    return json.loads(path.read_text())
