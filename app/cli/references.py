"""Arguments that identify models and versions, and the registry routes' common prefix."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated, Any

import typer

from app.cli.wording import with_outcome
from app.errors import Forbidden, InvalidRequest, NotFound, OstinatoError, did_you_mean
from app.jobs.limits import MODEL_NAME
from app.wording import listed
from models.choices import ARCHITECTURES

if TYPE_CHECKING:
    from app.client import Client

ROOT = "/v1/registry/models"
CHAMPION = "champion"  # the alias to which a bare model name refers
Reference = Annotated[str, typer.Argument(help="A version: name, name:3 or name@alias.")]
Name = Annotated[str, typer.Argument(help="Name of a model.")]
Alias = Annotated[str, typer.Argument(help="Name of an alias. A bare model name refers to its alias champion.")]


def locate(client: Client, reference: str) -> tuple[str, int]:
    """Resolve a reference to (model name, version number). Aliases and bare names are looked up in the service.

    Raises InvalidRequest if the reference does not resolve to a registered version.
    """
    name, _, number = reference.partition(":")
    if number.isdecimal():
        return name, int(number)
    model = client.get(f"/v1/models/{reference}")
    if not model.get("version"):
        raise InvalidRequest(f"{reference} is not a registered version")
    return str(model.get("name") or str(model["id"]).partition(":")[0].partition("@")[0]), int(model["version"])


def check_reads_texts(client: Client, reference: str, route: str = "POST /v1/classify") -> None:
    """Raise InvalidRequest if a version reads numbers. Called before a file with texts is read.

    The message names `route`, which accepts numbers. Does nothing if the version does not exist or may not be looked
    up, because the request to `route` reports the error.
    """
    try:
        model = client.get(f"/v1/models/{reference}")
    except OstinatoError as error:
        if error.status in (Forbidden.status, NotFound.status):
            return
        raise
    if model.get("input") == "features":
        message = f"reads numbers; this command reads only texts; send the numbers to {route}"
        raise InvalidRequest(f"{reference} {message}", param="model")


def check_new_name(name: str) -> None:
    """Raise InvalidRequest if no model can have this name. The message proposes a similar name.

    The service converts such a name instead of rejecting it, because OpenAI's API accepts any text as a name.
    """
    if MODEL_NAME.fullmatch(name):
        return
    rule = "use 1 to 64 characters of a-z 0-9 . _ -, beginning with a letter or a digit"
    plain = unicodedata.normalize("NFKD", name).encode("ascii", "ignore").decode().lower()
    proposal = re.sub(r"[^a-z0-9._-]+", "-", plain).strip("._-")[:64]
    example = f"; for example: --name {proposal}" if proposal else ""
    raise InvalidRequest(f"--name {name!a} is not a valid name: {rule}{example}")


def look_up(client: Client, reference: str, *, choices: Sequence[str] = (), param: str = "model") -> dict[str, Any]:
    """Return the service's record of a model or version. Called to check a reference before a file is uploaded.

    Raises NotFound if there is no such model or version. The message suggests the most similar name from the service's
    models and `choices`.
    """
    try:
        return dict(client.get(f"/v1/models/{reference}"))
    except OstinatoError as error:
        if error.status != NotFound.status:
            raise
        names = [*choices, *(item["id"] for item in client.get("/v1/models").get("data", []))]
        otherwise = f"; the architectures are {listed(ARCHITECTURES, 'and')}" if choices else ""
        hint = did_you_mean(reference, names, otherwise)
        message = error.message.partition("; did you mean")[0]  # the service does not know `choices`
        raise NotFound(with_outcome(message + hint, "nothing was uploaded"), param=param) from None
