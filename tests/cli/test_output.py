"""`--json`, on every command that talks to the service."""

from __future__ import annotations

import json

import pytest
import typer

from tests.cli.conftest import Run
from tests.cli.service import Service, listed

ROOT = "/v1/registry/models"


@pytest.mark.parametrize(
    ("group", "route"), [("models", ROOT), ("jobs", "/v1/fine_tuning/jobs"), ("files", "/v1/files")]
)
def test_json_may_stand_before_or_after_the_subcommand(service: Service, ostinato: Run, group: str, route: str) -> None:
    service.routes[f"GET {route}"] = listed({"id": "one"})
    for arguments in (["--json"], ["list", "--json"], ["--json", "list"]):
        done = ostinato(group, *arguments)
        assert (done.status, done.err) == (0, "") and json.loads(done.out) == [{"id": "one"}], arguments


def test_every_client_command_prints_json() -> None:
    from app.cli.__main__ import program

    root = typer.main.get_command(program)
    for name in ("train", "classify", "generate", "models", "jobs", "files", "import", "export"):
        command = root.commands[name]
        for one in (command, *getattr(command, "commands", {}).values()):
            assert any("--json" in option.opts for option in one.params), f"{name} {one.name}"
