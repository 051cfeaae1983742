"""The queue as the API reports it."""

from __future__ import annotations

import msgspec

from app.settings import Settings
from tests.clients.console import claimed_job
from tests.fakes import FakeEngine
from tests.serving import Api

ANN, BOB = "secret-of-ann-1", "secret-of-bob-1"


def test_a_key_sees_its_own_jobs_and_their_workers(settings: Settings, engine: FakeEngine) -> None:
    keys = f"ann:{ANN},bob:{BOB},cy:secret-of-cy-10"
    guarded = msgspec.structs.replace(settings, api_keys=keys, key_scopes="ann:train,bob:train,cy:infer")
    with Api(guarded) as api:
        job = claimed_job(api, ANN)
        with api.client(ANN) as ann, api.client(BOB) as bob, api.client("secret-of-cy-10") as other:
            report = ann.get("/v1/queue").json()
            assert report["fine_tuning"] == {"queued": 0, "running": 1, "paused": 0}
            [held] = report["running"]
            assert (held["id"], held["kind"], held["name"], held["worker"]) == (job, "fine_tuning", "mood", "worker")
            assert bob.get("/v1/queue").json()["running"] == []
            assert other.get("/v1/queue").status_code == 403
