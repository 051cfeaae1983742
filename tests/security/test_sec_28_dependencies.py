"""SEC-28: the libraries that parse untrusted input have versions in which known vulnerabilities are fixed."""

from __future__ import annotations

import re
import tomllib
from importlib.metadata import version
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
FLOORS = {
    "torch": "2.10",
    "starlette": "0.49.1",
    "python-multipart": "0.0.26",
    "safetensors": "0.7",
    "tokenizers": "0.22",
}


def numbers(text: str) -> tuple[int, ...]:
    return tuple(int(number) for number in re.findall(r"\d+", text.partition("+")[0])[:3])


@pytest.mark.parametrize(("name", "floor"), FLOORS.items())
def test_the_floor_is_required_locked_and_installed(name: str, floor: str) -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    [required] = [text for text in project["dependencies"] if re.match(rf"{re.escape(name)}[>=\[]", text)]
    locked = re.search(rf"^{re.escape(name)}==([\w.+]+)", (ROOT / "requirements.lock").read_text(), re.MULTILINE)
    assert locked is not None
    for stated in (required.partition(">=")[2], locked[1], version(name)):
        assert numbers(stated) >= numbers(floor), (name, stated)


def test_libraries_that_run_templates_or_unsafe_formats_are_no_dependencies() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    names = {re.split(r"[>=\[; ]", text)[0].lower() for text in project["dependencies"]}
    assert not names & {"jinja2", "transformers", "pyyaml", "dill", "cloudpickle", "joblib"}
