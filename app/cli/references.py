"""The arguments that identify models and versions, and the common prefix of the registry's routes."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from app.errors import InvalidRequest

if TYPE_CHECKING:
    from app.client import Client

ROOT = "/v1/registry/models"
Reference = Annotated[str, typer.Argument(help="A version: name, name:3 or name@alias.")]
Name = Annotated[str, typer.Argument(help="Name of a model.")]
Alias = Annotated[str, typer.Argument(help="Name of an alias. A bare model name refers to its alias champion.")]


def locate(client: Client, reference: str) -> tuple[str, int]:
    """Resolve a reference to (model name, version number). An alias or a bare name is looked up in the service.

    Raises InvalidRequest if the reference does not resolve to a registered version.
    """
    name, _, number = reference.partition(":")
    if number.isdigit():
        return name, int(number)
    model = client.get(f"/v1/models/{reference}")
    if not model.get("version"):
        raise InvalidRequest(f"{reference} is not a registered version")
    return str(model.get("name") or str(model["id"]).partition(":")[0].partition("@")[0]), int(model["version"])
