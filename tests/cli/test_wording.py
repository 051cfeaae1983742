"""Messages of the service are adapted to the command line: options replace fields, and commands replace routes."""

from __future__ import annotations

import pytest

from app.cli.wording import in_own_words
from tests.cli.conftest import Run


@pytest.mark.parametrize(
    ("message", "own"),
    [
        ("set columns.text_pair to the name of the column", "set --text-pair-column to the name of the column"),
        ("training.max_steps: must be at least 1", "--max-steps: must be at least 1"),
        (
            "model not found: x; GET /v1/models lists the models",
            "model not found: x; `ostinato models` lists the models",
        ),
        (
            "there is no file 'a'; GET /v1/files lists your files",
            "there is no file 'a'; `ostinato files` lists your files",
        ),
        ("GET /v1/evaluations lists your evaluations", "`ostinato jobs` lists your evaluations"),
        (
            "'x' is not a type of event; GET /v1/webhook_event_types lists the types",
            "'x' is not a type of event; `ostinato webhooks create --help` lists the types",
        ),
        ("GET /v1/webhook_endpoints lists your endpoints", "`ostinato webhooks` lists your endpoints"),
        (
            "the upload is too large; send larger files in parts with POST /v1/uploads",
            "the upload is too large; OpenAI's Python package sends larger files in parts",
        ),
        (
            "send truncate_prompt_tokens (-1 truncates to that length)",
            "use --truncate, which shortens it to that length",
        ),
        ("use a smaller max_grad_norm", "use a smaller --max-grad-norm"),
        ("publish.name must have 1 to 64 characters", "--name must have 1 to 64 characters"),
        ("set training.encoding (--encoding) to its encoding", "set --encoding to its encoding"),
        (
            "there is no route '/v1/models/a/b'; did you mean '/models/a/b'?",
            "the service does not know this request: a name or an id contains a character that is not allowed there, "
            "such as /, or the service and this command are of different releases",
        ),
    ],
)
def test_fields_and_routes_become_options_and_commands(message: str, own: str) -> None:
    assert in_own_words(message) == own


@pytest.mark.parametrize(
    "message",
    [
        "has no column 'top_k'",
        "cannot read ./columns.text",
        "training.json is damaged",
        "cannot reach http://x/v1/models",
    ],
)
def test_what_the_user_wrote_is_kept(message: str) -> None:
    assert in_own_words(message) == message


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("models", "alias", "m", "champion", "abc"), "version must be an integer"),
        (("models", "alias", "m", "champion", "0"), "version must be at least 1"),
        (("train", "x.csv", "--epochs", "abc"), "--epochs must be a number"),
        (("train", "x.csv", "--width", "1.5"), "--width must be an integer"),
        (("classify", "--threshold", "3", "x"), "--threshold must be at most 1"),
    ],
)
def test_wrong_values_are_described_without_the_words_of_a_library(
    arguments: tuple[str, ...], message: str, ostinato: Run
) -> None:
    done = ostinato(*arguments)
    assert done.status == 2 and done.err.splitlines()[0] == f"ostinato: {message}"
