"""The command line with unusual bytes, pipes and proxies, as a shell passes them."""

from __future__ import annotations

import os
import shlex
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.cli.service import Service

SCRIPT = Path(__file__).parent / "shell_cases.sh"
NAMES = ("c60", "c62", "c63", "c65", "c66")


def answer(request: Any) -> tuple[int, Any]:
    """Probabilities that depend on every character of the text."""
    first = sum(map(ord, request.json["input"][0])) % 97 / 100
    item = {"index": 0, "label": "good", "probs": [first, 1 - first], "scores": [{"label": "good", "score": first}]}
    return 200, {"data": [item], "usage": {}}


@pytest.fixture
def shell(tmp_path: Path) -> Any:
    """Run a script with `ostinato` on its path and with a service. Returns the output."""
    program = tmp_path / "ostinato"
    program.write_text(f'#!/bin/bash\nexec {shlex.quote(sys.executable)} -m app.cli "$@"\n')
    program.chmod(0o755)
    routes = {"POST /v1/classify": answer, "POST /v1/files": (200, {"id": "file-1"})}
    with Service(routes) as service:
        environment = {**os.environ, "PATH": f"{tmp_path}:{os.environ['PATH']}", "OSTINATO_URL": service.url}

        def run(*command: str) -> str:
            done = subprocess.run(
                command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, timeout=300
            )
            return done.stdout.decode("utf-8", "replace")

        yield run


def test_every_case_of_the_shell_is_right(shell: Any) -> None:
    lines = shell("bash", str(SCRIPT)).splitlines()
    assert [line.split()[:2] for line in lines] == [["ok", name] for name in NAMES], lines


@pytest.mark.parametrize(
    ("command", "answered"),
    [
        (r"ostinato train $'sch\xf6n.csv'", False),
        (r"ostinato models show $'\xff\xfe'", False),
        (r"ostinato generate -m x $'\xc3('", False),
        ("ostinato classify -m x --file <(printf 'good film\\n')", True),
        ("ostinato train --no-wait <(printf 'text,label\\n')", False),
        ("ALL_PROXY=socks5://127.0.0.1:9 all_proxy=socks5://127.0.0.1:9 ostinato classify -m x 'good film'", True),
        ("https_proxy=nonsense http_proxy=:: ostinato classify -m x 'good film'", True),
        ("LC_ALL=C PYTHONUTF8=0 PYTHONIOENCODING=ascii ostinato classify -m x 'schön'", True),
    ],
)
def test_no_command_ends_in_a_traceback(shell: Any, command: str, answered: bool) -> None:
    output = shell("bash", "-c", command)
    assert "Traceback" not in output and "unexpected error" not in output
    assert ("good" in output.splitlines()[-1]) if answered else ("ostinato: " in output)
