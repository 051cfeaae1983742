"""Running a page: its ```bash and ```console blocks, one after the other, in one shell, and comparing what they print.

In a `console` block a line that begins with `$ ` is typed (with its continuations after `\\`), and the lines below it
are what is printed: `…` stands for anything within a line, a line of `…` alone for any lines, spaces for any spaces.
A `bash` block is typed as it is, and must succeed.
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
    """A command, and what it prints (None: anything, if it succeeds)."""

    command: str
    printed: list[str] | None


def sections(page: str) -> dict[str, str]:
    """The page by its titles (`##` ones), in order; what stands before the first is under ""."""
    parts = re.split(r"^## (.+)\n", page, flags=re.MULTILINE)
    return {"": parts[0], **dict(zip(parts[1::2], parts[2::2], strict=True))}


def steps(page: str) -> list[Step]:
    found: list[Step] = []
    for kind, body in BLOCK.findall(page):
        found += [Step(body, None)] if kind == "bash" else _console(body)
    return found


def _console(body: str) -> list[Step]:
    found: list[Step] = []
    lines = iter(body.splitlines())
    for line in lines:
        if line.startswith("$ "):
            command = line[2:]
            while command.endswith("\\"):
                command += "\n" + next(lines)
            found.append(Step(command, []))
        else:
            printed = found[-1].printed
            assert printed is not None
            printed.append(line)
    return found


def fits(printed: list[str], output: str) -> bool:
    """Whether this output is what a page tells; empty lines at the end are no matter."""
    shown = output.rstrip("\n")
    return re.fullmatch("".join(map(_pattern, printed)), f"{shown}\n" if shown else "") is not None


def _pattern(line: str) -> str:
    if line.strip() == "…":
        return r"(?:.*\n)*?"
    parts = [r"[ \t]+".join(map(re.escape, re.split(r"[ \t]+", part))) for part in re.split(r" ?… ?", line)]
    return ".*".join(parts) + r"[ \t]*\n"


class Shell:
    """A shell that is typed into."""

    def __init__(self, folder: Path, environment: dict[str, str]) -> None:
        self._process = subprocess.Popen(
            ["bash", "--noprofile", "--norc"], cwd=folder, env={**os.environ, **environment},
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, start_new_session=True,
        )  # fmt: skip

    def type(self, command: str, seconds: float) -> tuple[int, str]:
        """Exit status and output. The command itself reads nothing."""
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
                    raise TimeoutError(f"after {seconds:g} s, with the output so far:\n{output.decode()}")
                chunk = os.read(self._process.stdout.fileno(), 65536)
                assert chunk, f"the shell ended: {output.decode()}"
                output += chunk
        return output.decode().rstrip("\n")

    def close(self) -> None:
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
    usually: float = 300.0,
) -> None:
    """Type commands in order, in one terminal; AssertionError at the first that does something else than is told.

    `changes`: what a page writes -> what is typed here instead. `seconds`: patience by a part of the command.
    """
    shell = Shell(folder, dict(environment))
    try:
        for step in typed:
            command = step.command
            for written, meant in (changes or {}).items():
                command = command.replace(written, meant)
            patience = [allowed for part, allowed in (seconds or {}).items() if part in command]
            status, output = shell.type(command, max(patience, default=usually))
            assert status == 0, f"$ {command}\n{output}"
            if step.printed is not None:
                told = "\n".join(step.printed)
                assert fits(step.printed, output), f"$ {command}\n--- printed ---\n{output}\n--- told ---\n{told}"
    finally:
        shell.close()
