"""The settings as the API lists them."""

from __future__ import annotations

import msgspec

from app.settings import Settings
from tests.fakes import FakeEngine
from tests.serving import Api

OPS, ANN = "secret-of-ops-1", "secret-of-ann-1"


def test_operators_see_the_settings_and_the_names_of_keys_but_no_secret(settings: Settings, engine: FakeEngine) -> None:
    guarded = msgspec.structs.replace(
        settings, api_keys=f"ops:{OPS},ann:{ANN}", key_scopes="ops:operator,ann:infer", database_url=settings.database
    )
    with Api(guarded) as api, api.client(OPS) as ops, api.client(ANN) as ann:
        reply = ops.get("/v1/settings")
        assert OPS not in reply.text and ANN not in reply.text and settings.database not in reply.text
        body = reply.json()
        rows = {row["variable"]: row for row in body["data"]}
        assert rows["OSTINATO_DATA_DIR"]["value"] == settings.data_dir and rows["OSTINATO_PORT"]["meaning"]
        assert rows["OSTINATO_API_KEYS"]["hidden"] and rows["OSTINATO_DATABASE_URL"] == {
            **rows["OSTINATO_DATABASE_URL"],
            "hidden": True,
            "value": "",
        }
        assert body["keys"] == [
            {"name": "ann", "scopes": ["infer"], "yours": False},
            {"name": "ops", "scopes": ["operator"], "yours": True},
        ]
        assert ann.get("/v1/settings").status_code == 403
