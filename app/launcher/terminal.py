"""The output of `ostinato up`: all log lines of its programs or, at a terminal, only warnings and progress."""

from __future__ import annotations

import contextlib
import re
import shutil
from typing import TextIO

import msgspec

NAME_WIDTH = 7  # width of the program's name before each log line
PROGRESS = "progress: "  # prefix of the demo's progress lines; JSON with one [name, state, share] per job follows
BAR = 24  # characters
# matches the log lines that app.telemetry.TextLines writes
_LOG_LINE = re.compile(r"\d{4}-\S+Z (debug|info|warning|error|critical) +\S+ (?:\[[^\]]*\] )?(.*)")
_RED, _YELLOW, _CYAN, _BOLD, _PLAIN = "\x1b[31m", "\x1b[33m", "\x1b[36m", "\x1b[1m", "\x1b[0m"
_COLOURS = {"warning": _YELLOW, "error": _RED, "critical": _RED}


class LauncherOutput:
    """The launcher's output. Errors from a closed pipe are ignored, so that the launcher continues."""

    def __init__(self, out: TextIO, *, json: bool = False) -> None:
        self._out = out
        self._json = json

    def line(self, program: str, line: str) -> None:
        """Print one line of a program's output. With JSON logs, a line that is not a JSON object is wrapped in one."""
        if self._json:
            line = line if line.startswith("{") else msgspec.json.encode({"program": program, "message": line}).decode()
        else:
            line = f"{program:<{NAME_WIDTH}} | {line}"
        self._write(f"{line}\n")

    def ready(self, url: str, demo: bool) -> None:
        """Print the service's address once it is ready."""
        self.line("up", f"ready at {url}   (console: {url}/, API reference: {url}/docs)")

    def _write(self, text: str) -> None:
        with contextlib.suppress(BrokenPipeError):
            self._out.write(text)
            self._out.flush()


class Terminal(LauncherOutput):
    """Quiet output: the programs' warnings and errors in colour, a banner, and progress bars for the demo.

    The bars are the last lines on the screen. To print another line, the bars are erased, and then drawn again below
    it.
    """

    def __init__(self, out: TextIO, *, colour: bool = True, moving: bool = True) -> None:
        super().__init__(out)
        self._colour = colour
        self._moving = moving  # whether the terminal can move its cursor
        self._bars: list[str] = []
        self._finished: set[str] = set()

    def line(self, program: str, line: str) -> None:
        """Print one line of a program's output, unless it is a log line with a level below warning."""
        match = _LOG_LINE.fullmatch(line)
        if program == "demo" and line.startswith(PROGRESS):
            self._show_progress(line.removeprefix(PROGRESS))
        elif match is None:
            self._print(line if program == "up" else f"{program}: {line}")
        elif match[1] in _COLOURS:
            self._print(self._painted(f"{match[1]}: {match[2]}   ({program})", _COLOURS[match[1]]))

    def ready(self, url: str, demo: bool) -> None:
        """Print the banner: the address, the pages and the next command to type."""
        name = "" if url == "http://127.0.0.1:8000" else f"OSTINATO_URL={url} "
        self._print(self._painted("Ostinato is ready", _BOLD))
        self._print(f"  address  {url}")
        self._print(f"  console  {url}/   (in a browser; {url}/docs describes the API)")
        self._print(f"  next     {name}ostinato {'jobs' if demo else 'train FILE'}   (in another terminal)")

    def _show_progress(self, report: str) -> None:
        try:
            jobs = msgspec.json.decode(report, type=list[tuple[str, str, float]])
        except msgspec.DecodeError:
            return
        if not self._moving:
            for name, state, _ in jobs:
                if state in ("succeeded", "failed", "cancelled") and name not in self._finished:
                    self._finished.add(name)
                    self._print(f"{name}: {state}")
            return
        erasing = self._erasing()
        width = max((len(name) for name, *_ in jobs), default=0)
        self._bars = [self._bar(name.ljust(width), state, share) for name, state, share in jobs]
        self._write(erasing + "".join(self._bars))
        if all(state in ("succeeded", "failed", "cancelled") for _, state, _ in jobs):
            self._bars = []  # the finished bars stay on the screen

    def _bar(self, name: str, state: str, share: float) -> str:
        filled = round(max(0.0, min(1.0, share)) * BAR)
        room = max(0, shutil.get_terminal_size().columns - len(name) - BAR - 10)
        bar = self._painted("━" * filled, _CYAN) + "─" * (BAR - filled)
        shown = state[:room]
        return f"  {name} {bar} {share:4.0%} {self._painted(shown, _RED) if state == 'failed' else shown}\n"

    def _erasing(self) -> str:
        return f"\x1b[{len(self._bars)}A\x1b[J" if self._bars else ""

    def _print(self, line: str) -> None:
        self._write(f"{self._erasing()}{line}\n{''.join(self._bars)}")

    def _painted(self, text: str, colour: str) -> str:
        return f"{colour}{text}{_PLAIN}" if self._colour and text else text
