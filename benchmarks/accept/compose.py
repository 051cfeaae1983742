"""Runs the README's section on containers in a fresh clone, and then the README's other commands on these containers.

Also kills a worker's container during a training run, and checks that nothing is lost. The variable COMPOSE sets the
command (default: `docker compose` or, if missing, `docker-compose`).
"""

from __future__ import annotations

import os
import re
import shlex
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from app.client import Client
from benchmarks import small_demo
from benchmarks.accept.kills import last_step, weights
from benchmarks.accept.record import Record, Skip
from benchmarks.bench import corpus
from benchmarks.documents import Step, sections, steps, type_steps
from benchmarks.service import Service, free_port, wait_until

ROOT = Path(__file__).parents[2]
SECTION = "With Docker"
BUILT_IN = 3600.0  # time limit for the build in seconds, including the download of PyTorch
LEASE = 20.0  # the default of OSTINATO_LEASE_SECONDS
NOT_TYPED = {  # a part of a line -> why that line is not run on the containers
    "PIP_EXTRA_INDEX_URL": "only for an installation without containers",
    "make ": "the service runs in containers, and the tests do not use it",
    "source .venv": "this environment's command line is used",
    "ostinato ps": "lists the programs of this machine, not those in containers",
}


def compose_command() -> list[str]:
    """Return the command of Docker Compose. Raises Skip if it is not installed."""
    if configured := os.environ.get("COMPOSE"):
        return shlex.split(configured)
    for command in (["docker", "compose"], ["docker-compose"]):
        if shutil.which(command[0]) and not subprocess.run([*command, "version"], capture_output=True).returncode:
            return command
    raise Skip("neither `docker compose` nor docker-compose is installed")


class Composed:
    """A fresh clone in its own folder, with a free port and new volumes. The Compose project is named after the
    folder.
    """

    def __init__(self, folder: Path) -> None:
        if subprocess.run(["docker", "info"], capture_output=True).returncode:
            raise Skip("no Docker engine answers")
        self.command = compose_command()
        self.port = free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        self.folder = folder / f"ostinato-accept-{self.port}"
        subprocess.run(["git", "clone", "--quiet", str(ROOT), str(self.folder)], check=True)
        programs = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
        self.environment = {"PATH": programs, "PORT": str(self.port), "COLUMNS": "200", "PIP_NO_INDEX": "1"}

    def __call__(self, *arguments: str) -> str:
        """Run Docker Compose with these arguments. Returns its output. Raises RuntimeError if it fails."""
        done = subprocess.run(
            [*self.command, *arguments], cwd=self.folder, capture_output=True, text=True,
            env={**os.environ, **self.environment},
        )  # fmt: skip
        if done.returncode:
            raise RuntimeError(f"compose {' '.join(arguments)}: {done.stdout[-1500:]}{done.stderr[-1500:]}")
        return done.stdout

    @property
    def secret(self) -> str:
        """Return the secret of the API key that the README's commands wrote to .env."""
        match = re.search(r"^OSTINATO_API_KEYS=[^:]*:(.+)$", (self.folder / ".env").read_text(), re.MULTILINE)
        assert match, "the README's commands have not created a key"
        return match[1]

    def type(self, typed: list[Step]) -> None:
        """Run commands from the README on the containers."""
        changes = {
            "docker compose": shlex.join(self.command),
            "http://127.0.0.1:8000": self.url,
            "curl -s": 'curl -H "Authorization: Bearer $OSTINATO_API_KEY" -s',
            'api_key="none"': 'api_key=__import__("os").environ["OSTINATO_API_KEY"]',
        }
        type_steps(typed, self.folder, self.environment, changes=changes, seconds={"docker compose up": BUILT_IN})


@contextmanager
def composed(folder: Path, docker: list[Step]) -> Iterator[tuple[Composed, Service]]:
    """Run the service that the README's commands start. Afterwards, it is removed together with its volumes."""
    compose = Composed(folder)
    try:
        compose.type([step for step in docker if "docker compose" in step.command])
        service = Service(compose.folder, None, compose.url, compose.secret)
        wait_until(service.ready, 120, "/readyz of the composed service")
        yield compose, service
    finally:
        if (compose.folder / ".env").exists():
            compose("down", "-v")


def check(record: Record, data: Path | None, folder: Path) -> None:
    parts = sections((ROOT / "README.md").read_text(encoding="utf-8"))
    docker = steps(parts[SECTION])
    rest = [step for title, text in parts.items() if title != SECTION for step in steps(text)]
    ordinary = [step for step in rest if not any(part in step.command for part in NOT_TYPED)]
    with composed(folder, docker) as (compose, service):
        database = compose("exec", "-T", "database", "psql", "-U", "ostinato", "-Atc", "SELECT count(*) FROM jobs")
        record.equal("jobs in a clean PostgreSQL", database.strip(), "0")
        listed = compose("exec", "-T", "api", "ostinato", "ps").splitlines()[1:]
        names = " ".join(line.split()[0] for line in listed if line)
        record.equal("programs that ps lists in the container of the API", names, "engine api")
        with Client(compose.url, compose.secret) as client:
            small_demo.train(client, 900)
        remaining = [step for step in docker if "docker compose" not in step.command]
        compose.type([*remaining, *ordinary])
        record.add("commands of the README run", len(docker) + len(ordinary), "each prints what the page shows", True)
        check_kill(record, compose, service, folder)


def check_kill(record: Record, compose: Composed, service: Service, folder: Path) -> None:
    text = folder / "text.txt"
    text.write_text(corpus()[:300_000], encoding="utf-8")
    file = service.upload(text)
    training = {"max_steps": 300, "width": 64, "layers": 1}
    ask = {"model": "lstm", "training_file": file, "suffix": "composed", "seed": 5, "training": training}
    whole = service.finish(service.train(**ask)["id"], 600)
    record.equal("a job in the composed service", whole["status"], "succeeded")
    job_id = service.train(**ask)["id"]
    wait_until(lambda: last_step(service, job_id) > 0, 120, "the first metrics of the training")
    container = compose("ps", "-q", "worker").split()[0]
    subprocess.run(["docker", "kill", "-s", "KILL", container], check=True, capture_output=True)
    reached = last_step(service, job_id)
    record.add(
        "the step at which its worker was killed", reached, "in mid-training", 0 < reached < training["max_steps"]
    )
    # Docker does not restart a container that was killed by hand, so the job waits in the queue
    wait_until(lambda: service.job(job_id)["status"] == "queued", 2 * LEASE, "the job to be queued again")
    compose("up", "-d", "worker")
    killed = service.finish(job_id, 600)
    record.equal("after kill -9 of the worker's container", killed["status"], "succeeded")
    record.equal("SHA-256 of the weights", weights(service, killed), weights(service, whole))
    steps_of = [[e["data"]["step"] for e in service.events(j) if e["type"] == "metrics"] for j in (whole["id"], job_id)]
    record.equal("duplicate metric events", len(steps_of[1]) - len(set(steps_of[1])), 0)
    record.equal("metric events missing", len(set(steps_of[0]) - set(steps_of[1])), 0)
    text_out, reason = service.stream("composed", "It was", max_tokens=12)
    record.add("streams", reason, "a finish reason", bool(text_out and reason))
