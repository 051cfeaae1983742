"""`import` and `export`: directories and tars, there and back; foreign weights are refused or converted here."""

from __future__ import annotations

import gzip
import io
import pickle
import tarfile
from pathlib import Path

import pytest

from app.cli.transfer import _names
from app.errors import InvalidRequest
from app.importing.pytorch.state_dict import PICKLES
from tests.cli.conftest import Run
from tests.cli.service import Request, Service

ROUTE = "/v1/registry/models/reviews/versions"


def archive(**files: str) -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as tar:
        for name, text in files.items():
            entry = tarfile.TarInfo(name)
            entry.size = len(text)
            tar.addfile(entry, io.BytesIO(text.encode()))
    return buffer.getvalue()


@pytest.fixture
def registry(service: Service) -> Service:
    def accept(request: Request) -> tuple[int, object]:
        return 200, {"version": 4, "task": "classification", "architecture": "lstm"}

    service.routes |= {f"POST {ROUTE}": accept, f"GET {ROUTE}/4/export": (200, archive(**{"config.json": "{}"}))}
    return service


def test_a_directory_travels_as_a_tar(registry: Service, ostinato: Run, tmp_path: Path) -> None:
    (tmp_path / "made" / "plots").mkdir(parents=True)
    (tmp_path / "made" / "config.json").write_text("{}")
    (tmp_path / "made" / "plots" / "loss.svg").write_text("<svg/>")
    (tmp_path / "made" / "link").symlink_to("/etc/passwd")
    done = ostinato("import", "made", "--name", "reviews")
    assert done.out == "reviews:4 is registered: classification, lstm\n"
    body = registry.requests[0].body
    assert b'name="file"' in body
    start = body.index(b"\r\n\r\n") + 4
    with tarfile.open(fileobj=io.BytesIO(body[start:])) as tar:
        assert sorted(tar.getnames()) == ["config.json", "plots/loss.svg"]


def test_a_tar_is_sent_as_it_is(registry: Service, ostinato: Run, tmp_path: Path) -> None:
    (tmp_path / "a.tar").write_bytes(archive(x="y"))
    assert ostinato("import", "a.tar", "--name", "reviews").status == 0
    assert archive(x="y") in registry.requests[0].body


def test_export_saves_a_tar_or_a_new_directory(registry: Service, ostinato: Run, tmp_path: Path) -> None:
    assert "saved reviews:4 as reviews-4.tar" in ostinato("export", "reviews:4").out
    with tarfile.open(tmp_path / "reviews-4.tar") as tar:
        assert tar.getnames() == ["config.json"]
    assert ostinato("export", "reviews:4", "-o", "folder").status == 0
    assert (tmp_path / "folder" / "config.json").read_text() == "{}"
    assert "exists already" in ostinato("export", "reviews:4", "-o", "folder").err


def test_an_export_cannot_write_outside_its_directory(registry: Service, ostinato: Run, tmp_path: Path) -> None:
    registry.routes[f"GET {ROUTE}/4/export"] = (200, archive(**{"../outside": "x"}))
    assert ostinato("export", "reviews:4", "-o", "folder").status == 1
    assert not (tmp_path / "outside").exists()


def test_a_failed_export_leaves_nothing(registry: Service, ostinato: Run, tmp_path: Path) -> None:
    del registry.routes[f"GET {ROUTE}/4/export"]
    assert ostinato("export", "reviews:4").status == 1
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("suffix", PICKLES)
def test_a_pickle_needs_the_users_word(registry: Service, ostinato: Run, tmp_path: Path, suffix: str) -> None:
    (tmp_path / f"model{suffix}").write_bytes(b"\x80\x04.")
    done = ostinato("import", f"model{suffix}", "--name", "reviews")
    assert done.status == 1 and "--allow-pickle-tensors" in done.err
    assert not registry.requests


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"\x80\x04.",
        pickle.dumps({"weights": [1.0] * 1000}),
        b"PK\x03\x04" + bytes(1000),
        bytes(2048),
        gzip.compress(pickle.dumps([1.0] * 1000)),
        b"\x1f\x8b",
        gzip.compress(b"x" * 1000)[:40],
    ],
    ids=["nothing", "short", "pickle", "zip", "zeros", "packed pickle", "no gzip", "cut off"],
)
@pytest.mark.parametrize("name", ["model", "model.tar", "model.tar.gz"])
def test_nothing_but_a_tar_is_sent(registry: Service, ostinato: Run, tmp_path: Path, name: str, content: bytes) -> None:
    (tmp_path / name).write_bytes(content)
    done = ostinato("import", name, "--name", "reviews")
    assert done.status == 1 and "neither a checkpoint directory nor a tar" in done.err
    assert not registry.requests


def test_a_packed_tar_is_sent_as_it_is(registry: Service, ostinato: Run, tmp_path: Path) -> None:
    packed = gzip.compress(archive(x="y"))
    (tmp_path / "a.tgz").write_bytes(packed)
    assert ostinato("import", "a.tgz", "--name", "reviews").status == 0
    assert packed in registry.requests[0].body


def test_what_is_no_checkpoint_is_refused_here(registry: Service, ostinato: Run, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    assert "no config.json" in ostinato("import", "empty", "--name", "reviews").err
    assert "nowhere" in ostinato("import", "nowhere", "--name", "reviews").err


def test_plain_weights_are_converted_here(registry: Service, ostinato: Run, tmp_path: Path) -> None:
    import torch
    from safetensors.torch import save_file

    torch.manual_seed(0)
    body, head = torch.nn.RNN(5, 8, batch_first=True), torch.nn.Linear(8, 2)
    state = {f"rnn.{k}": v for k, v in body.state_dict().items()} | {f"fc.{k}": v for k, v in head.state_dict().items()}
    save_file(state, tmp_path / "m.safetensors")
    answers = ["--set", "task=classification", "--set", "pooling=last", "--set", "nonlinearity=tanh"]
    done = ostinato("import", "m.safetensors", "--name", "reviews", "--labels", "no,yes", *answers)
    assert done.status == 0, done.err
    assert b"model.safetensors" in registry.requests[0].body and b'"yes"' in registry.requests[0].body
    assert done.err.startswith("assumed context_length=4096: ") and "assumed task" not in done.err
    done = ostinato("import", "m.safetensors", "--name", "reviews", "--labels", "no,yes", *answers[2:])
    assert "assumed task=classification: one of its 2 outputs is right" in done.err
    several = ["--labels", "a,b", "--task", "multilabel", *answers[2:]]
    done = ostinato("import", "m.safetensors", "--name", "reviews", *several)
    assert done.status == 0 and "assumed task" not in done.err
    assert b'"task": "multilabel"' in registry.requests[-1].body


@pytest.mark.parametrize(
    ("labels", "content"),
    [
        (",".join(f"label number {i}" for i in range(60)), None),
        ("names.txt", b"caf\xe9"),
        ("names.txt", "a\r\nb\u2028b\n".encode()),
    ],
    ids=["long", "no UTF-8", "file"],
)
def test_labels_in_a_line_or_a_file(tmp_path: Path, labels: str, content: bytes | None) -> None:
    if content is not None:
        (tmp_path / labels).write_bytes(content)
    if content == b"caf\xe9":
        with pytest.raises(InvalidRequest, match=f"{labels}: the file is not UTF-8"):
            _names(str(tmp_path / labels))
    else:
        place = labels if content is None else str(tmp_path / labels)
        assert _names(place) == (labels.split(",") if content is None else ["a", "b\u2028b"])


@pytest.mark.parametrize(
    "option",
    [
        ("--labels", "a,b"), ("--vocabulary", "v.json"), ("--task", "regression"), ("--heads", "2"),
        ("--set", "pooling=last"), ("--allow-pickle-tensors",),
    ],
    ids=lambda option: option[0],
)  # fmt: skip
def test_what_only_weights_need_is_refused_for_a_checkpoint(
    registry: Service, ostinato: Run, tmp_path: Path, option: tuple[str, ...]
) -> None:
    (tmp_path / "m").mkdir()
    (tmp_path / "m" / "config.json").write_text("{}")
    (tmp_path / "a.tgz").write_bytes(gzip.compress(archive(x="y")))
    for source in ("m", "a.tgz"):
        done = ostinato("import", source, "--name", "reviews", *option)
        assert done.status == 1 and f"{option[0]}: only for weights" in done.err
    assert not registry.requests
