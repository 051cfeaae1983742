"""The whole command line: `--version`, invalid arguments, completion and unexpected errors."""

from __future__ import annotations

import importlib.metadata
import io
import re
import shlex
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import typer

from app.cli import __main__ as main
from app.cli.wording import in_own_words, option_for
from app.wire.training_options import Columns, TrainingOptions
from tests.checkpoints import safetensors
from tests.cli.conftest import Run
from tests.cli.service import Service


def test_the_version_is_printed(ostinato: Run) -> None:
    assert ostinato("--version").out == f"ostinato {importlib.metadata.version('ostinato')}\n"


@pytest.mark.parametrize(
    ("arguments", "suggestion"),
    [
        (("clasify", "x"), "'classify'"),
        (("models", "lst"), "'list'"),
        (("classify", "--modle", "m"), "'--model'"),
        (("train", "a.csv", "--text_column", "a"), "'--text-column'"),
        (("train", "a.csv", "--epoch", "3"), "'--epochs'"),
        (("files", "upload", "--purpos", "x"), "'--purpose'"),
    ],
)
def test_the_nearest_command_or_option_is_suggested(ostinato: Run, arguments: tuple[str, ...], suggestion: str) -> None:
    done = ostinato(*arguments)
    assert done.status == 2 and f"did you mean {suggestion}?" in done.err.lower()


@pytest.mark.parametrize("value", ["inf", "1e400", "nan"])
def test_a_number_that_is_not_finite_is_named(service: Service, ostinato: Run, value: str) -> None:
    done = ostinato("train", "a.csv", "--epochs", value)
    assert done.status == 1 and done.err == "ostinato: --epochs must be a finite number\n"


def test_the_port_of_the_service_is_that_of_the_command_line(
    service: Service, ostinato: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    service.routes["GET /v1/files"] = (200, {"data": []})
    monkeypatch.delenv("OSTINATO_URL")
    monkeypatch.setenv("OSTINATO_PORT", service.url.rpartition(":")[2])
    assert ostinato("files").out == "no files yet\n"
    monkeypatch.setenv("OSTINATO_URL", f"{service.url}/v1/")
    assert ostinato("files").out == "no files yet\n"


def test_an_unexpected_error_is_one_plain_message(
    service: Service, ostinato: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    service.routes["GET /v1/files"] = (200, {"something": "else"})
    done = ostinato("files")
    assert done.status == 1 and done.err.startswith("ostinato: ") and "Traceback" not in done.err
    monkeypatch.setenv("OSTINATO_LOG_LEVEL", "debug")
    assert "Traceback" in ostinato("files").err


def test_a_model_that_does_not_exist_is_said_in_commands(service: Service, ostinato: Run) -> None:
    error = {"message": "model not found: x; GET /v1/models lists the models", "param": "model"}
    service.routes["POST /v1/classify"] = (404, {"error": error})
    assert ostinato("classify", "-m", "x", "y").err == (
        "ostinato: model not found: x; `ostinato models` lists the models\n"
    )


OPTION = re.compile(r"(?<![\w-])--[a-z][a-z-]*")
PHRASES = (
    "send truncate_prompt_tokens (-1 truncates to that length)",
    "save it as UTF-8, or set training.encoding (--encoding) to its encoding",
    "the encoding set in training.encoding (--encoding)",
    "to use a column, assign it a role in `columns`",
    "set task to generation",
)


def commands() -> Iterator[list[str]]:
    """Yield the words that call each command."""
    parts = [([], typer.main.get_command(main.program))]
    for words, command in parts:
        inner = getattr(command, "commands", {})
        parts += [([*words, name], part) for name, part in inner.items()]
        if not inner:
            yield words


@pytest.mark.parametrize("words", list(commands()), ids=" ".join)
def test_messages_name_only_options_of_the_command(words: list[str]) -> None:
    options = main.options_of([*words, "an argument", "--model", "train"])
    fields = [f"training.{name}" for name in TrainingOptions.__struct_fields__]
    fields += [*TrainingOptions.__struct_fields__, *(f"columns.{name}" for name in Columns.__struct_fields__)]
    fields += ["publish.name", "publish.alias", "validation_split", "top_k", "max_tokens", "foo, context_length, heads"]
    for message in (*fields, *PHRASES):
        own = in_own_words(message, options)
        assert set(OPTION.findall(own)) <= options, own
        assert option_for(message, options) in {None, *options}
    if words in (["train"], ["jobs", "follow"]):
        assert in_own_words("training.epochs and max_steps", options) == "--epochs and --max-steps"


def test_the_fields_of_an_import_are_not_options_of_a_training(ostinato: Run, tmp_path: Path) -> None:
    """The errors of `import` name only options that `import` has."""
    (tmp_path / "w.safetensors").write_bytes(safetensors({"a.weight": ([2], bytes(8))}))
    done = ostinato("import", "w.safetensors", "--name", "m", "--set", "foo=1")
    assert done.status == 1 and "context_length" in done.err
    for answer in ("foo=1", "context_length=0", "heads=x", "layers=-1"):
        done = ostinato("import", "w.safetensors", "--name", "m", "--set", answer)
        assert set(OPTION.findall(done.err)) <= main.options_of(["import"]), done.err


def test_a_declined_confirmation_changes_nothing(
    service: Service, ostinato: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sys.stdin", io.StringIO("n\n"))
    done = ostinato("models", "delete", "reviews:2")
    assert done.status == 1 and not service.requests


def test_shell_completion_is_offered(ostinato: Run) -> None:
    assert "--install-completion" in ostinato("--help").out


def test_commands_and_options_are_completed(ostinato: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("_OSTINATO_COMPLETE", "complete_bash")
    for words, completed in (("ostinato cl", "classify"), ("ostinato train --text-c", "--text-column")):
        monkeypatch.setenv("COMP_WORDS", words)
        monkeypatch.setenv("COMP_CWORD", str(words.count(" ")))
        assert completed in ostinato().out.split()


HUGE = "9" * 24


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("jobs", "list", "--limit", HUGE), "--limit must be"),
        (("jobs", "events", "ftjob-1", "--limit", HUGE), "--limit must be"),
        (("batches", "list", "--limit", HUGE), "--limit must be"),
        (("models", "search", "--limit", HUGE), "--limit must be"),
        (("up", "--port", HUGE), "--port must be"),
        (("engine", "--number", HUGE), "--number must be"),
        (("models", "alias", "m", "a", "1", "--expected", "²"), "--expected ²: must be a version number or none"),
        (("models", "search", "--minimum", "1"), "--minimum and --maximum require --metric"),
        (("generate", "-m", "m", "x", "--temperature", "nan"), "--temperature nan: must be a finite number"),
        (("chat", "m", "--top-p", "inf"), "--top-p inf: must be a finite number"),
        (("train", "a.csv", "--class-weights", '{"a": 1e999}'), "--class-weights: the numbers must be finite"),
        (("files", "show", ""), "an id or a name is empty"),
        (("models", "versions", ""), "an id or a name is empty"),
        (("files", "show", "../x"), "'..' is not a valid id or name"),
        (("jobs", "show", "batch-1"), "batch-1 is a batch; use: ostinato batches show batch-1"),
        (("jobs", "cancel", "batch-1"), "batch-1 is a batch; use: ostinato batches cancel batch-1"),
        (("jobs", "pause", "batch-1"), "batch-1 is a batch, which can only be shown and cancelled"),
        (("evaluate", "m", "a.csv", "--output", "."), "--output .: is a directory"),
        (
            ("evaluate", "m", "a.csv", "--output", "none/b.csv"),
            "--output none/b.csv: the directory none does not exist",
        ),
        (("classify", "-m", "m", "-f", "a.csv", "-o", "./a.csv"), "--output a.csv: is the input file"),
        (("migrate", "--data-dir", "a.csv"), "a.csv: File exists; choose another folder with --data-dir"),
    ],
)
def test_an_argument_that_cannot_work_is_named(
    service: Service, ostinato: Run, tmp_path: Path, arguments: tuple[str, ...], message: str
) -> None:
    (tmp_path / "a.csv").write_text("text,label\na,b\n")
    done = ostinato(*arguments)
    assert done.status and message in done.err and "unexpected error" not in done.err and not service.requests


def test_a_version_with_another_digit_is_looked_up(service: Service, ostinato: Run) -> None:
    service.routes["GET /v1/models/m:²"] = (404, {"error": {"message": "model not found: 'm:²'"}})
    assert "unexpected" not in ostinato("models", "show", "m:²").err


@pytest.mark.parametrize(
    ("arguments", "param", "message", "own"),
    [
        (("--seed", "1"), "seed", "seed must be from 0 to 9", "--seed must be from 0 to 9"),
        (("--top-k", "1"), "top_k", "top_k: expected `int` <= 9", "--top-k: must be an integer of at most 9"),
        (
            ("--temperature", "9"), "temperature", "temperature: expected `float` >= 0.0",
            "--temperature: must be a number of at least 0",
        ),
        (("--stop", ""), "stop[0]", "stop[0]: expected `str` of length >= 1", "--stop: must have at least 1 character"),
        ((), "prompt", "prompt must not be empty", "prompt must not be empty"),
    ],
)  # fmt: skip
def test_a_field_at_the_start_of_an_error_becomes_its_option(
    service: Service, ostinato: Run, arguments: tuple[str, ...], param: str, message: str, own: str
) -> None:
    service.routes["POST /v1/completions"] = (400, {"error": {"message": message, "param": param}})
    assert ostinato("generate", "-m", "m", "x", *arguments).err == f"ostinato: {own}\n"


def leaves(command: Any, path: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], Any]]:
    """Yield every command that has no subcommands, with the words that call it."""
    if not hasattr(command, "commands"):
        yield path, command
        return
    for name, child in command.commands.items():
        yield from leaves(child, (*path, name))


COMMANDS = dict(leaves(typer.main.get_command(main.program)))


@pytest.mark.parametrize("path", COMMANDS, ids=" ".join)
def test_every_option_is_described_and_every_example_can_be_parsed(path: tuple[str, ...]) -> None:
    command = COMMANDS[path]
    assert [parameter.name for parameter in command.params if not parameter.help] == []
    examples = [line for line in command.help.splitlines() if line.startswith("Example: ")]
    has_arguments = any(parameter.param_type_name == "argument" for parameter in command.params)
    assert bool(examples) >= has_arguments, "a command with arguments has an example"
    for example in examples:
        words = shlex.split(example.removeprefix("Example: ").partition(" | ")[0])
        assert words[: len(path) + 1] == ["ostinato", *path]
        command.make_context("", words[len(path) + 1 :])


@pytest.mark.parametrize("path", COMMANDS, ids=" ".join)
def test_paragraphs_of_the_help_are_not_broken(path: tuple[str, ...]) -> None:
    for paragraph in COMMANDS[path].help.split("\n\n"):
        lines = paragraph.splitlines()
        assert len(lines) == 1 or all(line.startswith("Example: ") for line in lines)


@pytest.mark.parametrize("command", ["classify", "train"])
def test_no_word_of_the_help_is_cut(ostinato: Run, monkeypatch: pytest.MonkeyPatch, command: str) -> None:
    """Checks the two commands with the most and the longest options, at a terminal with 80 columns."""
    monkeypatch.setenv("COLUMNS", "80")
    shown = ostinato(command, "--help").out
    assert "--text-pair-column" in shown and re.search(r"\w…", shown) is None


def test_the_help_begins_with_first_steps(ostinato: Run) -> None:
    shown = ostinato("--help").out
    assert "ostinato up --demo" in shown and "OSTINATO_URL" in shown
