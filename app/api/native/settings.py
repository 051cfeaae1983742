"""`GET /v1/settings`: the service's settings and the names of its API keys, for operators."""

from __future__ import annotations

from typing import Any

import msgspec
from fastapi import APIRouter
from starlette.responses import Response

from app import settings as settings_
from app.access import SECRET_SETTINGS
from app.api.http.auth import Principal
from app.api.http.replies import JsonReply
from app.api.http.services import ServicesDep
from app.api.openapi.describe import COMMON, replies

router = APIRouter(tags=["operations"])


class SettingObject(msgspec.Struct, frozen=True):
    """A setting. If `hidden` is true, the setting's value is a secret and is not shown."""

    variable: str
    value: str
    default: str
    meaning: str
    hidden: bool


class KeyObject(msgspec.Struct, frozen=True):
    """An API key's name and permissions. `yours` is true for the key with which the request was sent."""

    name: str
    scopes: list[str]
    yours: bool


class SettingList(msgspec.Struct, frozen=True):
    """All settings of the API process, and its API keys."""

    object: str
    data: list[SettingObject]
    keys: list[KeyObject]


_EXAMPLE: dict[str, Any] = {
    "object": "list",
    "data": [
        {
            "variable": "OSTINATO_PORT",
            "value": "8000",
            "default": "8000",
            "meaning": "port of the API; 0 chooses a free port",
            "hidden": False,
        }
    ],
    "keys": [{"name": "ann", "scopes": ["infer", "train"], "yours": True}],
}


@router.get(
    "/v1/settings",
    operation_id="list_settings",
    summary="List the settings and the names of the API keys",
    description=(
        "Returns the settings of the API process with their meanings and defaults, and the names and scopes of the API "
        "keys. Secrets are not returned. Settings are changed through the environment of the programs."
    ),
    response_model=None,
    responses=replies(SettingList, _EXAMPLE, COMMON),
)
async def list_settings(services: ServicesDep, principal: Principal) -> Response:
    values = msgspec.structs.asdict(services.settings)
    data = [_setting(*line, values) for line in settings_.help_lines()]
    scopes = services.settings.scopes
    keys = [KeyObject(name, sorted(scopes[name]), name == principal) for name in sorted(scopes)]
    return JsonReply(SettingList("list", data, keys))


def _setting(variable: str, default: str, meaning: str, values: dict[str, Any]) -> SettingObject:
    name = variable.removeprefix(settings_.PREFIX).lower()
    hidden = name in SECRET_SETTINGS and values[name] != ""
    return SettingObject(variable, "" if hidden else _text(values[name]), _text(default), meaning, hidden)


def _text(value: object) -> str:
    """Format the value of a setting as it would be written in an environment variable."""
    return str(value).lower() if str(value) in ("True", "False") else str(value)
