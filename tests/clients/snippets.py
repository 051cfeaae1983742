"""Reads and runs the code that the console shows: curl, Python and the command line."""

from __future__ import annotations

import contextlib
import io
import json
import os
import runpy
import shlex
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

import httpx
import typer.main
from playwright.sync_api import Page

from app.cli.__main__ import program
from tests.clients.browser import Visit

TABLE = b"text,label\n" + b"".join(f"row {n},{'good' if n % 2 else 'bad'}\n".encode() for n in range(60))
READ = """async () => {
  const shown = [];
  for (const box of document.querySelectorAll('details.snippets')) {
    box.open = true;
    for (let i = 0; !box.querySelector('.tabs'); i += 1) {
      if (i > 1000) throw new Error('the code did not appear');
      await new Promise((done) => setTimeout(done, 5));
    }
    for (const tab of box.querySelectorAll('[role=tab]')) {
      tab.click();
      shown.push([tab.textContent, box.querySelector('pre').textContent]);
    }
    box.open = false;
  }
  return shown;
}"""


def code_of(console: Visit, place: str) -> list[tuple[str, str]]:
    """Return the name and the text of each snippet in a view."""
    console.page.goto("about:blank")  # otherwise, the previous view could be read
    return code_in(console.open(place))


def code_in(page: Page) -> list[tuple[str, str]]:
    """Return the snippets of the open view."""
    shown = [(str(name), str(text)) for name, text in page.evaluate(READ)]
    assert shown, "the view shows no code"
    return shown


def the(code: list[tuple[str, str]], name: str) -> str:
    """Return the first snippet with this name."""
    return next(text for own, text in code if own == name)


def uncommented(text: str) -> str:
    """Return the text with its commented-out commands as real commands."""
    lines = text.split("\n")
    return "\n".join(line.removeprefix("# ") if "To pause" not in line else line for line in lines)


def json_of(text: str) -> dict[str, Any]:
    """Return the JSON body of the first request in a text with curl commands."""
    body: dict[str, Any] = json.loads(to_request(command_lines(text)[0]).content)
    return body


class Runner:
    """Runs snippets: executes Python, and sends the requests of curl. Commands of `ostinato` are only parsed."""

    def __init__(self, file: str = "") -> None:
        self.file = file  # the id of an uploaded table, which is also in the current folder, as data.csv

    def run(self, code: list[tuple[str, str]]) -> None:
        for name, text in code:
            text = text.replace("FILE_ID", self.file)
            words = command_lines(text) if name != "Python" and "import " not in text else []
            if not words:
                self.execute(text)
            for line in words:
                accept(line) if line[0] == "ostinato" else self.send(line)

    def execute(self, text: str) -> str:
        """Run Python code, and return what it prints."""
        output, script = io.StringIO(), Path("script.py")
        script.write_text(text)
        with contextlib.redirect_stdout(output):
            runpy.run_path(str(script))
        assert "{'error': {" not in output.getvalue(), (text, output.getvalue())
        return output.getvalue()

    def send(self, words: list[str]) -> httpx.Response:
        with httpx.Client(timeout=60) as client:
            request = to_request(words)
            if "stream=true" in str(request.url):  # the events of a job, which do not end
                return httpx.Response(200)
            reply = client.send(request)
        assert reply.status_code == 200, (words, reply.text)
        return reply


def command_lines(text: str) -> list[list[str]]:
    """Split a text into commands, and each command into words, as a shell does."""
    commands = [shlex.split(line, comments=True) for line in split_lines(text.replace("\\\n", " "))]
    return [words for words in commands if words and words[0] != "export"]


def split_lines(text: str) -> Iterator[str]:
    """Yield the lines of a text. A line break within quotes does not end a line."""
    line = ""
    for piece in text.split("\n"):
        line = f"{line}\n{piece}" if line else piece
        try:
            shlex.split(line, comments=True)
        except ValueError:
            continue
        yield line
        line = ""
    assert not line, "a quote is not closed"


def to_request(words: list[str]) -> httpx.Request:
    """Return the request that a curl command sends. Raises AssertionError for an unknown or repeated option."""
    assert words[:2] == ["curl", "-s"], words
    options: dict[str, str] = {}
    form: dict[str, str] = {}
    url, headers, rest = "", {}, iter(words[2:])
    for word in rest:
        if word == "-F":
            name, _, value = next(rest).partition("=")
            form[name] = value
        elif word == "-H":
            name, _, value = next(rest).partition(": ")
            headers[name] = os.path.expandvars(value)
        elif word in ("-X", "-d"):
            assert word not in options, f"{word} is repeated"
            options[word] = next(rest)
        elif word != "-N":
            assert word.startswith("http") and not url, words
            url = word
    method = options.get("-X", "POST" if form or "-d" in options else "GET")
    if form:
        files = {name: (value[1:], TABLE) for name, value in form.items() if value.startswith("@")}
        data = {name: value for name, value in form.items() if not value.startswith("@")}
        return httpx.Request(method, url, headers=headers, files=files, data=data)
    return httpx.Request(method, url, headers=headers, content=options.get("-d"))


@cache
def root_command() -> Any:
    return typer.main.get_command(program)


def accept(words: list[str]) -> dict[str, Any]:
    """Return the parameters that a command line sets. Raises an exception for an invalid command line."""
    command = root_command()
    context = command.make_context(words[0], words[1:])
    while hasattr(context.command, "commands") and (rest := [*context._protected_args, *context.args]):
        name, command, rest = context.command.resolve_command(context, rest)
        context = command.make_context(name, rest, parent=context)
    return {name: value for name, value in context.params.items() if value is not None}
