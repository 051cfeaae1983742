"""The output of `ostinato up`, at a terminal and in a file or pipe."""

from __future__ import annotations

import io
import json
import re

import pytest

from app import settings
from app.launcher.launcher import choose_output
from app.launcher.terminal import PROGRESS, LauncherOutput, Terminal

ACCESS = "2026-11-29T03:40:25.754Z info    ostinato.access [req-46f6] POST /v1/files 200 50.5 ms local"
WARNING = "2026-11-29T03:40:25.754Z warning app.worker.worker [req-1 ftjob-2] the blob store does not answer"
ERROR = "2026-11-29T03:40:25.754Z error   app.engine.process out of memory"


class Screen(io.StringIO):
    """A fake terminal. It stores everything that is written to it, and returns the visible text."""

    def isatty(self) -> bool:
        return True

    def shown(self) -> list[str]:
        lines: list[str] = []
        for part in re.split(r"(\x1b\[\d+A\x1b\[J)", self.getvalue()):
            if match := re.fullmatch(r"\x1b\[(\d+)A\x1b\[J", part):
                del lines[-int(match[1]) :]
            else:
                lines += re.sub(r"\x1b\[\d*m", "", part).splitlines()
        return lines


def progress(*jobs: tuple[str, str, float]) -> str:
    return PROGRESS + json.dumps(jobs)


def test_a_terminal_shows_warnings_in_colour_and_no_requests() -> None:
    screen = Screen()
    terminal = Terminal(screen)
    for program, line in (("api", ACCESS), ("worker", WARNING), ("engine", ERROR), ("engine", "Killed")):
        terminal.line(program, line)
    assert screen.shown() == [
        "warning: the blob store does not answer   (worker)",
        "error: out of memory   (engine)",
        "engine: Killed",
    ]
    assert screen.getvalue().startswith("\x1b[33m") and "\x1b[31m" in screen.getvalue()


def test_the_banner_says_where_and_what_next() -> None:
    screen = Screen()
    Terminal(screen, colour=False).ready("http://127.0.0.1:9000", demo=False)
    assert screen.getvalue().splitlines() == [
        "Ostinato is ready",
        "  address  http://127.0.0.1:9000",
        "  console  http://127.0.0.1:9000/   (in a browser; http://127.0.0.1:9000/docs describes the API)",
        "  next     OSTINATO_URL=http://127.0.0.1:9000 ostinato train FILE   (in another terminal)",
    ]


def test_bars_stay_below_all_other_lines() -> None:
    screen = Screen()
    terminal = Terminal(screen)
    terminal.line("demo", progress(("a", "running", 0.0), ("bb", "queued", 0.0)))
    terminal.line("worker", WARNING)
    terminal.line("demo", progress(("a", "running", 0.5), ("bb", "queued", 0.0)))
    warning, *bars = screen.shown()
    assert warning.startswith("warning: ")
    assert bars == [f"  a  {'━' * 12}{'─' * 12}  50% running", f"  bb {'─' * 24}   0% queued"]
    terminal.line("demo", progress(("a", "succeeded", 1.0), ("bb", "failed", 0.2)))
    terminal.line("up", "stopping")
    assert [line.split()[0] for line in screen.shown()] == ["warning:", "a", "bb", "stopping"]


def test_a_terminal_that_cannot_move_its_cursor_gets_a_line_for_each_model() -> None:
    screen = Screen()
    terminal = Terminal(screen, colour=False, moving=False)
    for share, state in ((0.1, "running"), (1.0, "succeeded"), (1.0, "succeeded")):
        terminal.line("demo", progress(("a", state, share), ("b", "queued", 0.0)))
    assert screen.getvalue() == "a: succeeded\n"


def test_elsewhere_every_line_is_printed() -> None:
    out = io.StringIO()
    LauncherOutput(out).line("api", ACCESS)
    assert out.getvalue() == f"api     | {ACCESS}\n"
    out = io.StringIO()
    LauncherOutput(out, json=True).line("up", "stopping")
    assert json.loads(out.getvalue()) == {"program": "up", "message": "stopping"}


@pytest.mark.parametrize(
    ("variables", "verbose", "quiet"),
    [
        ({}, False, True),
        ({}, True, False),
        ({"OSTINATO_LOG_FORMAT": "json"}, False, False),
        ({"OSTINATO_LOG_LEVEL": "debug"}, False, False),
    ],
)
def test_only_a_terminal_is_quiet_and_only_if_nothing_else_is_asked_for(
    variables: dict[str, str], verbose: bool, quiet: bool
) -> None:
    chosen = settings.load(variables)
    assert isinstance(choose_output(chosen, {"TERM": "xterm"}, verbose, Screen()), Terminal) is quiet
    assert type(choose_output(chosen, {"TERM": "xterm"}, verbose, io.StringIO())) is LauncherOutput
