"""`ostinato chat`: its requests and its output."""

from __future__ import annotations

import io
from typing import Any

import pytest

from tests.cli.conftest import Run
from tests.cli.service import Events, Service

ROUTE = "POST /v1/chat/completions"


def answer(*texts: str) -> tuple[int, Events]:
    deltas = [{"role": "assistant", "content": ""}, *({"content": text} for text in texts), {}]
    return 200, Events([{"choices": [{"index": 0, "delta": delta}]} for delta in deltas])


@pytest.fixture
def typed(monkeypatch: pytest.MonkeyPatch) -> Any:
    def type_in(text: str, terminal: bool = False) -> None:
        stream = io.TextIOWrapper(io.BytesIO(text.encode()), encoding="utf-8")
        monkeypatch.setattr(stream, "isatty", lambda: terminal, raising=False)
        monkeypatch.setattr("sys.stdin", stream)

    return type_in


def test_each_line_is_a_message(service: Service, ostinato: Run, typed: Any) -> None:
    service.routes[ROUTE] = [answer("Ho", "!"), answer("Grün.")]
    typed("Hi\n\nWhat?\n")
    done = ostinato("chat", "m", "--system", "Be brief.", "--temperature", "0", "--max-tokens", "9")
    assert (done.status, done.out, done.err) == (0, "Ho!\nGrün.\n", "")
    system = {"role": "system", "content": "Be brief."}
    first, second = (request.json for request in service.requests)
    options = {"model": "m", "max_tokens": 9, "temperature": 0, "truncate_prompt_tokens": -1, "stream": True}
    assert first == options | {"messages": [system, {"role": "user", "content": "Hi"}]}
    assert second["messages"] == [
        *first["messages"], {"role": "assistant", "content": "Ho!"}, {"role": "user", "content": "What?"},
    ]  # fmt: skip


def test_a_terminal_shows_a_prompt(service: Service, ostinato: Run, typed: Any) -> None:
    service.routes[ROUTE] = answer("Ho")
    typed("Hi\n", terminal=True)
    assert ostinato("chat", "m").out == "> Ho\n> \n"


def test_an_answer_that_breaks_off_ends_the_conversation_only_in_a_script(
    service: Service, ostinato: Run, typed: Any
) -> None:
    broken = (200, Events([{"choices": [{"index": 0, "delta": {"content": "H"}}]}, {"error": {"message": "died"}}]))
    service.routes[ROUTE] = [broken, answer("Ho")]
    typed("Hi\nWhat?\n", terminal=True)
    done = ostinato("chat", "m")
    assert (done.status, done.err) == (0, "\nostinato: died\n") and "Ho" in done.out
    assert [len(request.json["messages"]) for request in service.requests] == [1, 1]
    service.routes[ROUTE] = broken
    typed("Hi\nWhat?\n")
    done = ostinato("chat", "m")
    assert (done.status, done.out, done.err) == (1, "H", "ostinato: died\n")


def test_a_version_that_cannot_chat_is_refused_at_once(service: Service, ostinato: Run, typed: Any) -> None:
    service.routes[ROUTE] = (400, {"error": {"message": "m:1 has no chat template; …", "code": "no_chat_template"}})
    typed("Hi\nWhat?\n", terminal=True)
    done = ostinato("chat", "m")
    assert done.status == 1 and "no chat template" in done.err and len(service.requests) == 1


@pytest.mark.parametrize(
    ("task", "message"),
    [
        ("generation", "standard input contains no message; each line is a message"),
        (
            "classification",
            "m is for classification; `ostinato chat` requires a model trained on conversations",
        ),
    ],
)
def test_an_empty_input_is_reported_in_the_terms_of_a_chat(
    service: Service, ostinato: Run, typed: Any, task: str, message: str
) -> None:
    service.routes["GET /v1/models/m"] = (200, {"id": "m", "version": 1, "task": task})
    typed("\n")
    done = ostinato("chat", "m")
    assert (done.status, done.err) == (1, f"ostinato: {message}\n")
