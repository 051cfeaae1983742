"""Runs every command of the README and the guides, and compares the output with the page.

By default, small models replace those of the demo. With --whole-readme, a fresh clone and `make run` are used.
"""

from __future__ import annotations

import os
import re
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from app.client import Client, ServiceError
from benchmarks import small_demo
from benchmarks.documents import Step, fits, sections, steps, type_steps
from benchmarks.service import Service, free_port, running, wait_until

ROOT = Path(__file__).parents[1]
GUIDES = (
    "classification", "probabilities",
    "multilabel", "regression", "pairs", "numeric", "typed-decisions", "generation", "imports", "clients", "batches",
    "webhooks", "operations",
    "guides/fine-tune-minilm", "guides/serve-gguf", "guides/bring-a-keras-lstm",
    "guides/take-your-model-elsewhere",
    "migrate/torchserve", "migrate/openai-fine-tuning", "migrate/tei-tgi", "migrate/triton", "migrate/ollama",
)  # fmt: skip
SECONDS = 600.0  # a generous time limit
MADE_IN = 1800.0  # `make run` installs all that it needs first
TESTED_IN = 7200.0  # `make test` while the service runs
SYSTEM = "/usr/local/bin:/usr/bin:/bin"
DOCKER = "With Docker"  # the section that needs a Docker engine; benchmarks/accept/compose.py runs it
NOT_TYPED = {"make test": "this test is a part of it"}  # in `make test`; `make accept` runs all but Docker


def ready(client: Client) -> bool:
    try:
        return bool(client.get("/readyz"))
    except ServiceError:
        return False


def readme(folder: Path) -> tuple[list[Step], list[Step]]:
    """The commands for the first terminal, up to `make run`, and those for the second terminal."""
    page = (folder / "README.md").read_text(encoding="utf-8")
    typed = [step for title, text in sections(page).items() if title != DOCKER for step in steps(text)]
    [run] = [number for number, step in enumerate(typed) if step.command == "make run\n"]
    return typed[: run + 1], typed[run + 1 :]


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    settings = {"OSTINATO_THREADS": "1"}
    with running(tmp_path_factory.mktemp("readme"), settings=settings) as started:
        with Client(started.url) as client:
            small_demo.train(client, SECONDS)
        yield started


def environment(service: Service) -> dict[str, str]:
    """The environment of a user on the machine of this service."""
    return {
        "PATH": SYSTEM, "COLUMNS": "200", "OSTINATO_API_KEY": "", "OSTINATO_URL": service.url,
        "OSTINATO_DATA_DIR": str(service.data),
        "PIP_NO_INDEX": "1",  # the packages of the pages are installed already
    }  # fmt: skip


@pytest.mark.e2e
def test_the_readme_does_what_it_says(service: Service, tmp_path: Path, whole_readme: bool) -> None:
    if whole_readme:
        pytest.skip("the whole is tested below")
    (tmp_path / ".venv").symlink_to(sys.prefix)
    shutil.copytree(ROOT / "examples", tmp_path / "examples")
    first, second = readme(ROOT)
    variables = environment(service)
    # The service of this test runs already, with a smaller demo, so `make run` only prints what it would do.
    type_steps(first, tmp_path, variables, changes={"make run": f"make --dry-run --directory={ROOT} run"})
    second = [step for step in second if step.command.strip() not in NOT_TYPED]
    type_steps(second, tmp_path, variables, changes={"http://127.0.0.1:8000": service.url})
    # The page does not fix the accuracy, which may be printed as 1.000.
    assert service.version("messages:1")["metrics"]["validation"]["accuracy"] >= 0.9


@pytest.mark.e2e
@pytest.mark.parametrize("guide", GUIDES)
def test_the_guides_do_what_they_say(service: Service, tmp_path: Path, guide: str) -> None:
    page = (ROOT / "docs" / f"{guide}.md").read_text(encoding="utf-8")
    shutil.copytree(ROOT / "examples", tmp_path / "examples")
    variables = environment(service) | {"PATH": f"{Path(sys.executable).parent}:{SYSTEM}", "OMP_NUM_THREADS": "1"}
    type_steps(steps(page), tmp_path, variables, changes={"http://127.0.0.1:8000": service.url})


@pytest.mark.e2e
def test_the_readme_from_a_fresh_clone(tmp_path: Path, whole_readme: bool) -> None:
    """Runs every line, including `make test`, except for those about Docker."""
    if not whole_readme:
        pytest.skip("takes an hour: `make accept CHECKS=readme`, or --whole-readme")
    clone, url = tmp_path / "ostinato", f"http://127.0.0.1:{(port := free_port())}"
    subprocess.run(["git", "clone", "--quiet", str(ROOT), str(clone)], check=True)
    plain = {"PATH": SYSTEM, "COLUMNS": "200", "OSTINATO_PORT": str(port), "OSTINATO_URL": url}
    (*before, run), second = readme(clone)
    # `make run` gets the variables of this machine, because it needs the packages where this machine has them.
    type_steps(before, clone, plain)
    up = subprocess.Popen(["bash", "-c", run.command], cwd=clone, env={**os.environ, **plain}, start_new_session=True)
    try:
        wait_until(lambda: (clone / "ostinato-data" / "run" / "programs.json").exists(), MADE_IN, "make run")
        with Client(url) as client:
            wait_until(lambda: ready(client), 60, "the service")
            small_demo.wait_for_all(client, 2 * SECONDS)
        type_steps(
            second, clone, plain, changes={"http://127.0.0.1:8000": url},
            seconds={"make test": TESTED_IN, "pip install": MADE_IN},
        )  # fmt: skip
    finally:
        os.killpg(up.pid, signal.SIGINT)  # as Ctrl+C does
        up.wait(60)
        shutil.rmtree(clone, ignore_errors=True)


def test_make_run_is_the_service_with_its_demo() -> None:
    command = ["make", "--no-print-directory", "--dry-run", "--always-make", "run"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == ".venv/bin/ostinato up --demo"


def test_no_line_of_the_readme_is_forgotten() -> None:
    """The parts that `make test` omits are listed, and the acceptance check finds the section about Docker."""
    page = (ROOT / "README.md").read_text(encoding="utf-8")
    first, second = readme(ROOT)
    docker = steps(sections(page)[DOCKER])
    assert len(first) + len(second) + len(docker) == len(steps(page))
    left_out = [step.command.strip() for step in second if step.command.strip() in NOT_TYPED]
    assert left_out == list(NOT_TYPED)
    assert sum("docker compose up" in step.command for step in docker) == 1
    assert not any("docker" in step.command for step in (*first, *second))


def test_every_guide_is_typed_and_listed() -> None:
    index = (ROOT / "docs" / "index.md").read_text(encoding="utf-8")
    pages = [page for page in (ROOT / "docs").rglob("*.md") if page.parent.name != "decisions"]
    for path in (page.relative_to(ROOT / "docs") for page in pages):
        name = path.with_suffix("").as_posix()
        if name not in ("index", "log", "performance"):
            assert f"({path.as_posix()})" in index, name
            assert name in (*GUIDES, "settings", "security", "evaluation", "compatibility", "console"), (
                f"{name} is not tested"
            )


def test_links_lead_somewhere() -> None:
    for page in (ROOT / "README.md", ROOT / "CONTRIBUTING.md", *(ROOT / "docs").rglob("*.md")):
        for target in re.findall(r"\]\(([^)#:]+)\)", page.read_text(encoding="utf-8")):
            assert (page.parent / target).exists(), f"{page.name}: {target}"


@pytest.mark.parametrize(
    ("printed", "output", "fit"),
    [
        (["a …", "…", "z"], "a b\nc\nd\nz\n", True),
        (["a …", "…", "z"], "a b\nz", True),
        (["A  B … C"], "A B      C\n", True),
        (["x"], "x\ny\n", False),
        (["0.…"], "1.5\n", False),
        ([], "", True),
        ([], "x\n", False),
        (["…"], "", True),
    ],
)
def test_pages_and_output_are_compared(printed: list[str], output: str, fit: bool) -> None:
    assert fits(printed, output) is fit
