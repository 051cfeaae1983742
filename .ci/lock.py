"""Write requirements.lock and requirements-dev.lock: what this environment holds of pyproject.toml's dependencies.

`lock.py tools` writes requirements-tools.lock, and `lock.py list-tools` prints what it locks.

Only versions, no local parts (`+cpu`) and none of torch's own platform packages, so that one lock serves a machine with
a GPU and one without.
"""

import sys
import tomllib
from importlib.metadata import distribution
from pathlib import Path

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).parents[1]
PLATFORM = ("nvidia-", "cuda-")  # torch pins these itself, where it needs them; and triton


def closure(wanted: list[Requirement]) -> dict[str, str]:
    """name -> version of all that is needed, directly or not."""
    found: dict[str, str] = {}
    seen: set[tuple[str, str]] = set()
    open_ones = [(r, extra) for r in wanted for extra in ("", *r.extras)]
    while open_ones:
        requirement, extra = open_ones.pop()
        name = canonicalize_name(requirement.name)
        if (name, extra) in seen or name.startswith(PLATFORM) or name == "triton":
            continue
        seen.add((name, extra))
        dist = distribution(name)
        found[name] = dist.version.partition("+")[0]
        for line in dist.requires or []:
            inner = Requirement(line)
            if inner.marker is None or inner.marker.evaluate({"extra": extra}):
                open_ones += [(inner, e) for e in ("", *inner.extras)]
    return found


def write(name: str, head: str, pins: dict[str, str]) -> None:
    lines = [head, *(f"{package}=={version}{MARKERS.get(package, '')}" for package, version in sorted(pins.items()))]
    (ROOT / name).write_text("\n".join(lines) + "\n")


def lock_service() -> None:
    runtime = closure(
        [requirement for requirement in DIRECT if requirement.marker is None or requirement.marker.evaluate()]
    )
    dev = closure([Requirement(line) for line in EXTRAS["dev"]])
    write("requirements.lock", "# made by `make lock`", runtime)
    extra = {name: version for name, version in dev.items() if name not in runtime}
    write("requirements-dev.lock", "# made by `make lock`\n-r requirements.lock", extra)


def lock_tools() -> None:
    write("requirements-tools.lock", "# made by `make lock`", closure([Requirement(line) for line in EXTRAS["tools"]]))


PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
EXTRAS = PROJECT["optional-dependencies"]
DIRECT = [Requirement(line) for line in PROJECT["dependencies"]]
MARKERS = {canonicalize_name(r.name): f"; {r.marker}" for r in DIRECT if r.marker is not None}
match sys.argv[1:]:
    case []:
        lock_service()
    case ["tools"]:  # in an environment that holds the tools alone
        lock_tools()
    case ["list-tools"]:
        print(*EXTRAS["tools"])
