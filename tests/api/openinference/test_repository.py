"""The repository of models, with Triton's own client."""

from __future__ import annotations

import pytest
from tritonclient.http import InferenceServerClient
from tritonclient.utils import InferenceServerException

from tests.fakes import FakeEngine
from tests.serving import Api, Shelf, wait_until


def test_versions_are_listed_loaded_and_unloaded(client: InferenceServerClient, engine: FakeEngine) -> None:
    index = client.get_model_repository_index()
    assert {(entry["name"], entry["version"], entry["state"]) for entry in index} == {
        (name, "1", "READY") for name in ("echo", "mood", "waves")
    }
    client.load_model("mood")
    assert list(engine.loaded.values()) == ["mood:1"]
    client.unload_model("mood")
    wait_until(lambda: not engine.loaded)
    with pytest.raises(InferenceServerException, match="nobody"):
        client.load_model("nobody")
    with pytest.raises(InferenceServerException, match="parameters"):
        client.load_model("mood", config="{}")


def test_a_required_version_stays_loaded(client: InferenceServerClient, shelf: Shelf, api: Api) -> None:
    shelf.registry.set_alias("mood", "live", 1, "local", required=True)
    with pytest.raises(InferenceServerException, match="required alias"):
        client.unload_model("mood")


def test_a_version_with_the_content_of_a_required_one_stays_loaded(
    client: InferenceServerClient, shelf: Shelf, api: Api
) -> None:
    shelf.registry.set_alias("mood", "live", 1, "local", required=True)
    digest = api.services.registry.resolve("mood:1", "local").digest
    wait_until(lambda: api.services.readiness.requires(digest))
    assert not api.services.readiness.requires("0" * 64)


def test_shared_memory_and_traces_are_refused(client: InferenceServerClient) -> None:
    with pytest.raises(InferenceServerException, match="send the tensors in the request"):
        client.get_system_shared_memory_status()
    for model in (None, "mood"):
        with pytest.raises(InferenceServerException, match="GET /v2/models/stats"):
            client.get_trace_settings(model)
