"""`ostinato chat`: a conversation with a model."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from typing import TYPE_CHECKING, Annotated, Any

import typer

from app.cli.inference import check_finite, chosen_model, printable
from app.cli.output import connect, warn
from app.cli.streams import read_text
from app.cli.wording import in_own_words
from app.errors import InvalidRequest, OstinatoError

if TYPE_CHECKING:
    from app.client import Client


def register(program: typer.Typer) -> None:
    program.command()(chat)


def chat(
    model: Annotated[
        str | None,
        typer.Argument(help="A version: name, name:3 or name@alias.", show_default="the default model"),
    ] = None,
    system: Annotated[str | None, typer.Option(help="The system message at the beginning of the conversation.")] = None,
    max_tokens: Annotated[
        int | None, typer.Option(min=1, help="Maximum number of tokens per answer.", show_default="the context")
    ] = None,
    temperature: Annotated[
        float | None, typer.Option(help="0 always chooses the most probable token.", show_default="1")
    ] = None,
    top_p: Annotated[
        float | None, typer.Option(help="Sample from the smallest set of tokens with this total probability.")
    ] = None,
    seed: Annotated[int | None, typer.Option(help="Random seed, which makes sampling repeatable.")] = None,
) -> None:
    """Chat with a model trained on conversations. Each line of standard input is a message.

    Ctrl+C interrupts an answer. Ctrl+D ends the conversation. If the conversation becomes too long for the model, its
    beginning is left out.
    """
    options = {
        "model": chosen_model(model), "max_tokens": max_tokens, "temperature": temperature, "top_p": top_p,
        "seed": seed, "truncate_prompt_tokens": -1, "stream": True,
    }  # fmt: skip
    body = {name: value for name, value in options.items() if value is not None}
    check_finite(body)
    messages = [] if system is None else [{"role": "system", "content": system}]
    with connect() as client:
        for line in _lines(client, chosen_model(model)):
            if not line.strip():
                continue
            question = {"role": "user", "content": line}
            answer = _answer(client, {**body, "messages": [*messages, question]})
            if answer is not None:
                messages += [question, {"role": "assistant", "content": answer}]


def _lines(client: Client, model: str) -> Iterator[str]:
    """Yield the lines of standard input. At a terminal, prompt the user for each line."""
    if not sys.stdin.isatty():
        yield from _piped(client, model)
        return
    while True:
        try:
            yield input("> ")
        except EOFError:
            print()
            return


def _piped(client: Client, model: str) -> list[str]:
    """The lines of standard input. Raises InvalidRequest if all lines are blank."""
    lines = [line for line in read_text().split("\n") if line.strip()]
    if lines:
        return lines
    task = client.get(f"/v1/models/{model}")["task"]
    if task != "generation":
        raise InvalidRequest(f"{model} is for {task}; `ostinato chat` requires a model trained on conversations")
    raise InvalidRequest("standard input contains no message; each line is a message")


def _answer(client: Client, body: dict[str, Any]) -> str | None:
    """Print an answer while it is generated, and return it.

    At a terminal, returns None if the user interrupts the answer or an error occurs after the first words. Errors are
    printed, and the conversation continues.
    """
    texts: list[str] = []
    try:
        for event in client.stream("/v1/chat/completions", body):
            for choice in event.get("choices") or []:
                texts.append(choice["delta"].get("content") or "")
                sys.stdout.write(printable(texts[-1]))
            sys.stdout.flush()
    except OstinatoError as error:
        if not texts or not sys.stdin.isatty():
            raise
        warn(f"\nostinato: {in_own_words(error.message)}")
        return None
    except KeyboardInterrupt:
        if not sys.stdin.isatty():
            raise
        print()
        return None
    print()
    return "".join(texts)
