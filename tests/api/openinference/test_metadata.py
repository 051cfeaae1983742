"""Health, metadata, configuration and statistics, with Triton's own client."""

from __future__ import annotations

import pytest
from tritonclient.http import InferenceServerClient
from tritonclient.utils import InferenceServerException

from tests.api.openinference.test_infer import text_input
from tests.fakes import FakeEngine
from tests.serving import Api, Shelf, wait_until


def test_the_server(client: InferenceServerClient, api: Api, engine: FakeEngine) -> None:
    assert client.is_server_live() and client.is_server_ready()
    metadata = client.get_server_metadata()
    assert metadata["name"] == "ostinato" and "binary_tensor_data" in metadata["extensions"]
    with api.client() as http:
        assert http.get("/v2/health/live").json() == {"live": True}
        assert http.get("/v2/health/ready").json() == {"ready": True, "live": True}
    engine.die()
    wait_until(lambda: not client.is_server_ready())
    assert client.is_server_live()


def test_models(client: InferenceServerClient, shelf: Shelf) -> None:
    shelf.classifier()
    assert client.is_model_ready("mood") and client.is_model_ready("mood", "1") and not client.is_model_ready("nobody")
    mood = client.get_model_metadata("mood", "1")
    assert (mood["name"], mood["versions"], mood["platform"]) == ("mood", ["1"], "ostinato_lstm")
    assert mood["inputs"][0] == {"name": "text", "datatype": "BYTES", "shape": [-1]}
    assert mood["outputs"][1] == {"name": "probs", "datatype": "FP32", "shape": [-1, 3]}
    assert client.get_model_metadata("waves")["inputs"] == [
        {"name": "series", "datatype": "FP64", "shape": [-1, -1, 2]}
    ]
    assert client.get_model_metadata("echo")["outputs"][0]["name"] == "text_output"
    config = client.get_model_config("mood", "2")
    assert config["max_batch_size"] == 2048 and config["input"][0]["data_type"] == "TYPE_STRING"
    assert [tensor["optional"] for tensor in config["input"]] == [False, True]
    with pytest.raises(InferenceServerException, match="versions are numbers") as missing:
        client.get_model_metadata("mood", "x")
    assert missing.value.status() == "404"


def test_statistics(client: InferenceServerClient, shelf: Shelf) -> None:
    shelf.classifier("counted")

    def statistics() -> tuple[int, int]:
        [entry] = client.get_inference_statistics("counted", "1")["model_stats"]
        return entry["inference_count"], entry["inference_stats"]["success"]["count"]

    inferences, successes = statistics()  # the process may have counted requests of other tests
    client.infer("counted", [text_input(["a"])])
    assert statistics() == (inferences + 1, successes + 1)
    [entry] = [e for e in client.get_inference_statistics()["model_stats"] if e["name"] == "counted"]
    assert entry["inference_stats"]["compute_infer"]["ns"] > 0
