from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.cli.service import Service

Run = Callable[..., "Outcome"]


class Outcome:
    def __init__(self, status: int, out: str, err: str) -> None:
        self.status, self.out, self.err = status, out, err


@pytest.fixture
def service(monkeypatch: pytest.MonkeyPatch) -> Iterator[Service]:
    with Service() as running:
        monkeypatch.setenv("OSTINATO_URL", running.url)
        yield running


@pytest.fixture
def ostinato(
    monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str], tmp_path: Path
) -> Callable[..., Outcome]:
    """Run a command line as a terminal would; the folder is an empty one."""
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
