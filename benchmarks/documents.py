"""Runs the ```bash and ```console blocks of a Markdown page in one shell and checks their output.

In a `console` block, each line that begins with `$ ` is a command (continued after `\\`), and the lines below it are
the expected output: `…` within a line matches any text, a line of `…` alone matches any number of lines, and spaces
match any number of spaces. A `bash` block is run as a whole and must succeed.
"""

from __future__ import annotations

import os
import re
import selectors
import subprocess
import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

BLOCK = re.compile(r"^```(bash|console)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
END = "--- end of a command, with status "


@dataclass(frozen=True)
class Step:
    """A command and the output that the page shows for it. If the output is None, the command must only succeed."""

    command: str
    printed: list[str] | None


def sections(page: str) -> dict[str, str]:
    """Map each `##` heading of the page to its text, in order. The text before the first heading has the key ""."""
    parts = re.split(r"^## (.+)\n", page, flags=re.MULTILINE)
    return {"": parts[0], **dict(zip(parts[1::2], parts[2::2], strict=True))}


def steps(page: str) -> list[Step]:
    """Return all commands of a page, in order."""
    page_steps: list[Step] = []
    for kind, body in BLOCK.findall(page):
        page_steps += [Step(body, None)] if kind == "bash" else _console(body)
    return page_steps


def _console(body: str) -> list[Step]:
    block_steps: list[Step] = []
    lines = iter(body.splitlines())
    for line in lines:
        if line.startswith("$ "):
            command = line[2:]
            while command.endswith("\\"):
                command += "\n" + next(lines)
            block_steps.append(Step(command, []))
        else:
            printed = block_steps[-1].printed
            assert printed is not None
            printed.append(line)
    return block_steps


def fits(printed: list[str], output: str) -> bool:
    """Whether `output` matches the lines printed on the page. Empty lines at the end of `output` are ignored."""
    shown = output.rstrip("\n")
    return re.fullmatch("".join(map(_pattern, printed)), f"{shown}\n" if shown else "") is not None


def _pattern(line: str) -> str:
    if line.strip() == "…":
        return r"(?:.*\n)*?"
    parts = [r"[ \t]+".join(map(re.escape, re.split(r"[ \t]+", part))) for part in re.split(r" ?… ?", line)]
    return ".*".join(parts) + r"[ \t]*\n"


class Shell:
    """A bash process that runs one command after another."""

    def __init__(self, folder: Path, environment: dict[str, str]) -> None:
        self._process = subprocess.Popen(
            ["bash", "--noprofile", "--norc"], cwd=folder, env={**os.environ, **environment},
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, start_new_session=True,
        )  # fmt: skip

    def type(self, command: str, seconds: float) -> tuple[int, str]:
        """Run a command with empty standard input. Returns its exit status and its output."""
        assert self._process.stdin and self._process.stdout
        quoted = command.replace("'", "'\\''")
        self._process.stdin.write(f"eval '{quoted}' </dev/null\necho; echo '{END}'$?\n".encode())
        self._process.stdin.flush()
        output = self._read(seconds)
        shown, _, status = output.rpartition("\n" + END)
        return int(status), shown

    def _read(self, seconds: float) -> str:
        assert self._process.stdout
        output, deadline = b"", time.monotonic() + seconds
        with selectors.DefaultSelector() as ready:
            ready.register(self._process.stdout, selectors.EVENT_READ)
            while not re.search(END.encode() + rb"\d+\n$", output):
                if not ready.select(max(0.0, deadline - time.monotonic())):
                    raise TimeoutError(f"still running after {seconds:g} s; the output so far:\n{output.decode()}")
                chunk = os.read(self._process.stdout.fileno(), 65536)
                assert chunk, f"the shell ended: {output.decode()}"
                output += chunk
        return output.decode().rstrip("\n")

    def close(self) -> None:
        """End the shell."""
        assert self._process.stdin and self._process.stdout
        self._process.stdin.close()
        self._process.stdout.close()
        self._process.kill()
        self._process.wait()


def type_steps(
    typed: Iterable[Step],
    folder: Path,
    environment: Mapping[str, str],
    *,
    changes: Mapping[str, str] | None = None,
    seconds: Mapping[str, float] | None = None,
    default_seconds: float = 300.0,
) -> None:
    """Run commands in order in one shell.

    Raises AssertionError at the first command that fails or has different output.

    `changes` maps texts in commands to replacements. `seconds` maps texts to the timeouts of commands that contain
    them.
    """
    shell = Shell(folder, dict(environment))
    try:
        for step in typed:
            command = step.command
            for shown, replacement in (changes or {}).items():
                command = command.replace(shown, replacement)
            limits = [allowed for part, allowed in (seconds or {}).items() if part in command]
            status, output = shell.type(command, max(limits, default=default_seconds))
            assert status == 0, f"$ {command}\n{output}"
            if step.printed is not None:
                expected = "\n".join(step.printed)
                assert fits(step.printed, output), (
                    f"$ {command}\n--- printed ---\n{output}\n--- expected ---\n{expected}"
                )
    finally:
        shell.close()
