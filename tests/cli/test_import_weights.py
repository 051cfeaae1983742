"""The dialogue about weights: one round of questions, which ends with a command to copy."""

from __future__ import annotations

import json
import os
import pty
import shlex
import subprocess
import sys
from contextlib import ExitStack
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from torch import nn

from app.cli.import_weights import WeightsOptions
from app.cli.imports import _without_pipe
from tests.cli.conftest import ROUTE, Run
from tests.cli.service import Service

WORDS = ["<unk>", "Good", "bad"]


@pytest.fixture
def weights(tmp_path: Path) -> Path:
    """A file with the weights of a text classifier, and its vocabulary in the same folder."""
    torch.manual_seed(0)
    parts = {"emb": nn.Embedding(3, 4), "rnn": nn.RNN(4, 6), "fc1": nn.Linear(6, 5), "fc2": nn.Linear(5, 2)}
    torch.save(nn.ModuleDict(parts).state_dict(), tmp_path / "my model.pt")
    (tmp_path / "words.json").write_text(json.dumps(WORDS))
    return tmp_path / "my model.pt"


def answering(registry: Service) -> Service:
    """A service that first reports that the new version is being loaded, and then answers with the label `no`."""
    registry.routes["POST /v1/classify"] = [
        (503, {"error": {"message": "the version is being loaded", "code": "loading"}}),
        (200, {"data": [{"index": 0, "label": "no", "probs": [0.75, 0.25], "num_classes": 2}]}),
    ]
    return registry


def test_the_questions_end_with_a_command_to_complete(registry: Service, ostinato: Run, weights: Path) -> None:
    done = ostinato("import", weights.name, "--name", "reviews", "--labels", "no,yes")
    consent = done.err.splitlines()[-1].strip()
    assert consent == "ostinato import 'my model.pt' --name reviews --allow-pickle-tensors --labels no,yes"
    done = ostinato(*shlex.split(consent)[1:])
    assert done.status == 1 and not registry.requests
    command = done.err.splitlines()[-1].strip()
    for option in ("--vocabulary ...", "pooling=...", "head_activation=...", "nonlinearity=tanh"):
        assert option in command
    for option in ("unknown=...", "first_id=...", "around=..."):
        assert option in command
    filled = command.replace("--vocabulary ...", "--vocabulary words.json").replace("pooling=...", "pooling=last")
    filled = filled.replace("head_activation=...", "head_activation=relu").replace("split=...", "split=whitespace")
    filled = filled.replace("unknown=...", "'unknown=<unk>'").replace("first_id=...", "first_id=0")
    filled = filled.replace("around=...", "around=none")
    done = ostinato(*shlex.split(filled.replace("lowercase=...", "lowercase=no"))[1:])
    assert done.status == 0, done.err
    assert len(registry.sent(f"POST {ROUTE}")) == 1


@pytest.mark.parametrize(("task", "labels"), [("regression", ""), ("classification", " --labels no,yes")])
def test_an_answer_that_other_answers_make_needless_is_not_in_the_command(
    registry: Service, ostinato: Run, tmp_path: Path, task: str, labels: str
) -> None:
    """The file has the name that tutorials give to checkpoints, and one output, which may or may not have labels."""
    torch.manual_seed(0)
    torch.save(nn.ModuleDict({"rnn": nn.GRU(3, 6), "fc": nn.Linear(6, 1)}).state_dict(), tmp_path / "best.pth.tar")
    done = ostinato("import", "best.pth.tar", "--name", "reviews")
    done = ostinato(*shlex.split(done.err.splitlines()[-1])[1:])
    advice, command = done.err.splitlines()[-2:]
    assert "--labels" not in command and advice.endswith("; for a task with labels, add --labels a,b:")
    command = command.replace("--task ...", f"--task {task}{labels}").replace("pooling=...", "pooling=last")
    done = ostinato(*shlex.split(command)[1:])
    assert done.status == 0, done.err


def test_an_invalid_name_is_refused_before_the_file_is_read(service: Service, ostinato: Run) -> None:
    done = ostinato("import", "missing.pt", "--name", "My Model")
    assert done.status == 1 and not service.requests
    assert done.err.startswith("ostinato: --name 'My Model' is not a valid name: ") and "--name my-model" in done.err


def test_the_import_shows_what_the_version_answers(registry: Service, ostinato: Run, weights: Path) -> None:
    answering(registry)
    answers = ["pooling=last", "head_activation=relu", "nonlinearity=tanh", "split=whitespace", "lowercase=no"]
    options = [word for answer in answers for word in ("--set", answer)]
    arguments = [
        "import", weights.name, "--name", "reviews", "--labels", "no,yes", "--allow-pickle-tensors", "--vocabulary",
        "words.json", *options,
    ]  # fmt: skip
    done = ostinato(*arguments)
    assert done.out.splitlines() == [
        "reviews:4 is registered: classification, lstm",
        "your program must give the same result for the text 'Good bad, zyx;!?' (tokens ['Good', '<unk>', '<unk>'], "
        "token ids [1, 0, 0]); otherwise, an answer or assumption is wrong:",
        "  no  0.750000",
        "  yes  0.250000",
    ]
    assert "computes tokens, emb 3×4 → RNN" in done.err and "→ fc1, relu → fc2 → softmax" in done.err
    assert [request.json for request in registry.sent("POST /v1/classify")] == [
        {"model": "reviews:4", "input": ["Good bad, zyx;!?"]}
    ] * 2
    shown = json.loads(ostinato(*arguments, "--json", "--probe", "bad").out)
    assert shown["probe"] == {"input": "bad", "answer": {"no": 0.75, "yes": 0.25}}


def piped(path: Path) -> int:
    """A file descriptor of a pipe with the content of a file, which can be read only once."""
    reading, writing = os.pipe()
    os.write(writing, path.read_bytes())
    os.close(writing)
    return reading


@pytest.mark.parametrize(
    "kinds", [("weights",), ("vocabulary",), ("labels",), ("probe",), ("weights", "vocabulary", "probe")]
)
def test_files_may_be_pipes(
    registry: Service, ostinato: Run, weights: Path, tmp_path: Path, kinds: tuple[str, ...]
) -> None:
    answering(registry)
    registry.routes[f"PUT {ROUTE}/4/probes"] = (200, {"probes": 1})
    (tmp_path / "labels").write_text("no\nyes\n")
    (tmp_path / "probe").write_text("bad\n")
    files = {
        "weights": weights,
        "vocabulary": tmp_path / "words.json",
        "labels": tmp_path / "labels",
        "probe": tmp_path / "probe",
    }
    descriptors = {kind: piped(files[kind]) for kind in kinds}
    paths = {kind: str(path) for kind, path in files.items()} | {
        kind: f"/dev/fd/{descriptor}" for kind, descriptor in descriptors.items()
    }
    answers = ["pooling=last", "head_activation=relu", "nonlinearity=tanh", "split=whitespace", "lowercase=no"]
    options = [word for answer in answers for word in ("--set", answer)]
    options += [word for kind in ("vocabulary", "labels", "probe") for word in (f"--{kind}", paths[kind])]
    try:
        done = ostinato("import", paths["weights"], "--name", "reviews", "--allow-pickle-tensors", *options)
    finally:
        for descriptor in descriptors.values():
            os.close(descriptor)
    assert done.status == 0, done.err
    assert done.out.startswith("reviews:4 is registered") and "the text 'bad'" in done.out
    assert b'"yes"' in registry.sent(f"POST {ROUTE}")[0].body


def test_a_long_list_of_labels_is_no_path() -> None:
    labels = ",".join(f"label_{number}" for number in range(99))
    with ExitStack() as stack:
        assert _without_pipe(labels, {}, stack) == labels


def test_the_command_to_complete_names_the_pipe(registry: Service, ostinato: Run, weights: Path) -> None:
    descriptor = piped(weights)
    path = f"/dev/fd/{descriptor}"
    done = ostinato("import", path, "--name", "reviews", "--labels", "no,yes", "--allow-pickle-tensors")
    os.close(descriptor)
    assert done.status == 1 and f"ostinato import {path} --name reviews" in done.err and "/pipe" not in done.err


@pytest.mark.parametrize("kind", ["safetensors", "gguf", "directory"])
def test_consent_to_pickles_is_refused_without_a_pickle(
    registry: Service, ostinato: Run, weights: Path, tmp_path: Path, kind: str
) -> None:
    source = tmp_path / {"safetensors": "m.safetensors", "gguf": "m.gguf", "directory": "made"}[kind]
    if kind == "safetensors":
        save_file(torch.load(weights), source)
    elif kind == "gguf":
        source.write_bytes(b"GGUF" + bytes(100))
    else:
        source.mkdir()
        (source / "config.json").write_text('{"model_type": "bert"}')
        (source / "model.safetensors").write_bytes(b"")
    done = ostinato("import", source.name, "--name", "reviews", "--allow-pickle-tensors")
    assert done.status == 1 and "--allow-pickle-tensors has no effect" in done.err and not registry.requests


def test_a_version_that_gives_no_answer_is_registered_all_the_same(
    registry: Service, ostinato: Run, tmp_path: Path
) -> None:
    parts = {"gru": nn.GRU(2, 3), "fc": nn.Linear(3, 2)}
    torch.save(nn.ModuleDict(parts).state_dict(), tmp_path / "m.pt")
    options = ["--allow-pickle-tensors", "--labels", "a,b", "--set", "pooling=mean"]
    done = ostinato("import", "m.pt", "--name", "reviews", *options)
    assert done.status == 0 and "reviews:4 is registered, but did not answer a test request: no route" in done.err


def test_a_probe_that_cannot_be_read_is_refused_before_the_upload(
    registry: Service, ostinato: Run, tmp_path: Path
) -> None:
    parts = {"gru": nn.GRU(2, 3), "fc": nn.Linear(3, 2)}
    torch.save(nn.ModuleDict(parts).state_dict(), tmp_path / "m.pt")
    options = ["--allow-pickle-tensors", "--labels", "a,b", "--set", "pooling=mean", "--probe", "[[1]]"]
    done = ostinato("import", "m.pt", "--name", "reviews", *options)
    assert done.status == 1 and "each a list of 2 numbers" in done.err and not registry.requests


def test_foreign_files_are_named_before_the_upload(registry: Service, ostinato: Run, tmp_path: Path) -> None:
    (tmp_path / "model.h5").write_bytes(b"\x89HDF\r\n\x1a\n")
    done = ostinato("import", "model.h5", "--name", "reviews")
    assert done.status == 1 and "model.h5 is damaged" in done.err
    assert not registry.requests


def test_answers_become_options() -> None:
    options = WeightsOptions(Path("m.pt"), "m").with_answer("labels", "a,b").with_answer("heads", "2")
    options = options.with_answer("vocabulary", "v.txt").with_answer("around", "<s> …")
    assert (
        options.command()
        == "ostinato import m.pt --name m --labels a,b --vocabulary v.txt --heads 2 --set 'around=<s> …'"
    )
    assert WeightsOptions(Path("m.pt"), "m").with_answer("labels", "numbers").command().endswith("--set labels=numbers")


def test_at_a_terminal_the_questions_are_asked(registry: Service, weights: Path) -> None:
    """Each answer is checked, and the command that repeats the import is printed."""
    answering(registry)
    terminal, inside = pty.openpty()
    arguments = ["import", weights.name, "--name", "reviews", "--labels", "no,yes", "--allow-pickle-tensors"]
    environment = os.environ | {"PYTHONPATH": str(Path(__file__).parents[2]), "TERM": "dumb"}
    program = subprocess.Popen(
        [sys.executable, "-m", "app.cli", *arguments], stdin=inside, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
        cwd=weights.parent, env=environment, text=True,
    )  # fmt: skip
    # nonlinearity (PyTorch's default), pooling (wrong, then right), head_activation, vocabulary, split, lowercase
    os.write(terminal, b"\nmiddle\nlast\nrelu\nwords.json\nwhitespace\nno\n")
    out, err = program.communicate(timeout=120)
    os.close(terminal)
    os.close(inside)
    assert program.returncode == 0, err
    assert "reviews:4 is registered" in out and "'middle' is not one of" in out + err
    [command] = [line for line in err.splitlines() if line.startswith("to repeat this import: ")]
    assert command.endswith(
        "ostinato import 'my model.pt' --name reviews --allow-pickle-tensors --labels no,yes --vocabulary words.json "
        "--set nonlinearity=tanh --set pooling=last --set head_activation=relu --set split=whitespace "
        "--set lowercase=no"
    )
