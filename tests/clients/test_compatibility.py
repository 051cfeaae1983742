"""The page about clients agrees with the recorded calls. Environments for the suites of `make accept` are installed."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from benchmarks.accept import clients
from benchmarks.accept.clients import CLIENTS, SUITES, ClientSuite, command, install
from benchmarks.accept.compatibility import HEAD, PAGE, page
from benchmarks.accept.record import Record

RECORD = Path(__file__).parents[2] / "benchmarks" / "results" / "accept-clients.json"


def entry(detail: str, call: str = "files.retrieve", client: str = "a 1") -> dict[str, str]:
    return {"client": client, "call": call, "result": "refused", "detail": detail}


def rows(text: str) -> list[tuple[str, str, str]]:
    """The client, call and outcome of each row of a page."""
    outcomes, client = [], ""
    for line in text.splitlines():
        if line.startswith("## "):
            client = line[3:]
        elif row := re.fullmatch(r"\| (.+?) \| (works|(?:refused|missing): .+) \|", line):
            outcomes.append((client, row[1], row[2].partition(":")[0]))
    return outcomes


def test_the_page_has_every_call_of_its_record_with_its_outcome() -> None:
    record = json.loads(RECORD.read_text(encoding="utf-8"))
    recorded = [(call["client"], call["call"], call["result"]) for call in record["notes"]["calls"]]
    assert record["met"] and len(recorded) > 200
    assert sorted(rows(PAGE.read_text(encoding="utf-8"))) == sorted(recorded)
    assert PAGE.read_text(encoding="utf-8") == page(record["notes"]["calls"])


def test_the_page_does_not_depend_on_generated_ids() -> None:
    first, second = (
        page([entry(f"NotFoundError: {kind}-{number:024x}") for kind in ("file", "ftjob")]) for number in (1, 2)
    )
    assert first == second and "`NotFoundError: file-…`" in first and "`NotFoundError: ftjob-…`" in first
    assert page([entry("BadRequestError: 'assistant-lstm' has no max_tokens")]).endswith("no max_tokens` |\n")


def test_the_page_starts_with_what_its_words_mean() -> None:
    assert page([]) == HEAD and all(f"*{word}*" in HEAD for word in ("refused", "missing"))


def test_every_suite_belongs_to_an_environment() -> None:
    named = {script for suite in CLIENTS.values() for script in suite.scripts}
    assert named == {path.name for path in SUITES.glob("suite_*")}


@pytest.fixture
def commands(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> list[list[str]]:
    """The commands that an installation would run, recorded instead of executed."""
    ran: list[list[str]] = []
    monkeypatch.setattr(clients, "quietly", ran.append)
    monkeypatch.setattr(clients, "ENVIRONMENTS", tmp_path)
    return ran


@pytest.mark.parametrize("script", ["suite_npm.mjs", "suite_ollama.py"])
def test_an_environment_is_installed_again_only_if_its_suite_names_other_packages(
    commands: list[list[str]], script: str
) -> None:
    install("some", ClientSuite(("a@^1", "b"), (script,)))
    assert commands[-1][-2:] == ["a@^1", "b"]
    before = len(commands)
    install("some", ClientSuite(("a@^1", "b"), (script,)))
    assert len(commands) == before
    install("some", ClientSuite(("a@^2", "b"), (script,)))
    assert commands[-1][-2:] == ["a@^2", "b"]


@pytest.mark.parametrize("script", ["suite_npm.mjs", "suite_ollama.py"])
def test_an_environment_of_an_unknown_installation_is_installed_again(
    commands: list[list[str]], tmp_path: Path, script: str
) -> None:
    (tmp_path / "some" / "node_modules").mkdir(parents=True)
    install("some", ClientSuite(("a",), (script,)))
    assert commands[-1][-1] == "a"


def test_scripts_run_with_the_node_of_their_environment(commands: list[list[str]], tmp_path: Path) -> None:
    suite = ClientSuite(("a",), ("suite_npm.mjs",))
    (tmp_path / "some" / "node_modules" / ".bin").mkdir(parents=True)
    assert command("some", suite, "suite_npm.mjs") == ["node", "suite_npm.mjs"]
    own = tmp_path / "some" / "node_modules" / ".bin" / "node"
    own.touch()
    assert command("some", suite, "suite_npm.mjs") == [str(own), "suite_npm.mjs"]


def test_a_failed_installation_is_repeated(commands: list[list[str]], monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(command: list[str]) -> None:
        raise OSError(command)

    with monkeypatch.context() as patch, pytest.raises(OSError):
        patch.setattr(clients, "quietly", fail)
        install("some", ClientSuite(("a",), ("suite_npm.mjs",)))
    install("some", ClientSuite(("a",), ("suite_npm.mjs",)))
    assert commands[-1][-1] == "a"


def test_each_script_of_a_suite_is_run_and_its_end_is_recorded(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "some").mkdir()
    scripts = {
        "one.py": "import json, sys; print(json.dumps([{'call': sys.argv[1]}]))",
        "two.py": "raise SystemExit('broken')",
    }
    monkeypatch.setattr(clients, "ENVIRONMENTS", tmp_path)
    monkeypatch.setattr(clients, "command", lambda name, suite, script: ["python3", "-c", scripts[script]])
    record = Record()
    results = clients.run(record, "some", ClientSuite((), tuple(scripts)), "http://service")
    assert results == [{"call": "http://service"}]
    assert not record.met and record.notes["two.py"].strip() == "broken"
