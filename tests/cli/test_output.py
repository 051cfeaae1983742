"""`--json` on every command that uses the service, and the main metric of a version."""

from __future__ import annotations

import json
import os
import re
from pathlib import Path
from typing import Any

import pytest
import typer

from app.cli.output import headline
from app.launcher import programs
from tests.cli.conftest import Run
from tests.cli.service import Service, listed

ROOT = "/v1/registry/models"


@pytest.mark.parametrize(
    ("group", "route"), [("models", ROOT), ("jobs", "/v1/fine_tuning/jobs"), ("files", "/v1/files")]
)
def test_json_may_stand_before_or_after_the_subcommand(service: Service, ostinato: Run, group: str, route: str) -> None:
    item = {"id": "one", "created_at": 1}
    service.routes[f"GET {route}"] = listed(item)
    service.routes["GET /v1/evaluations"] = listed()  # `jobs list` also lists evaluations
    for arguments in (["--json"], ["list", "--json"], ["--json", "list"]):
        done = ostinato(group, *arguments)
        assert (done.status, done.err) == (0, "") and json.loads(done.out) == [item], arguments


def list_api(run_dir: Path, url: str) -> None:
    """Make this process look like an API that `ostinato up` has started."""
    run_dir.mkdir(parents=True)
    programs.write(run_dir, [programs.Program("api", os.getpid(), 1.0, url=url)])


@pytest.mark.parametrize("port", ["", "0", "8000"])
def test_the_service_of_the_data_folder_is_found(
    port: str, service: Service, ostinato: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A command finds the service that `ostinato up --port 0` has started in another terminal."""
    monkeypatch.delenv("OSTINATO_URL")
    if port:
        monkeypatch.setenv("OSTINATO_PORT", port)
    list_api(tmp_path / "ostinato-data" / "run", service.url)
    service.routes["GET /v1/files"] = listed({"id": "one"})
    assert json.loads(ostinato("files", "list", "--json").out) == [{"id": "one"}]


def test_a_named_port_or_url_is_used_even_if_another_service_runs_here(
    service: Service, ostinato: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    list_api(tmp_path / "ostinato-data" / "run", "http://127.0.0.1:9")
    service.routes["GET /v1/files"] = listed({"id": "one"})
    assert ostinato("files", "list", "--json").status == 0
    monkeypatch.delenv("OSTINATO_URL")
    monkeypatch.setenv("OSTINATO_PORT", service.url.rpartition(":")[2])
    assert ostinato("files", "list", "--json").status == 0


def test_without_a_service_a_free_port_cannot_be_found(ostinato: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OSTINATO_PORT", "0")
    done = ostinato("files", "list")
    assert done.status == 1 and "no service is running for" in done.err and "start it with: ostinato up" in done.err


def test_every_client_command_prints_json() -> None:
    from app.cli.__main__ import program

    root = typer.main.get_command(program)
    for name in ("train", "classify", "generate", "models", "jobs", "files", "import", "export"):
        command = root.commands[name]
        for one in (command, *getattr(command, "commands", {}).values()):
            assert any("--json" in option.opts for option in one.params), f"{name} {one.name}"


def help_texts() -> dict[str, str]:
    """The help text of every command and of every parameter."""
    from app.cli.__main__ import program

    commands: dict[str, Any] = {"ostinato": typer.main.get_command(program)}
    texts: dict[str, str] = {}
    while commands:
        name, command = commands.popitem()
        commands |= {f"{name} {sub}": inner for sub, inner in getattr(command, "commands", {}).items()}
        texts[name] = command.help or ""
        texts |= {f"{name} {p.name}": getattr(p, "help", "") or "" for p in command.params}
    return texts


def test_help_texts_have_no_brackets() -> None:
    """Typer treats brackets as markup and removes them, so defaults must be passed as `show_default`."""
    texts = help_texts()
    assert len(texts) > 150
    assert [name for name, text in texts.items() if "[" in text] == []


def test_help_shows_defaults(ostinato: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "150")
    shown = ostinato("up", "--help").out
    text = " ".join(shown.replace("│", " ").split())
    defaults = re.findall(r"\[default: \((.*?)\)\]", text)
    assert defaults == ["127.0.0.1", "OSTINATO_PORT, or 8000", "OSTINATO_DATA_DIR, or ./ostinato-data"]


@pytest.mark.parametrize(
    ("metrics", "shown"),
    [
        (
            {"validation": {"rows": 2, "accuracy": 1.0, "loss": 0.687}},
            "validation on 2 rows: too few for meaningful metrics",
        ),
        ({"validation": {"rows": 1, "r2": 1.0, "loss": 0.0}}, "validation on 1 row: too few for meaningful metrics"),
        ({"validation": {"rows": 19, "micro_f1": 1.0}}, "validation on 19 rows: too few for meaningful metrics"),
        ({"validation": {"rows": 20, "accuracy": 0.95}}, "validation accuracy 0.950"),
        (
            {"validation": {"rows": 40, "accuracy": 0.9}, "test": {"rows": 3, "accuracy": 1.0}},
            "validation accuracy 0.900",
        ),
        (
            {"validation": {"rows": 4, "accuracy": 1.0}, "test": {"rows": 3, "accuracy": 1.0}},
            "test on 3 rows: too few for meaningful metrics",
        ),
        ({"validation": {"accuracy": 1.0}}, "validation accuracy 1.000"),
        ({"validation": {"tokens": 4, "loss": 1.0}}, "validation loss 1.000"),
        ({"test": {"rows": 40, "r2": -2.085}}, "test r2 -2.085 (worse than always predicting the mean)"),
        (None, ""),
    ],
)
def test_a_metric_of_few_rows_is_not_shown(metrics: dict[str, object] | None, shown: str) -> None:
    assert headline(metrics) == shown
