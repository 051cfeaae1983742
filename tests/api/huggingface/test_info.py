"""`/info` describes a version in the format of TGI or TEI."""

from __future__ import annotations

from tests.serving import LABELS, Api, Shelf


def test_a_generator_and_a_classifier(api: Api, shelf: Shelf) -> None:
    shelf.generator()
    version = shelf.classifier()
    with api.client() as client:
        text = client.get("/info?model=echo").json()
        assert (text["model_id"], text["model_pipeline_tag"], text["max_total_tokens"]) == (
            "echo:1",
            "text-generation",
            64,
        )
        scoring = client.get("/info", headers={"x-model": "mood"}).json()
        assert scoring["model_type"]["classifier"]["id2label"] == dict(zip("012", LABELS, strict=True))
        assert (scoring["model_sha"], scoring["max_input_length"]) == (version.digest, 64)
        assert client.get("/info").status_code == 422
