"""Runs a command in a pseudo-terminal, and returns the terminal's screen as HTML, for the pictures in the README."""

from __future__ import annotations

import fcntl
import html
import os
import pty
import struct
import subprocess
import termios
import time
from collections.abc import Callable, Mapping, Sequence
from itertools import groupby

import pyte
from pyte.screens import Char

COLOURS = {  # pyte's name of a colour -> CSS colour, for a dark background
    "default": "#d0d0d0",
    "black": "#808080",
    "red": "#f2777a",
    "green": "#99cc99",
    "brown": "#ffcc66",
    "blue": "#6699cc",
    "magenta": "#cc99cc",
    "cyan": "#66cccc",
    "white": "#ffffff",
}
STYLE = """
body { margin: 0; background: white }
main { background: #282828; border-radius: 9px; padding: 12px 14px; display: inline-block }
h1 { font: 600 17px sans-serif; color: #d0d0d0; text-align: center; margin: 0 0 12px }
pre { font: 19px/25px 'DejaVu Sans Mono', monospace; margin: 0; color: #d0d0d0 }
"""


def screen_when(
    command: Sequence[str], ready: Callable[[str], bool], *, columns: int, lines: int, seconds: float, folder: str,
    variables: Mapping[str, str],
) -> list[str]:  # fmt: skip
    """Run the command until `ready` is true for the text on the screen, and return the screen's lines as HTML.

    `variables` are added to the environment. The command is terminated in every case. Raises TimeoutError after
    `seconds`, and RuntimeError if the command ends before the screen is ready.
    """
    screen = pyte.Screen(columns, lines)
    stream = pyte.ByteStream(screen)
    ours, theirs = pty.openpty()
    fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", lines, columns, 0, 0))
    env = {**os.environ, "TERM": "xterm-256color", "COLORTERM": "truecolor", **variables}
    process = subprocess.Popen(command, stdin=theirs, stdout=theirs, stderr=theirs, env=env, cwd=folder)
    os.close(theirs)
    end = time.monotonic() + seconds
    try:
        while not ready("\n".join(screen.display)):
            if time.monotonic() > end:
                raise TimeoutError(f"{command[0]} has not shown what was expected:\n" + "\n".join(screen.display))
            try:
                stream.feed(os.read(ours, 65536))
            except OSError:  # the command has ended
                raise RuntimeError("\n".join(screen.display).rstrip()) from None
        return [_line([screen.buffer[y][x] for x in range(columns)]) for y in range(lines) if screen.display[y].strip()]
    finally:
        process.terminate()
        process.wait()
        os.close(ours)


def page(title: str, command: str, lines: Sequence[str]) -> str:
    """Return a page that shows a terminal in its `main` element: a title, the typed command and the lines."""
    text = "\n".join([f"$ {html.escape(command)}", *lines])
    return f"<!doctype html><style>{STYLE}</style><main><h1>{html.escape(title)}</h1><pre>{text}</pre></main>"


def _line(cells: Sequence[Char]) -> str:
    spans = []
    for (colour, bold), group in groupby(cells, key=lambda cell: (cell.fg, cell.bold)):
        text = html.escape("".join(cell.data for cell in group))
        weight = "bold" if bold else "normal"
        spans.append(f'<span style="color:{COLOURS.get(colour, "#" + colour)};font-weight:{weight}">{text}</span>')
    return "".join(spans).rstrip()
