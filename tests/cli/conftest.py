"""Fixtures for the command line: a service with canned replies, and a way to run commands."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.cli.service import Request, Service, archive

Run = Callable[..., "Outcome"]
ROUTE = "/v1/registry/models/reviews/versions"


class Outcome:
    """Exit status and output of one command."""

    def __init__(self, status: int, out: str, err: str) -> None:
        self.status, self.out, self.err = status, out, err


@pytest.fixture
def service(monkeypatch: pytest.MonkeyPatch) -> Iterator[Service]:
    with Service() as running:
        monkeypatch.setenv("OSTINATO_URL", running.url)
        yield running


@pytest.fixture
def registry(service: Service) -> Service:
    """The service with one model, `reviews`, which accepts uploads and exports version 4."""

    def accept(request: Request) -> tuple[int, object]:
        return 200, {"version": 4, "task": "classification", "architecture": "lstm"}

    service.routes |= {f"POST {ROUTE}": accept, f"GET {ROUTE}/4/export": (200, archive(**{"config.json": "{}"}))}
    return service


@pytest.fixture
def ostinato(
    monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str], tmp_path: Path
) -> Callable[..., Outcome]:
    """Run a command line in this process, in an empty folder."""
    monkeypatch.chdir(tmp_path)

    def run(*arguments: str) -> Outcome:
        from app.cli import __main__ as program

        monkeypatch.setattr(sys, "argv", ["ostinato", *arguments])
        try:
            program.main()
            status = 0
        except SystemExit as ended:
            status = ended.code if isinstance(ended.code, int) else int(ended.code is not None)
        out, err = capfd.readouterr()
        return Outcome(status, out, err)

    return run
