from __future__ import annotations

import base64
import math
import struct
import threading
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec
import numpy as np
import pytest

from app.api.http import vectors
from app.api.openai import embeddings
from app.settings import Settings
from app.tokenization.training import train
from app.wire import engine as wire
from tests.api.clients import answered_beside_others, sdk
from tests.checkpoints import make_checkpoint, publish
from tests.fakes import FakeEngine
from tests.serving import LABELS, Api, Shelf, byte_tokenizer

if TYPE_CHECKING:
    from tests.api.real import Real

MODEL = {"model": "echo"}
OWN_IDS = {"token_ids_of": "echo"}
BAD: list[tuple[dict[str, Any], int, str, str | None]] = [
    ({"model": "nobody", "input": "a"}, 404, "model_not_found", "model"),
    ({"input": "a"}, 400, "model_missing", "model"),
    ({"model": "waves", "input": "a"}, 400, "invalid_request", "input"),
    ({"model": "waves", "input": [[[0.5, 1]] * 65]}, 400, "context_length_exceeded", "input"),
    ({"model": "waves", "input": [[[0.5, "x"]]]}, 400, "invalid_request", "input[0][0][1]"),
    ({"model": "waves", "input": [[[0.5, 1]], [1]]}, 400, "invalid_request", "input"),
    ({**MODEL, "input": ""}, 400, "invalid_request", "input"),
    ({**MODEL, "input": []}, 400, "invalid_request", "input"),
    ({**MODEL, "input": ["a", ""]}, 400, "invalid_request", "input[1]"),
    ({**MODEL, "input": [[]]}, 400, "invalid_request", "input[0]"),
    ({**MODEL, "input": ["a", [1]]}, 400, "invalid_request", "input"),
    ({**MODEL, **OWN_IDS, "input": [-1]}, 400, "invalid_request", "input"),
    ({**MODEL, **OWN_IDS, "input": [10**6]}, 400, "invalid_request", "input"),
    ({**MODEL, "input": ["x"] * 2049}, 400, "invalid_request", "input"),
    ({**MODEL, "input": "x" * 65}, 400, "context_length_exceeded", "input"),
    ({**MODEL, **OWN_IDS, "input": [1] * 65}, 400, "context_length_exceeded", "input"),
    ({**MODEL, "input": "a", "truncate_prompt_tokens": 65}, 400, "invalid_request", "truncate_prompt_tokens"),
    ({**MODEL, "input": "a", "dimensions": 0}, 400, "invalid_request", "dimensions"),
    ({**MODEL, "input": "a", "dimensions": 10**6}, 400, "invalid_request", "dimensions"),
    ({**MODEL, "input": "a", "encoding_format": "hex"}, 400, "invalid_request", "encoding_format"),
    ({**MODEL, "input": "a", "inputs": "b"}, 400, "unknown_field", "inputs"),
    ({**MODEL, "input": [[1.5]]}, 400, "invalid_request", "input[0][0]"),
    (MODEL, 400, "invalid_request", "input"),
]


@pytest.fixture
def models(shelf: Shelf) -> None:
    shelf.generator()
    shelf.classifier("waves", input="features", features=2, vocab_size=0)


def test_vectors_are_numbers_or_base64(api: Api, models: None) -> None:
    with sdk(api) as client:
        reply = client.embeddings.create(model="echo", input=["abc", "d"])  # OpenAI's client asks for base64
    assert [item.index for item in reply.data] == [0, 1] and reply.usage.prompt_tokens == 4
    assert reply.data[0].embedding == [1.0, 0.0, 0.0, 0.0]
    with api.client() as http:
        plain = http.post("/v1/embeddings", json={**MODEL, "input": "abc"}).json()["data"][0]["embedding"]
        body = {**MODEL, "input": "abc", "encoding_format": "base64", "dimensions": 2}
        packed = http.post("/v1/embeddings", json=body).json()["data"][0]["embedding"]
    assert plain == [1.0, 0.0, 0.0, 0.0]
    cut = struct.unpack("<2f", base64.b64decode(packed))
    assert math.hypot(*cut) == pytest.approx(1.0)


def test_bad_requests(api: Api, models: None) -> None:
    with api.client() as client:
        for body, status, code, param in BAD:
            reply = client.post("/v1/embeddings", json=body)
            error = reply.json()["error"]
            assert (reply.status_code, error["code"], error["param"]) == (status, code, param), (body, error)
        assert client.post("/v1/embeddings", json={**MODEL, "input": "a"}).status_code == 200


def test_too_many_dimensions_are_refused_before_the_engine_works(api: Api, models: None, engine: FakeEngine) -> None:
    with api.client() as client:
        reply = client.post("/v1/embeddings", json={**MODEL, "input": "a", "dimensions": 9})
        error = reply.json()["error"]
        assert (reply.status_code, error["code"], error["param"]) == (400, "invalid_request", "dimensions")
        assert error["message"] == "dimensions is 9, but the vectors of echo:1 have 8 dimensions; request 8 or fewer"
        assert not [message for message in engine.received if isinstance(message, wire.Embed)]
        assert client.post("/v1/embeddings", json={**MODEL, "input": "a", "dimensions": 4}).status_code == 200


@pytest.mark.parametrize("encoding", ["float", "base64"])
def test_many_vectors_do_not_block_other_requests(
    api: Api, models: None, engine: FakeEngine, monkeypatch: pytest.MonkeyPatch, encoding: str
) -> None:
    """A large reply is encoded in a thread, and has the same content as several small replies together."""
    engine.width = vectors.INLINE // 10
    encode, begun, go = embeddings._embedding, threading.Event(), threading.Event()

    def wait_then_encode(*arguments: Any) -> Any:
        begun.set()
        assert go.wait(30)
        return encode(*arguments)

    body = {**MODEL, "input": "a", "encoding_format": encoding}
    with api.client() as client:
        [small] = client.post("/v1/embeddings", json=body).json()["data"]
    monkeypatch.setattr(embeddings, "_embedding", wait_then_encode)
    many = answered_beside_others(api, "/v1/embeddings", {**body, "input": ["a"] * 11}, begun, go).json()["data"]
    assert many == [{**small, "index": index} for index in range(11)]


def test_input_that_is_too_long_can_be_truncated(api: Api, models: None) -> None:
    with api.client() as client:
        body = {**MODEL, "input": ["x" * 65, byte_tokenizer().encode("ab")], "truncate_prompt_tokens": -1}
        mixed = client.post("/v1/embeddings", json=body)
        assert mixed.status_code == 400 and "mixes" in mixed.json()["error"]["message"]
        body["input"] = ["x" * 65, "ab"]
        reply = client.post("/v1/embeddings", json=body)
    assert reply.status_code == 200 and reply.json()["usage"]["prompt_tokens"] == 66
    assert reply.headers["x-prompt-tokens"] == "66"


def test_numbers(api: Api, models: None, engine: FakeEngine) -> None:
    series = [[[1, 2.5], [3, 4]], [[0, 1]]]
    with api.client() as client:
        body = {"model": "waves", "input": series, "dimensions": 1}
        reply = client.post("/v1/embeddings", json=body)
        cut = client.post("/v1/embeddings", json={"model": "waves", "input": series, "truncate_prompt_tokens": 1})
    assert reply.status_code == 200, reply.text
    assert [item["embedding"] for item in reply.json()["data"]] == [[1.0], [1.0]]
    assert reply.json()["usage"]["prompt_tokens"] == 3 and reply.headers["x-prompt-tokens"] == "3"
    assert cut.json()["usage"]["prompt_tokens"] == 2
    message, _ = engine.wait_for(wire.Embed, 2)
    assert isinstance(message, wire.Embed) and not message.sequences
    numbers = [(np.frombuffer(row.data, f"<{row.dtype}"), (row.steps, row.features)) for row in message.features]
    assert [values.reshape(shape).tolist() for values, shape in numbers] == series


@pytest.mark.parametrize(
    ("model", "value"),
    [
        ("waves", "text"),
        ("waves", [1, 2]),
        ("waves", [[[1, 2, 3]]]),
        ("waves", [[[1, 2], [3]]]),
        ("waves", [[[1, 1e300]]]),
        ("waves", [[[]]]),
        ("mood", [[[1, 2]]]),
        ("mood", [[[1, 2]], [[1, 2]]]),
    ],
)
def test_input_that_does_not_fit_the_version_is_refused_as_in_classification(
    api: Api, shelf: Shelf, models: None, model: str, value: Any
) -> None:
    shelf.classifier()
    with api.client() as client:
        embedded, classified = (
            client.post(path, json={"model": model, "input": value}) for path in ("/v1/embeddings", "/v1/classify")
        )
    assert embedded.status_code == classified.status_code == 400
    assert embedded.json() == classified.json()


@pytest.mark.parametrize("architecture", ["gru", "transformer"])
def test_vectors_of_numeric_sequences_are_those_of_the_network(real: Real, architecture: str) -> None:
    import torch

    network = real.serve(f"waves-{architecture}", architecture, "regression", input="features")
    draw = np.random.default_rng(0)
    series = [draw.normal(size=(steps, 3)).astype("<f4") for steps in (5, 1, 17)]
    with real.api.client() as client:
        body = {"model": f"waves-{architecture}", "input": [rows.tolist() for rows in series]}
        reply = client.post("/v1/embeddings", json=body)
    assert reply.status_code == 200, reply.text
    assert reply.json()["usage"]["prompt_tokens"] == 23
    for rows, item in zip(series, reply.json()["data"], strict=True):
        with torch.inference_mode():
            expected = network.embed(torch.from_numpy(rows)[None], torch.tensor([len(rows)]))[0].tolist()
        assert item["embedding"] == pytest.approx(expected, abs=1e-4)


LANGCHAIN = [[15339, 1917], [2000, 1]]  # "hello world" by cl100k, as LangChain's embeddings send texts by default


@pytest.mark.parametrize("ids", [LANGCHAIN, [15339], [[1, 2, 3]], [7]])
def test_token_ids_need_a_name(api: Api, models: None, engine: FakeEngine, ids: Any) -> None:
    """Token ids of another tokenizer would be read as another text, so the request must name the tokenizer."""
    with api.client() as client:
        reply = client.post("/v1/embeddings", json={**MODEL, "input": ids})
    error = reply.json()["error"]
    assert (reply.status_code, error["code"], error["param"]) == (400, "token_ids_unnamed", "input")
    assert "check_embedding_ctx_length=False" in error["message"]
    assert not [message for message in engine.received if isinstance(message, wire.Embed)]


@pytest.mark.parametrize("path", ["/v1/embeddings", "/v1/completions"])
@pytest.mark.parametrize("place", ["field", "header"])
@pytest.mark.parametrize("name", ["echo", "echo:1", "twin", "digest", "sha256"])
def test_token_ids_of_the_versions_own_tokenizer(api: Api, shelf: Shelf, path: str, place: str, name: str) -> None:
    """The tokenizer is named by a digest or a reference, of the version or of another one with the same tokenizer."""
    digest = shelf.generator().digest
    shelf.generator("twin")
    name = {"digest": digest, "sha256": f"sha256:{digest}"}.get(name, name)
    field = {"token_ids_of": name} if place == "field" else {}
    headers = {} if field else {"x-token-ids-of": name}
    value = {"prompt" if path.endswith("completions") else "input": [[70, 71]]}
    with api.client() as client:
        reply = client.post(path, json={**MODEL, **value, **field}, headers=headers)
    assert reply.status_code == 200, reply.text


@pytest.mark.parametrize("path", ["/v1/embeddings", "/v1/completions", "/v1/classify"])
def test_token_ids_of_another_tokenizer_are_refused(api: Api, shelf: Shelf, tmp_path: Path, path: str) -> None:
    shelf.generator()
    shelf.classifier()
    shelf.classifier("waves", input="features", features=2, vocab_size=0)
    directory = tmp_path / "other"
    make_checkpoint(directory, labels=LABELS, vocab_size=300, context_length=64)
    train(["one two three"] * 9, kind="bpe", vocab_size=300).save(directory)
    publish(shelf.registry, directory, "other", "local")
    model = "mood" if path == "/v1/classify" else "echo"
    value = {"prompt" if path.endswith("completions") else "input": [70, 71]}
    refusals = {"other": (400, "wrong_tokenizer"), "waves": (400, "wrong_tokenizer"), "gpt-4": (404, "model_not_found")}
    with api.client() as client:
        for name, (status, code) in refusals.items():
            reply = client.post(path, json={"model": model, **value, "token_ids_of": name})
            error = reply.json()["error"]
            assert (reply.status_code, error["code"], error["param"]) == (status, code, "token_ids_of"), reply.text


def test_a_setting_accepts_token_ids_without_a_name(settings: Settings, engine: FakeEngine, shelf: Shelf) -> None:
    shelf.generator()
    with Api(msgspec.structs.replace(settings, accept_token_ids=True)) as api:
        api.wait_ready()
        with api.client() as client:
            assert client.post("/v1/embeddings", json={**MODEL, "input": [[1, 2]]}).status_code == 200


def test_as_many_inputs_as_openai_takes(api: Api, models: None) -> None:
    with sdk(api) as client:
        assert len(client.embeddings.create(model="echo", input=["a"] * 2048).data) == 2048
