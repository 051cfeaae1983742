"""A real Chromium that opens the console and records every violation of its Content-Security-Policy."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

import pytest
from playwright.sync_api import Browser, ConsoleMessage, Page, sync_playwright

from benchmarks import browser
from tests.clients.fuzzing import TOOLS

AXE = TOOLS.parent / "typescript" / "node_modules" / "axe-core" / "axe.min.js"
PATIENCE = 60_000.0  # milliseconds; on a busy machine, a page may take long
REFUSALS = "Failed to load resource"  # Chromium logs each reply with an error status; the page shows the error, too


@contextmanager
def chromium() -> Iterator[Browser]:
    """Start Debian's Chromium. Skips the test if there is none."""
    program = browser.chromium()
    if program is None:
        pytest.skip("Chromium is missing: the console's tests need the package `chromium`")
    with sync_playwright() as playwright:
        started = playwright.chromium.launch(executable_path=program, args=["--no-sandbox"])
        try:
            yield started
        finally:
            started.close()


@dataclass
class Visit:
    """A browser tab that shows the console of a service.

    `complaints` contains script errors and violations of the Content-Security-Policy.
    """

    page: Page
    url: str
    complaints: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.page.set_default_timeout(PATIENCE)
        self.page.on("pageerror", lambda error: self.complaints.append(str(error)))
        self.page.on("console", self._hear)

    def _hear(self, message: ConsoleMessage) -> None:
        if message.type in ("error", "warning") and not message.text.startswith(REFUSALS):
            self.complaints.append(message.text)

    def open(self, place: str = "") -> Page:
        """Open a view, and wait until it is displayed."""
        self.page.goto(f"{self.url}/#/{place}")
        self.page.wait_for_selector("main h1")
        return self.page


def serious_problems(page: Page) -> list[tuple[str, str, list[str]]]:
    """Return the serious and critical problems that axe finds in a view. Skips the test if axe-core is missing."""
    if not AXE.exists():
        pytest.skip("axe-core is missing: `make tools` installs it where npm can")
    page.evaluate(AXE.read_text(encoding="utf-8"))
    result = page.evaluate("axe.run(document, {resultTypes: ['violations']})")
    return [
        (problem["id"], problem["help"], [node["html"][:200] for node in problem["nodes"]])
        for problem in result["violations"]
        if problem["impact"] in ("serious", "critical")
    ]


@contextmanager
def visit(
    browser: Browser, url: str, *, width: int = 1280, scheme: str = "light", zone: str | None = None
) -> Iterator[Visit]:
    """Open a tab with separate storage, in the time zone `zone`. At the end, asserts that no script has failed."""
    dark = scheme == "dark"
    context = browser.new_context(
        viewport={"width": width, "height": 900},
        color_scheme="dark" if dark else "light",
        reduced_motion="reduce",
        timezone_id=zone,
    )
    visitor = Visit(context.new_page(), url)
    try:
        yield visitor
    finally:
        context.close()
    assert visitor.complaints == []
