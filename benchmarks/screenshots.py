"""Takes screenshots of a running service: the three pictures in the README, or all views of the console for a review.

The pictures show the demo models of the service, and a training run on the demo's reviews. `make screenshots` requires
Chromium and a service on this machine, such as the one that `make run` starts.
"""

from __future__ import annotations

import argparse
import re
import shutil
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
from playwright.sync_api import Browser, Page, sync_playwright

from app.demo.demo import DATA
from app.demo.trainings import SENTIMENT
from benchmarks import terminal
from benchmarks.browser import chromium

IMAGES = Path("docs/images")
PICTURE = IMAGES / "console.png"
TRAINING = ("train", "reviews.csv", "--model", "lstm", "--name", "reviews", "--epochs", "6")
SHOWN_SHARE = 0.6  # the share of the training run that is done when its picture is taken
SIZES = {"wide": 1280, "narrow": 380}
SCHEMES = ("light", "dark")
PATIENCE = 120_000.0  # milliseconds


def places(url: str) -> Iterator[tuple[str, str]]:
    """Yield the name and the place of each view. Skips views of objects that the service does not have."""
    yield from (("home", ""), ("train", "train"), ("jobs", "jobs"), ("models", "models"), ("files", "files"))
    yield from (("traffic", "traffic"), ("settings", "settings"))
    with httpx.Client(base_url=url, timeout=60) as client:
        jobs = _list(client, "/v1/fine_tuning/jobs")
        versions = [v for v in _list(client, "/v1/registry/versions") if v["status"] == "ready"]
        evaluations = _list(client, "/v1/evaluations")
    yield from (("job", f"jobs/{job['id']}") for job in jobs[:1])
    yield from (("evaluation", f"evaluations/{evaluation['id']}") for evaluation in evaluations[:1])
    classifiers = [v for v in versions if v["task"] == "classification"]
    classifiers.sort(key=lambda v: not v["aliases"])  # a version with an alias makes a better picture
    for version in classifiers[:1]:
        yield "model", f"models/{version['model']}"
        yield "version", f"models/{version['model']}/{version['version']}"
        yield "play", f"play?model={version['id']}"
    if len(classifiers) > 1:
        yield "compare", "compare?versions=" + ",".join(v["id"] for v in classifiers[:2])


def _list(client: httpx.Client, path: str) -> list[dict[str, Any]]:
    reply = client.get(path)
    reply.raise_for_status()
    items: list[dict[str, Any]] = reply.json()["data"]
    return items


def photograph(browser: Browser, url: str, shots: list[tuple[str, str, Path]], width: int, scheme: str) -> None:
    """For each (name, place, file), visit the place and save a screenshot to the file."""
    dark = scheme == "dark"
    context = browser.new_context(viewport={"width": width, "height": 860}, color_scheme="dark" if dark else "light")
    context.set_default_timeout(PATIENCE)
    page = context.new_page()
    for name, place, path in shots:
        visit(page, url, place)
        page.screenshot(path=path, full_page=path != PICTURE)
        print(name, path)
    context.close()


def photograph_docs(browser: Browser, url: str) -> None:
    """Save a picture of the beginning of the API documentation."""
    page = browser.new_page(viewport={"width": 1200, "height": 860})
    page.goto(f"{url}/docs")
    page.wait_for_selector(".opblock", timeout=PATIENCE)
    page.screenshot(path=IMAGES / "docs.png")
    page.close()


def photograph_training(browser: Browser, url: str) -> None:
    """Train on the demo's reviews from a terminal, save a picture of the running job, and cancel it."""

    def at_work(text: str) -> bool:
        shares = re.findall(r"training .* (\d+)% ", text)
        return bool(shares) and int(shares[-1]) >= 100 * SHOWN_SHARE

    with tempfile.TemporaryDirectory() as folder:
        shutil.copy(DATA / SENTIMENT, Path(folder, TRAINING[1]))
        program = Path(sys.executable).with_name("ostinato")
        lines = terminal.screen_when(
            [str(program), *TRAINING], at_work, columns=110, lines=30, seconds=600.0, folder=folder,
            variables={"OSTINATO_URL": url},
        )  # fmt: skip
    page = browser.new_page(viewport={"width": 1400, "height": 900})
    page.set_content(terminal.page("ostinato train", " ".join(("ostinato", *TRAINING)), lines))
    page.locator("main").screenshot(path=IMAGES / "train.png", omit_background=True)
    page.close()
    with httpx.Client(base_url=url, timeout=60) as client:
        client.post(f"/v1/fine_tuning/jobs/{_list(client, '/v1/fine_tuning/jobs')[0]['id']}/cancel").raise_for_status()


def visit(page: Page, url: str, place: str) -> None:
    """Go to a view, and wait until its parts have loaded."""
    page.goto("about:blank")
    page.goto(f"{url}/#/{place}")
    page.wait_for_selector("main h1")
    page.locator(".loading").first.wait_for(state="detached")
    page.wait_for_timeout(400)  # until the plots are drawn


def main() -> int:
    """Take the screenshots, and return the exit status."""
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--url", default="http://127.0.0.1:8000")
    options.add_argument("--all", type=Path, metavar="FOLDER", help="save all views, light and dark, wide and narrow")
    options.add_argument("--place", help="the view in the README's picture, such as models/reviews/1")
    arguments = options.parse_args()
    program = chromium()
    if program is None:
        print("Chromium is missing; install the package `chromium`", file=sys.stderr)
        return 1
    views = list(places(arguments.url))
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=program, args=["--no-sandbox"])
        if arguments.all is None:
            shown = arguments.place or dict(views).get("version", "")
            photograph(browser, arguments.url, [("version", shown, PICTURE)], SIZES["wide"], "light")
            photograph_docs(browser, arguments.url)
            photograph_training(browser, arguments.url)
        else:
            arguments.all.mkdir(parents=True, exist_ok=True)
            for scheme in SCHEMES:
                for size, width in SIZES.items():
                    shots = [(name, place, arguments.all / f"{name}-{scheme}-{size}.png") for name, place in views]
                    photograph(browser, arguments.url, shots, width, scheme)
        browser.close()
    return 0


if __name__ == "__main__":
    sys.exit(main())
