"""`ostinato models alias`, `unalias` and `history`."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from app.cli.output import Json, connect, print_json, table, when
from app.cli.references import ROOT, Alias, Name
from app.errors import InvalidRequest


def register(models: typer.Typer) -> None:
    models.command("alias")(set_alias)
    models.command("unalias")(delete_alias)
    models.command("history")(alias_history)


def set_alias(
    name: Name,
    alias: Alias,
    version: Annotated[int, typer.Argument(min=1, help="Number of the version.")],
    expected: Annotated[
        str | None,
        typer.Option(
            help="Move the alias only if it currently points to this version; none: only if the alias does not exist."
        ),
    ] = None,
    required: Annotated[
        bool | None,
        typer.Option(
            help="Whether the service is ready only when this version is loaded.",
            show_default="unchanged; false if new",
        ),
    ] = None,
    abstain_below: Annotated[
        float | None,
        typer.Option(help="Leave typed decisions unanswered if the score is below this number between 0 and 1."),
    ] = None,
    max_risk: Annotated[
        float | None,
        typer.Option(help="Leave typed decisions unanswered if the error rate could exceed this number."),
    ] = None,
    always_answer: Annotated[
        bool, typer.Option("--always-answer", help="Remove the limits of --abstain-below and --max-risk.")
    ] = False,
    as_json: Json = False,
) -> None:
    """Point an alias at a version."""
    body: dict[str, Any] = {"version": version} | ({} if required is None else {"required": required})
    limits = {"abstain_below": abstain_below, "max_risk": max_risk}
    if any(limit is not None for limit in limits.values()):
        if always_answer:
            raise InvalidRequest("--always-answer removes the limits; leave out --abstain-below and --max-risk")
        body["abstention"] = {name: limit for name, limit in limits.items() if limit is not None}
    elif always_answer:
        body["abstention"] = None
    if expected is not None:
        if expected != "none" and not expected.isdecimal():
            raise InvalidRequest(f"--expected {expected}: must be a version number or none")
        body["expected_version"] = None if expected == "none" else int(expected)
    with connect() as client:
        reply = client.call("PUT", f"{ROOT}/{name}/aliases/{alias}", json=body)
    print_json(reply) if as_json else print(f"{name}@{alias} is {name}:{version}")


def delete_alias(name: Name, alias: Alias, as_json: Json = False) -> None:
    """Remove an alias."""
    with connect() as client:
        reply = client.call("DELETE", f"{ROOT}/{name}/aliases/{alias}")
    print_json(reply) if as_json else print(f"{name}@{alias} is deleted")


def alias_history(name: Name, alias: Alias, as_json: Json = False) -> None:
    """List the versions that an alias has pointed to, with the time and author of each change."""
    with connect() as client:
        moves = list(client.pages(f"{ROOT}/{name}/aliases/{alias}/history", limit=1000))
    if as_json:
        print_json(moves)
        return
    rows = [
        (
            when(m["created_at"]),
            m["from_version"] or "-",
            m["to_version"] or "-",
            _limits(m.get("abstention") or {}),
            m["principal"],
        )
        for m in moves
    ]
    table(["when", "from", "to", "abstains", "by"], rows, empty=f"{name}@{alias} has never pointed to a version")


def _limits(abstention: dict[str, Any]) -> str:
    """The limits of an abstention, such as `below 0.8`."""
    words = {"abstain_below": "below", "max_risk": "above risk"}
    return ", ".join(f"{words[name]} {limit:g}" for name, limit in abstention.items() if limit is not None) or "-"
