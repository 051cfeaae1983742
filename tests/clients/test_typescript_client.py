"""A TypeScript client: types by openapi-typescript, requests by openapi-fetch, compiled and run."""

from __future__ import annotations

import json
import shutil
import subprocess
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pytest

from tests.clients.fuzzing import KEY, TOOLS
from tests.clients.service import serving

SOURCES = Path(__file__).parent / "typescript"
MODULES = TOOLS.parent / "typescript" / "node_modules"


def run(folder: Path, *command: str) -> str:
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.mark.e2e
def test_a_client_compiles_and_calls_every_family_of_routes(tmp_path: Path) -> None:
    if not (MODULES.is_dir() and shutil.which("node")):
        pytest.skip("Node.js or its packages are missing: `make tools` installs them where npm can")
    folder = tmp_path / "client"
    shutil.copytree(SOURCES, folder)
    (folder / "node_modules").symlink_to(MODULES)
    with serving(tmp_path, KEY) as api:
        with api.client() as client:
            document = client.get("/openapi.json").json()
        (folder / "openapi.json").write_text(json.dumps(document))
        run(folder, "node_modules/.bin/openapi-typescript", "openapi.json", "-o", "schema.d.ts")
        run(folder, "node_modules/.bin/tsc", "-p", ".")
        printed = run(folder, "node", "built/calls.js", api.url, KEY.partition(":")[2])
    label, text, events, labels, status, engines, called = json.loads(printed)
    assert label in labels and len(labels) == 3 and len(text) == 4
    assert (events, status, engines) == ("list", "ready", 1)
    assert families(document, called) == families(document, document["paths"])


def families(document: Any, paths: Iterable[str]) -> set[str]:
    """The tags of the operations of these paths."""
    return {tag for path in paths for operation in document["paths"][path].values() for tag in operation["tags"]}
