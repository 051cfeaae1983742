"""The two example programs, imported and served over HTTP, give the same probabilities as in plain PyTorch."""

from __future__ import annotations

import json
import os
import runpy
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
import torch
from torch import nn

from tests.importing.programs import Program
from tests.serving import Api, settings_in, wait_until

pytestmark = pytest.mark.e2e
ROOT = Path(__file__).parents[3]
Import = Callable[..., str]


@pytest.fixture(scope="module")
def api(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Api]:
    """An API in front of a real engine."""
    settings = settings_in(tmp_path_factory.mktemp("data"))
    settings.socket_dir.mkdir(parents=True, exist_ok=True)
    arguments = ["--socket", str(settings.socket_dir / "engine-0.sock"), "--threads", "1"]
    engine = subprocess.Popen([sys.executable, "-m", "app.engine", *arguments], cwd=ROOT)
    try:
        with Api(settings) as api:
            api.services.database.migrate()
            yield api
    finally:
        engine.terminate()
        engine.wait(10)


@pytest.fixture
def import_(api: Api) -> Import:
    def run(*arguments: str) -> str:
        program = [sys.executable, "-m", "app.cli", "import", *arguments, "--allow-pickle-tensors"]
        environment = os.environ | {"OSTINATO_URL": api.url}
        done = subprocess.run(program, cwd=ROOT, env=environment, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
        return done.stdout

    return run


def trained(example: str, folder: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """Run an example program without changes. Returns its global variables, which include the model."""
    monkeypatch.setattr(sys, "argv", [example, str(folder)])
    torch.set_num_threads(1)
    variables = runpy.run_path(str(ROOT / "examples" / example))
    variables["model"].eval()
    return variables


def classify(api: Api, model: str, texts: Any) -> list[dict[str, Any]]:
    """Request labels. Like any client, repeat the request while the version is being loaded (503)."""
    replies: list[httpx.Response] = []

    def answered() -> bool:
        with api.client() as http:
            replies.append(http.post("/v1/classify", json={"model": model, "input": texts}, timeout=60))
        return replies[-1].status_code != 503

    wait_until(answered, 60)
    assert replies[-1].status_code == 200, replies[-1].text
    return list(replies[-1].json()["data"])


def test_the_rnn(api: Api, import_: Import, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    program = trained("rnn_classifier.py", tmp_path, monkeypatch)
    options = ["--set", "nonlinearity=tanh", "--set", "pooling=last", "--labels", "0,1,2,3,4,5,6,7,8,9"]
    import_(str(tmp_path / "rnn.pt"), "--name", "digits", *options)
    x = program["x"][:20]
    with torch.no_grad():
        expected = program["model"](x).softmax(1)
    answers = classify(api, "digits", x.tolist())
    torch.testing.assert_close(torch.tensor([a["probs"] for a in answers]), expected, atol=1e-5, rtol=0)
    assert [a["label"] for a in answers] == [str(int(i)) for i in expected.argmax(1)]


def test_the_transformer(api: Api, import_: Import, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    program = trained("transformer_classifier.py", tmp_path, monkeypatch)
    answers = ["activation=relu", "norm_first=no", "embedding_scale=no", "pooling=mean"]
    answers += ["lowercase=no", "split=whitespace"]
    options = ["--heads", "4", "--labels", "unfriendly,friendly", "--vocabulary", str(tmp_path / "vocabulary.json")]
    for answer in answers:
        options += ["--set", answer]
    import_(str(tmp_path / "transformer.pt"), "--name", "friendly", *options)
    words = json.loads((tmp_path / "vocabulary.json").read_text())
    texts = [*program["texts"], "an unknown film", "thank"]
    rows = [torch.tensor([[words.get(word, 1) for word in text.split()]]) for text in texts]
    with torch.no_grad():
        expected = torch.cat([program["model"](row).softmax(1) for row in rows])
    served = torch.tensor([a["probs"] for a in classify(api, "friendly", texts)])
    torch.testing.assert_close(served, expected, atol=1e-5, rtol=0)


def test_a_program_of_many_parts(api: Api, import_: Import, tmp_path: Path) -> None:
    """The program has attention, a norm and an MLP, and its file contains the vocabulary."""
    torch.manual_seed(0)
    words = ["<pad>", "<unk>", "the", "film", "was", "good", "bad", "."]
    program = Program(
        lambda m, x: m.head(m.norm((m.attention(h := m.lstm(torch.relu(m.lin(m.emb(x))))[0]).softmax(1) * h).sum(1))),
        emb=nn.Embedding(8, 5), lin=nn.Linear(5, 6), lstm=nn.LSTM(6, 7, bidirectional=True, batch_first=True),
        attention=nn.Sequential(nn.Linear(14, 4), nn.Tanh(), nn.Linear(4, 1)), norm=nn.LayerNorm(14),
        head=nn.Sequential(nn.Linear(14, 9), nn.GELU(), nn.Linear(9, 1)),
    ).eval()  # fmt: skip
    torch.save({"net": program.state_dict(), "vocab": words, "classes": ["no", "yes"]}, tmp_path / "model.pt")
    answers = ["input_activation=relu", "pooling_activation=tanh", "norm=pooled", "head_activation=gelu"]
    options = [word for answer in [*answers, "split=basic_english"] for word in ("--set", answer)]
    printed = import_(str(tmp_path / "model.pt"), "--name", "parts", *options, "--probe", "The film was GOOD.")
    rows = torch.tensor([[2, 3, 4, 5, 7]]), torch.tensor([[1, 6]])
    with torch.no_grad():
        expected = [program(row).sigmoid().item() for row in rows]
    assert printed.splitlines()[-1] == f"  yes  {expected[0]:.6f}"
    answered = [item["probs"][1] for item in classify(api, "parts", ["The film was GOOD.", "awful bad"])]
    torch.testing.assert_close(torch.tensor(answered), torch.tensor(expected), atol=1e-5, rtol=0)
