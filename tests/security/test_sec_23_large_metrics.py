"""SEC-23: lists of versions do not contain megabytes of metrics or labels."""

from __future__ import annotations

import json
from pathlib import Path

from app.api.native.registry_objects import SUMMARY_LIMIT
from app.registry.metrics import LIMIT
from tests.security.attacks import MODELS, checkpoint, upload
from tests.serving import Api

MANY = 600


def test_large_metrics_stay_in_their_file(api: Api, tmp_path: Path) -> None:
    folder = checkpoint(tmp_path / "checkpoint")
    matrix = [[0] * MANY for _ in range(MANY)]
    metrics = {"test": {"accuracy": 0.5, "confusion_matrix": matrix}, "x" * LIMIT: 1, "loss": 0.25}
    (folder / "metrics.json").write_text(json.dumps(metrics))
    with api.client() as client:
        for _ in range(3):
            assert upload(client, folder).status_code == 200
        for path in (MODELS, f"{MODELS}/mood/versions", "/v1/registry/versions?metric=loss"):
            assert len(client.get(path).content) < LIMIT
        version = client.get(f"{MODELS}/mood/versions/1").json()
        assert version["metrics"]["test"] == {"accuracy": 0.5}
        assert version["metrics"]["loss"] == 0.25
        assert sorted(version["metrics"]["omitted"]) == ["test.confusion_matrix", "x" * 80]
        assert client.get(f"{MODELS}/mood/versions/1/files/metrics.json").json() == metrics


def test_large_labels_and_configurations_are_cut_in_lists(api: Api, tmp_path: Path) -> None:
    folder = checkpoint(tmp_path / "checkpoint", classes=MANY)
    labels = [f"{number} {'x' * 2000}" for number in range(MANY)]
    (folder / "labels.json").write_text(json.dumps(labels))
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(config | {"labels": labels}))
    with api.client() as client:
        assert upload(client, folder).status_code == 200
        version = client.get(f"{MODELS}/mood/versions/1").json()
        assert version["labels"] == labels
        for path in (MODELS, f"{MODELS}/mood", f"{MODELS}/mood/versions", "/v1/registry/versions", "/v1/models"):
            assert len(client.get(path).content) < 4 * SUMMARY_LIMIT, path
        [listed] = client.get(f"{MODELS}/mood/versions").json()["data"]
        assert listed["labels"] == labels[: len(listed["labels"])] != []
        assert listed["config"]["architecture"] == version["config"]["architecture"]
