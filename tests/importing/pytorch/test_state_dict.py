"""Weights are read as in PyTorch, but code in a file is never run."""

from __future__ import annotations

import contextlib
import io
import os
import pickle
import zipfile
from collections import OrderedDict
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import safetensors.torch
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from app.importing.pytorch import pickled
from app.importing.pytorch.state_dict import read
from app.importing.pytorch.tensors import ForeignFileInvalid
from app.importing.questions import Answers

DTYPES = [
    torch.float64, torch.float32, torch.float16, torch.bfloat16, torch.int64, torch.int32, torch.int16, torch.int8,
    torch.uint8, torch.bool,
]  # fmt: skip


def read_pt(path: Path) -> dict[str, Any]:
    return read(path, Answers({}), allow_pickle_tensors=True).tensors


@pytest.mark.parametrize("protocol", [2, 3, 4, 5])
@pytest.mark.parametrize("dtype", DTYPES, ids=str)
def test_tensors_are_read_as_torch_reads_them(dtype: torch.dtype, protocol: int, tmp_path: Path) -> None:
    base = (torch.randn(4, 6) * 3).to(dtype)
    tensors = {"whole": base, "turned": base.t(), "part": base[1:3, ::2], "scalar": base[0, 0], "empty": base[:0]}
    torch.save(OrderedDict(tensors), tmp_path / "x.pt", pickle_protocol=protocol)
    loaded = read_pt(tmp_path / "x.pt")
    assert list(loaded) == list(tensors)
    for name, tensor in tensors.items():
        assert loaded[name].dtype == np.float32
        np.testing.assert_array_equal(loaded[name], tensor.float().numpy())


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
def test_safetensors(dtype: torch.dtype, tmp_path: Path) -> None:
    tensor = (torch.randn(4, 6) * 3).to(dtype)
    safetensors.torch.save_file({"x": tensor}, tmp_path / "x.safetensors", metadata={"made": "elsewhere"})
    np.testing.assert_array_equal(read(tmp_path / "x.safetensors", Answers({})).tensors["x"], tensor.float().numpy())


@pytest.mark.parametrize(
    "wrap",
    [
        lambda state: {"epoch": 3, "model_state_dict": state, "optimizer": {"lr": [0.1, None, True]}},
        lambda state: {"state_dict": OrderedDict({f"module.{k}": v for k, v in state.items()})},
        lambda state: {f"_orig_mod.module.{k}": nn.Parameter(v) for k, v in state.items()},
    ],
)
def test_wrapped_state_dicts_are_unwrapped(wrap: Any, tmp_path: Path) -> None:
    state = nn.LSTM(2, 3).state_dict()
    torch.save(wrap(state), tmp_path / "x.pt")
    loaded = read_pt(tmp_path / "x.pt")
    assert {name: tensor.tolist() for name, tensor in loaded.items()} == {k: v.tolist() for k, v in state.items()}


class Canary:
    """An object whose pickle creates a directory when it is run."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[Any, ...]:
        return (os.mkdir, (str(self.path),))


def archive(path: Path, data: bytes, **entries: bytes) -> Path:
    with zipfile.ZipFile(path, "w") as file:
        file.writestr("x/data.pkl", data)
        for name, content in entries.items():
            file.writestr(f"x/{name.replace('__', '/')}", content)
    return path


def test_sec_01_a_pickle_is_not_run(tmp_path: Path) -> None:
    canary = tmp_path / "canary"
    for protocol in range(6):
        data = pickle.dumps({"weight": Canary(canary)}, protocol=protocol)
        with pytest.raises(ForeignFileInvalid, match=r"no code was run|none of its code was run"):
            read_pt(archive(tmp_path / "x.pt", data))
        assert not canary.exists()
    torch.save({"weight": Canary(canary)}, tmp_path / "y.pt")
    with pytest.raises(ForeignFileInvalid, match=r"posix\.mkdir"):
        read_pt(tmp_path / "y.pt")
    assert not canary.exists()
    with pytest.raises(ForeignFileInvalid, match="--allow-pickle-tensors"):
        read(tmp_path / "y.pt", Answers({}))


GADGETS = {
    "call of a storage type": b"ctorch\nFloatStorage\n)R.",
    "inner import": b"ctorch._utils\n_rebuild_tensor_v2.__globals__\n.",
    "other module": b"ctorch._utils\n_import_dotted_name\n(Vos.system\ntR.",
    "builtins": b"cbuiltins\neval\n(V1\ntR.",
    "dictionary with arguments": b"ccollections\nOrderedDict\n(]tR.",
    "instance": b"(ios\nsystem\n.",
    "extension": b"\x82\x01.",
    "new object": b"ccollections\nOrderedDict\n)\x81.",
    "parameter without a tensor": b"ctorch._utils\n_rebuild_parameter\n(K\x01\x88Ntr.",
    "negative memo": b"\x80\x02}r\xff\xff\xff\xff.",
    "unset memo": b"\x80\x02h\x07.",
    "missing end": b"\x80\x02}",
    "two values": b"\x80\x02}}.",
    "empty stack": b"\x80\x020.",
    "unbalanced": b"\x80\x02}K\x01u.",
    "a key that is a tuple": b"\x80\x02})K\x01s.",
    "state on nothing": b"\x80\x02b.",
    "bad escape": b"c\\o\nx\n.",
    "text": b"not a pickle",
    "empty": b"",
}


@pytest.mark.parametrize("data", GADGETS.values(), ids=GADGETS.keys())
def test_sec_02_every_other_opcode_is_refused(data: bytes, tmp_path: Path) -> None:
    with pytest.raises(ForeignFileInvalid):
        read_pt(archive(tmp_path / "x.pt", data))


@settings(max_examples=300)
@given(st.data())
def test_sec_02_damaged_pickles_end_in_a_refusal(data: st.DataObject) -> None:
    buffer = io.BytesIO()
    torch.save({"a": torch.ones(2), "b": nn.Parameter(torch.ones(3))}, buffer)
    with zipfile.ZipFile(buffer) as file:
        whole = bytearray(file.read("archive/data.pkl"))
    for _ in range(data.draw(st.integers(1, 4))):
        whole[data.draw(st.integers(0, len(whole) - 1))] = data.draw(st.integers(0, 255))
    with contextlib.suppress(ForeignFileInvalid):
        pickled.read(bytes(whole))


def test_sec_03_no_unpickler_is_called(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def never(*_: object, **__: object) -> None:
        raise AssertionError("an unpickler was used")

    for place in ("torch.load", "pickle.load", "pickle.loads", "pickle.Unpickler"):
        monkeypatch.setattr(place, never)
    with pytest.raises(ForeignFileInvalid, match=r"collections\.deque"):
        read_pt(archive(tmp_path / "x.pt", b"ccollections\ndeque\n)R."))


def test_a_whole_model_is_refused_with_advice(tmp_path: Path) -> None:
    torch.save(nn.Linear(2, 2), tmp_path / "x.pt")
    with pytest.raises(ForeignFileInvalid, match=r"Linear.*state_dict"):
        read_pt(tmp_path / "x.pt")


def _tensor(offset: int, shape: tuple[int, ...], strides: tuple[int, ...], count: int = 4) -> bytes:
    """The pickle of a state dict with one tensor of this offset, shape and strides."""

    def number(value: int) -> bytes:
        return b"J" + value.to_bytes(4, "little", signed=True)

    def row(values: tuple[int, ...]) -> bytes:
        return b"(" + b"".join(map(number, values)) + b"t"

    storage = b"(X\x07\0\0\0storagectorch\nFloatStorage\nX\x01\0\0\x000X\x03\0\0\0cpu" + number(count) + b"tQ"
    call = b"ctorch._utils\n_rebuild_tensor_v2\n(" + storage + number(offset) + row(shape) + row(strides) + b"\x89NtR"
    return b"\x80\x02}X\x01\0\0\0w" + call + b"s."


def test_tensors_stay_within_their_storage(tmp_path: Path) -> None:
    numbers = np.arange(4, dtype="<f4").tobytes()
    path = archive(tmp_path / "x.pt", _tensor(1, (3,), (1,)), data__0=numbers)
    assert read_pt(path)["w"].tolist() == [1, 2, 3]
    bad = [
        (2, (3,), (1,)),
        (-1, (3,), (1,)),
        (0, (2, 2), (1,)),
        (0, (2,), (-1,)),
        (0, (-1,), (1,)),
        (0, (99_999,), (0,)),
    ]
    for offset, shape, strides in bad:
        with pytest.raises(ForeignFileInvalid, match="extends beyond"):
            read_pt(archive(tmp_path / "x.pt", _tensor(offset, shape, strides), data__0=numbers))
    for count, data in ((5, numbers), (3, numbers), (2**30, numbers)):
        with pytest.raises(ForeignFileInvalid):
            read_pt(archive(tmp_path / "x.pt", _tensor(0, (1,), (1,), count), data__0=data))
    with pytest.raises(ForeignFileInvalid, match="does not contain"):
        read_pt(archive(tmp_path / "x.pt", _tensor(0, (1,), (1,))))


def test_files_that_are_not_archives_of_weights(tmp_path: Path) -> None:
    good = pickle.dumps({}, protocol=2)
    (tmp_path / "a.pt").write_bytes(good)
    torch.save({"w": torch.ones(1)}, tmp_path / "b.pt", _use_new_zipfile_serialization=False)
    archive(tmp_path / "c.pt", _tensor(0, (1,), (1,)), data__0=bytes(16), byteorder=b"big")
    archive(tmp_path / "d.pt", _tensor(0, (1,), (1,)), data__0=bytes(16), **{"constants.pkl": b"x"})
    with zipfile.ZipFile(tmp_path / "e.pt", "w", zipfile.ZIP_DEFLATED) as file:
        file.writestr("x/data.pkl", _tensor(0, (1,), (1,)))
    archive(tmp_path / "f.pt", good)
    (tmp_path / "g.safetensors").write_bytes(b"\xff" * 100)
    (tmp_path / "h.h5").write_bytes(b"")
    for name in ("a.pt", "b.pt", "c.pt", "d.pt", "e.pt", "f.pt", "g.safetensors", "h.h5", "missing.pt"):
        with pytest.raises(ForeignFileInvalid):
            read_pt(tmp_path / name)
