"""Hugging Face directories, imported with the command line and served over HTTP, give the outputs of transformers."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
import torch

from app.tokenization.tokenizer import Tokenizer
from tests.importing.gguf.files import model, write
from tests.importing.huggingface.directories import CASES, copied, edit, expected
from tests.serving import Api, settings_in, wait_until

pytestmark = pytest.mark.e2e
ROOT = Path(__file__).parents[3]


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


def run(api: Api, *arguments: str) -> subprocess.CompletedProcess[str]:
    program = [sys.executable, "-m", "app.cli", "import", *arguments]
    environment = os.environ | {"OSTINATO_URL": api.url}
    return subprocess.run(program, cwd=ROOT, env=environment, capture_output=True, text=True, check=False)


def post(api: Api, path: str, body: dict[str, Any]) -> httpx.Response:
    """Send a request. Like any client, repeat it while the version is being loaded (503)."""
    replies: list[httpx.Response] = []

    def answered() -> bool:
        with api.client() as http:
            replies.append(http.post(path, json=body, timeout=60))
        return replies[-1].status_code != 503

    wait_until(answered, 60)
    return replies[-1]


def test_a_classifier_of_texts_and_pairs(api: Api, tmp_path: Path) -> None:
    done = run(api, str(copied("bert", tmp_path)), "--name", "moods")
    assert done.returncode == 0, done.stderr
    assert "moods:1 is registered: multilabel, transformer" in done.stdout
    wanted = expected("bert")
    inputs = wanted["texts"] + [{"text": text, "text_pair": pair} for text, pair in wanted["pairs"]]
    reply = post(api, "/v1/classify", {"model": "moods", "input": inputs}).json()
    served = torch.tensor([item["probs"] for item in reply["data"]])
    torch.testing.assert_close(served, torch.tensor(wanted["outputs"]).sigmoid(), atol=1e-5, rtol=0)
    assert reply["data"][0]["num_classes"] == 3


def test_embeddings(api: Api, tmp_path: Path) -> None:
    source = copied("minilm", tmp_path)
    refused = run(api, str(source), "--name", "sentences")
    assert refused.returncode != 0 and "--allow-pickle-tensors" in refused.stderr
    done = run(api, str(source), "--name", "sentences", "--allow-pickle-tensors")
    assert done.returncode == 0, done.stderr
    assert "assumed dropped=cls" in done.stderr and "component 0" in done.stdout
    wanted = expected("minilm")
    reply = post(api, "/v1/embeddings", {"model": "sentences", "input": wanted["texts"]}).json()
    served = torch.tensor([item["embedding"] for item in reply["data"]])
    torch.testing.assert_close(served, torch.tensor(wanted["outputs"]), atol=1e-5, rtol=0)
    features = post(api, "/models/sentences", {"inputs": wanted["texts"][:2]}).json()
    torch.testing.assert_close(torch.tensor(features), torch.tensor(wanted["outputs"][:2]), atol=1e-5, rtol=0)
    with api.client() as http:
        assert http.get("/info?model=sentences").json()["model_type"] == {"embedding": {"pooling": "first"}}
    wrong = post(api, "/v1/classify", {"model": "sentences", "input": "a"})
    assert (wrong.status_code, wrong.json()["error"]["code"]) == (400, "wrong_task")
    wrong = post(api, "/v1/completions", {"model": "sentences", "prompt": "a"})
    assert (wrong.status_code, wrong.json()["error"]["code"]) == (400, "wrong_task")


@pytest.mark.parametrize("name", ["gpt2", "qwen3"])
def test_generation(name: str, api: Api, tmp_path: Path) -> None:
    source = copied(name, tmp_path)
    done = run(api, str(source), "--name", name)
    assert done.returncode == 0, done.stderr
    wanted = expected(name)
    body = {"model": name, "prompt": wanted["texts"][0], "max_tokens": 6, "temperature": 0, "ignore_eos": True}
    reply = post(api, "/v1/completions", body).json()
    assert reply["choices"][0]["text"] == Tokenizer.load(source).decode(wanted["greedy"])
    messages = [{"role": "user", "content": "hello"}]
    refused = post(api, "/v1/chat/completions", {"model": name, "messages": messages})
    assert refused.json()["error"]["code"] == "unsupported_chat_template"


def test_a_gguf_file(api: Api, tmp_path: Path) -> None:
    metadata, tensors = model("qwen2", "qwen2")
    around = {"tokenizer.ggml.add_bos_token": True}
    done = run(api, str(write(tmp_path / "small.gguf", metadata | around, tensors)), "--name", "small")
    assert done.returncode == 0, done.stderr
    assert "assumed weights=float32: converted from F32" in done.stderr
    ids = expected("qwen2")["ids"][0]  # the directory's tokenizer adds a token on each side
    body = {"model": "small", "prompt": ids, "max_tokens": 6, "temperature": 0, "ignore_eos": True}
    reply = post(api, "/v1/completions", body).json()
    tokenizer = Tokenizer.load(CASES / "qwen2")
    assert reply["choices"][0]["text"] == tokenizer.decode(expected("qwen2")["greedy"])


def test_code_is_refused_before_anything_is_sent(api: Api, tmp_path: Path) -> None:
    source = copied("bert", tmp_path)
    edit(source / "config.json", auto_map={"AutoModel": "modeling_evil.Evil"})
    (source / "modeling_evil.py").write_text(f"open({str(tmp_path / 'ran')!r}, 'w')")
    done = run(api, str(source), "--name", "evil")
    assert done.returncode != 0 and "refers to code (auto_map)" in done.stderr
    assert not (tmp_path / "ran").exists()
    with api.client() as http:
        assert http.get("/v1/registry/models/evil").status_code == 404
