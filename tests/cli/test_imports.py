"""`ostinato import` converts weights, and sends only the checkpoints, as tar archives."""

from __future__ import annotations

import gzip
import io
import json
import os
import pickle
import re
import tarfile
from pathlib import Path

import pytest

from app.cli.import_weights import read_labels
from app.errors import InvalidRequest
from app.importing.pytorch.state_dict import PICKLES
from tests.cli.conftest import ROUTE, Run
from tests.cli.service import Service, archive


def test_a_directory_is_sent_as_a_tar(registry: Service, ostinato: Run, tmp_path: Path) -> None:
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


def test_a_tar_is_sent_unchanged(registry: Service, ostinato: Run, tmp_path: Path) -> None:
    (tmp_path / "a.tar").write_bytes(archive(x="y"))
    assert ostinato("import", "a.tar", "--name", "reviews").status == 0
    assert archive(x="y") in registry.requests[0].body


@pytest.fixture
def checkpoint(registry: Service, ostinato: Run, tmp_path: Path) -> Path:
    """A checkpoint directory with labels, from an earlier import that converted it."""
    import torch
    from safetensors.torch import save_file

    torch.manual_seed(0)
    body, head = torch.nn.RNN(8, 8, batch_first=True), torch.nn.Linear(8, 2)
    state = {"embedding.weight": torch.randn(5, 8)}
    state |= {f"rnn.{k}": v for k, v in body.state_dict().items()} | {
        f"fc.{k}": v for k, v in head.state_dict().items()
    }
    save_file(state, tmp_path / "m.safetensors")
    (tmp_path / "v.json").write_text('["<unk>", "a", "good", "bad", "film"]')
    answers = ["task=classification", "pooling=last", "nonlinearity=tanh", "split=whitespace", "lowercase=yes"]
    fields = [part for answer in answers[1:] for part in ("--set", answer)]
    done = ostinato(
        "import", "m.safetensors", "--name", "reviews", "--labels", "no,yes", "--vocabulary", "v.json", *fields
    )
    assert done.status == 0, done.err
    body_ = registry.sent(f"POST {ROUTE}")[0].body
    start = body_.index(b"\r\n\r\n") + 4
    with tarfile.open(fileobj=io.BytesIO(body_[start:])) as tar:
        tar.extractall(tmp_path / "made", filter="data")
    (tmp_path / "made.tar").write_bytes(body_[start : body_.rindex(b"\r\n--")])
    with tarfile.open(tmp_path / "made.tgz", "w:gz") as tar:
        tar.add(tmp_path / "made", ".")
    registry.requests.clear()
    return tmp_path / "made"


@pytest.mark.parametrize("source", ["made", "made.tar", "made.tgz"])
@pytest.mark.parametrize("own", [None, "film good"])
def test_a_checkpoint_answers_a_test_request(
    checkpoint: Path, registry: Service, ostinato: Run, tmp_path: Path, source: str, own: str | None
) -> None:
    registry.routes["POST /v1/classify"] = (200, {"data": [{"probs": [0.25, 0.75]}]})
    registry.routes[PUT] = (200, {"probes": 1})
    (tmp_path / "probes").write_text(own or "")
    done = ostinato("import", source, "--name", "reviews", *(["--probe", "probes"] if own else []))
    assert done.status == 0, done.err
    first, second, *answer = done.out.splitlines()
    assert first == "reviews:4 is registered: classification, lstm"
    assert second.startswith("it answers the text ") and second.endswith(" with:") and "token ids [" in second
    assert answer == ["  no  0.250000", "  yes  0.750000"]
    [text] = registry.sent("POST /v1/classify")[0].json["input"]
    assert text == own if own else "film" in text
    as_json = json.loads(ostinato("import", source, "--name", "reviews", "--json").out)
    assert as_json["probe"]["answer"] == {"no": 0.25, "yes": 0.75}


@pytest.mark.parametrize("suffix", PICKLES)
def test_a_pickle_needs_the_users_consent(registry: Service, ostinato: Run, tmp_path: Path, suffix: str) -> None:
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
    ids=["nothing", "short", "pickle", "zip", "zeros", "gzipped pickle", "gzip magic alone", "truncated"],
)
@pytest.mark.parametrize("name", ["model", "model.tar", "model.tar.gz"])
def test_nothing_but_a_tar_is_sent(registry: Service, ostinato: Run, tmp_path: Path, name: str, content: bytes) -> None:
    (tmp_path / name).write_bytes(content)
    done = ostinato("import", name, "--name", "reviews")
    assert done.status == 1 and "neither a checkpoint directory nor its tar" in done.err
    assert not registry.requests


def test_a_gzipped_tar_is_sent_unchanged(registry: Service, ostinato: Run, tmp_path: Path) -> None:
    packed = gzip.compress(archive(x="y"))
    (tmp_path / "a.tgz").write_bytes(packed)
    assert ostinato("import", "a.tgz", "--name", "reviews").status == 0
    assert packed in registry.requests[0].body


@pytest.mark.parametrize("name", ["missing.pt", "missing.safetensors", "missing.gguf", "missing"])
def test_a_file_that_does_not_exist_is_named(registry: Service, ostinato: Run, name: str) -> None:
    assert ostinato("import", name, "--name", "reviews").err == f"ostinato: {name} does not exist\n"


@pytest.mark.parametrize(
    ("arguments", "reason"),
    [
        (
            ("--set", "pooling=last", "--set", "pooling=mean"),
            "pooling=mean: pooling is also given as --set pooling=last",
        ),
        (("--heads", "2", "--set", "heads=4"), "heads=4: heads is also given as --heads 2"),
        (("--task", "regression", "--set", "task=regression"), "task is also given as --task regression"),
        (("--labels", "a,b", "--set", "labels=numbers"), "labels is also given as --labels a,b"),
    ],
)
def test_an_answer_given_twice_is_refused(
    registry: Service, ostinato: Run, tmp_path: Path, arguments: tuple[str, ...], reason: str
) -> None:
    (tmp_path / "model.pt").write_bytes(b"\x80\x04.")
    done = ostinato("import", "model.pt", "--name", "reviews", "--allow-pickle-tensors", *arguments)
    assert done.status == 1 and f"{reason}; give it once" in done.err


@pytest.mark.parametrize("labels", ["a,,b", "a,b,", ",a", "a, ,b"])
def test_an_empty_label_is_refused(labels: str) -> None:
    with pytest.raises(InvalidRequest, match="is empty"):
        read_labels(labels)


def test_a_blank_line_between_labels_is_refused(tmp_path: Path) -> None:
    (tmp_path / "labels.txt").write_text("a\n\nb\n\n")
    with pytest.raises(InvalidRequest, match="label 2 of 3 is empty"):
        read_labels(str(tmp_path / "labels.txt"))


def test_a_folder_without_a_checkpoint_is_refused_before_the_upload(
    registry: Service, ostinato: Run, tmp_path: Path
) -> None:
    (tmp_path / "empty").mkdir()
    assert "no config.json" in ostinato("import", "empty", "--name", "reviews").err
    assert "nowhere" in ostinato("import", "nowhere", "--name", "reviews").err


def test_the_help_names_every_form_of_a_vocabulary(ostinato: Run) -> None:
    shown = " ".join(re.sub("[│╭╮╰╯─]", " ", ostinato("import", "--help").out).split())
    for form in ("tokenizer.json", "JSON list or dictionary of tokens", "one token per line"):
        assert form in shown


def test_plain_weights_are_converted_before_the_upload(registry: Service, ostinato: Run, tmp_path: Path) -> None:
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
    assert "assumed task=classification: exactly one of the 2 outputs is correct" in done.err
    several = ["--labels", "a,b", "--task", "multilabel", *answers[2:]]
    done = ostinato("import", "m.safetensors", "--name", "reviews", *several)
    assert done.status == 0 and "assumed task" not in done.err
    assert b'"task": "multilabel"' in registry.sent(f"POST {ROUTE}")[-1].body


@pytest.mark.parametrize("writable", [True, False])
def test_a_directory_is_packed_beside_it_or_in_the_data_folder(
    registry: Service, ostinato: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, writable: bool
) -> None:
    """The system's temporary folder may be in memory, and may be too small."""
    (tmp_path / "models" / "made").mkdir(parents=True)
    (tmp_path / "models" / "made" / "config.json").write_text("{}")
    monkeypatch.setenv("OSTINATO_DATA_DIR", str(tmp_path / "data"))
    monkeypatch.setattr(os, "access", lambda path, mode, **_: writable or not mode & os.W_OK)  # also for root
    folders, open_tar = [], tarfile.open

    def record(path: Path, *arguments: object) -> object:
        folders.append(path.parent.parent)
        return open_tar(path, *arguments)

    monkeypatch.setattr(tarfile, "open", record)
    assert ostinato("import", "models/made", "--name", "reviews").status == 0
    assert folders == [tmp_path / ("models" if writable else "data/scratch")]
    assert [path.name for path in folders[0].iterdir()] == (["made"] if writable else [])


@pytest.mark.parametrize(
    ("labels", "content"),
    [
        (",".join(f"label number {i}" for i in range(60)), None),
        ("names.txt", b"caf\xe9"),
        ("names.txt", "a\r\nb\u2028b\n".encode()),
    ],
    ids=["long", "not UTF-8", "file"],
)
def test_labels_come_from_a_list_or_a_file(tmp_path: Path, labels: str, content: bytes | None) -> None:
    if content is not None:
        (tmp_path / labels).write_bytes(content)
    if content == b"caf\xe9":
        with pytest.raises(InvalidRequest, match=f"{labels}: the file is not UTF-8"):
            read_labels(str(tmp_path / labels))
    else:
        place = labels if content is None else str(tmp_path / labels)
        assert read_labels(place) == (labels.split(",") if content is None else ["a", "b\u2028b"])


@pytest.mark.parametrize(
    "option",
    [
        ("--labels", "a,b"), ("--vocabulary", "v.json"), ("--task", "regression"), ("--heads", "2"),
        ("--set", "pooling=last"), ("--allow-pickle-tensors",),
    ],
    ids=lambda option: option[0],
)  # fmt: skip
def test_options_for_weights_are_refused_for_a_checkpoint(
    registry: Service, ostinato: Run, tmp_path: Path, option: tuple[str, ...]
) -> None:
    (tmp_path / "m").mkdir()
    (tmp_path / "m" / "config.json").write_text("{}")
    (tmp_path / "a.tgz").write_bytes(gzip.compress(archive(x="y")))
    for source in ("m", "a.tgz"):
        done = ostinato("import", source, "--name", "reviews", *option)
        assert done.status == 1 and f"{option[0]} can only be used with weights" in done.err
    assert not registry.requests


@pytest.mark.parametrize("source", ["notes.xyz", "folder"])
@pytest.mark.parametrize("option", [("--allow-pickle-tensors",), ("--labels", "a,b"), ()])
def test_the_kind_of_the_source_is_checked_before_its_options(
    registry: Service, ostinato: Run, tmp_path: Path, source: str, option: tuple[str, ...]
) -> None:
    (tmp_path / "notes.xyz").write_bytes(b"x")
    (tmp_path / "folder").mkdir()
    done = ostinato("import", source, "--name", "reviews", *option)
    assert done.status == 1 and "checkpoint directory" in done.err and "only be used" not in done.err
    assert not registry.requests


PUT = "PUT /v1/registry/models/reviews/versions/4/probes"


@pytest.mark.parametrize(
    ("content", "inputs"),
    [
        ("good film\n\n  bad film \r\n", ["good film", "bad film"]),
        ('["good film", "bad film"]', ["good film", "bad film"]),
        ("[[1, 2], [3, 4]]", [[[1, 2], [3, 4]]]),
        ("[[[1, 2]], [[3, 4], [5, 6]]]", [[[1, 2]], [[3, 4], [5, 6]]]),
    ],
)
def test_a_file_of_probes_follows_the_upload(
    registry: Service, ostinato: Run, tmp_path: Path, content: str, inputs: list[object]
) -> None:
    registry.routes[PUT] = (200, {"probes": len(inputs)})
    (tmp_path / "a.tgz").write_bytes(gzip.compress(archive(x="y")))
    (tmp_path / "probes").write_text(content, encoding="utf-8-sig")
    done = ostinato("import", "a.tgz", "--name", "reviews", "--probe", "probes")
    assert done.status == 0, done.err
    assert [request.json for request in registry.sent(PUT)] == [{"input": inputs}]


def test_a_version_is_kept_if_its_probes_are_rejected(registry: Service, ostinato: Run, tmp_path: Path) -> None:
    (tmp_path / "a.tgz").write_bytes(gzip.compress(archive(x="y")))
    (tmp_path / "probes").write_text("good film")
    registry.routes[PUT] = (400, {"error": {"message": "input[0] is too long", "code": "invalid"}})
    done = ostinato("import", "a.tgz", "--name", "reviews", "--probe", "probes")
    assert done.status == 0 and "is registered, but the inputs of --probe were not accepted: input[0]" in done.err


@pytest.mark.parametrize("content", [None, b"", b"\xff", b"[1, ", b"[]"])
def test_unusable_probes_are_rejected_before_the_upload(
    registry: Service, ostinato: Run, tmp_path: Path, content: bytes | None
) -> None:
    (tmp_path / "a.tgz").write_bytes(gzip.compress(archive(x="y")))
    if content is not None:
        (tmp_path / "probes").write_bytes(content)
    done = ostinato("import", "a.tgz", "--name", "reviews", "--probe", "probes")
    assert done.status == 1 and "--probe" in done.err and not registry.requests
