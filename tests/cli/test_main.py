"""The whole command line: `--version`, invalid arguments, completion and unexpected errors."""

from __future__ import annotations

import importlib.metadata
import io
import re
from collections.abc import Iterator
from pathlib import Path

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


def test_the_name_of_an_argument_is_not_suggested_as_an_option(ostinato: Run) -> None:
    done = ostinato("evaluate", "a.csv", "--model", "m")
    assert done.status == 2 and "did you mean" not in done.err
    assert "no such option: --model; model is an argument of the command, so write only its value" in done.err


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
    "set the task (task) to generation",
)


def commands() -> Iterator[list[str]]:
    """The words of every command."""
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
    """Every option that an error of `import` names exists."""
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
