"""TEI's `/embed` and `/similarity`, and routes that are not supported."""

from __future__ import annotations

import pytest

from tests.serving import Api, Shelf


@pytest.fixture(autouse=True)
def mood(shelf: Shelf) -> None:
    shelf.classifier()


def test_vectors_and_similarities(api: Api) -> None:
    with api.client() as client:
        assert client.post("/embed?model=mood", json={"inputs": "good"}).json() == [[1, 0, 0, 0]]
        assert client.post("/embed?model=mood", json={"inputs": ["a", "b"], "dimensions": 2}).json() == [[1, 0]] * 2
        compared = {"inputs": {"source_sentence": "good", "sentences": ["fine", "bad"]}}
        assert client.post("/similarity?model=mood", json=compared).json() == [1, 1]
        assert (
            client.post("/similarity?model=mood", json={"inputs": {**compared["inputs"], "sentences": []}}).status_code
            == 422
        )


@pytest.mark.parametrize(
    ("path", "words"),
    [("/embed_all", "POST /embed"), ("/embed_sparse", "POST /embed"), ("/rerank", "POST /similarity")],
)
def test_what_is_not_available_is_refused_plainly(api: Api, path: str, words: str) -> None:
    with api.client() as client:
        reply = client.post(f"{path}?model=mood", json={"inputs": "a"})
    assert reply.status_code == 404 and words in reply.json()["error"] and reply.json()["error_type"] == "not_found"


@pytest.mark.parametrize(
    ("path", "model", "inputs", "words"),
    [
        ("/predict", "echo", "a", "generates text"),
        ("/embed", "plain", "a", "linear model"),
        ("/similarity", "plain", {"source_sentence": "a", "sentences": ["b"]}, "linear model"),
    ],
)
def test_a_model_that_cannot_perform_the_task_is_a_failed_dependency(
    api: Api, shelf: Shelf, path: str, model: str, inputs: object, words: str
) -> None:
    """TEI answers 424, too. Routes of the inference API answer 422, which `huggingface_hub` explains to its users."""
    shelf.generator()
    shelf.classifier("plain", architecture="linear", ngram_buckets=16, ngram_words=1)
    with api.client() as client:
        reply = client.post(f"{path}?model={model}", json={"inputs": inputs})
        assert (reply.status_code, reply.json()["error_type"]) == (424, "backend"), reply.text
        assert words in reply.json()["error"]
        documented = client.get("/openapi.json", timeout=60).json()["paths"][path]["post"]["responses"]
        assert documented["424"]["content"]["application/json"]["example"]["error_type"] == "backend"
        assert client.post("/models/echo/pipeline/text-classification", json={"inputs": "a"}).status_code == 422
