"""Sends one input to a newly imported version, so that the user can compare the answer with the original program's."""

from __future__ import annotations

import json
import math
import tarfile
import tempfile
import time
import zlib
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from app.checkpoint.configuration import parse_config
from app.checkpoint.directory import LIMITS, load_json
from app.cli.output import clean, warn
from app.cli.references import ROOT
from app.cli.wording import in_own_words
from app.errors import OstinatoError

if TYPE_CHECKING:
    from app.client import Client
    from app.importing.probe import Probe

PATIENCE, PAUSE = 60.0, 0.5  # seconds: maximum wait for an engine to load the version; pause between two requests
_NEEDED = ("config.json", "labels.json", "tokenizer.json")  # the files of a checkpoint that a probe needs
SHOWN = 10  # maximum number of labels or tokens to print


@dataclass(frozen=True, slots=True)
class Tested:
    """A probe, and the task and labels of the version that answers it."""

    probe: Probe
    task: str
    labels: list[str]


def probe_checkpoint(source: Path, inputs: list[Any] | None) -> Tested | None:
    """Create a probe for a checkpoint directory or its tar archive. Returns None if the checkpoint cannot be read.

    The probe is the first of `inputs`, or a short input if `inputs` is None. The service reports invalid checkpoints.
    """
    from app.importing.probe import make_probe

    with tempfile.TemporaryDirectory(prefix="ostinato-") as scratch:
        try:
            folder = source if source.is_dir() else _small_files(source, Path(scratch))
            config = parse_config(load_json(folder / "config.json"))
            labels = load_json(folder / "labels.json") if (folder / "labels.json").exists() else []
            first = None if inputs is None else inputs[0]
            own = first if first is None or isinstance(first, str) else json.dumps(first)
            return Tested(make_probe(folder, config, own), config.task, labels)
        except (OstinatoError, OSError, tarfile.TarError, EOFError, zlib.error):
            return None


def _small_files(archive: Path, folder: Path) -> Path:
    """Copy the files of a checkpoint that a probe needs from its tar archive to `folder`."""
    with tarfile.open(archive) as tar:
        for member in tar:
            name = Path(member.name).name
            if (
                name in _NEEDED
                and member.isfile()
                and member.size <= LIMITS[name]
                and (file := tar.extractfile(member))
            ):
                (folder / name).write_bytes(file.read())
    return folder


def answer_probe(client: Client, version: str, task: str, labels: list[str], probe: Probe) -> dict[str, float]:
    """Return the version's answer: probabilities of labels or of the most likely next tokens, or {"value": number}.

    For embeddings, the answer contains the first components of the vector, under names such as `component 0`.

    Raises ServiceError if the service does not answer the request.
    """
    if task == "generation":
        body = {"model": version, "prompt": probe.input, "max_tokens": 1, "temperature": 0, "logprobs": 5}
        choice = _patiently(client, "/v1/completions", body)["choices"][0]
        return {token: math.exp(value) for token, value in choice["logprobs"]["top_logprobs"][0].items()}
    if task == "embedding":
        vector = _patiently(client, "/v1/embeddings", {"model": version, "input": probe.input})["data"][0]["embedding"]
        return {f"component {index}": value for index, value in enumerate(vector[:SHOWN])}
    item = _patiently(client, "/v1/classify", {"model": version, "input": [probe.input]})["data"][0]
    if item.get("value") is not None:
        return {"value": item["value"]}
    return dict(zip(labels, item["probs"], strict=True))


def send_probes(client: Client, name: str, number: int, inputs: list[Any] | None) -> None:
    """Store the user's inputs as the probes of a new version. Keeps the version if the service rejects the inputs."""
    from app.client import ServiceError

    if inputs is None:
        return
    try:
        client.call("PUT", f"{ROOT}/{name}/versions/{number}/probes", json={"input": inputs})
    except ServiceError as error:
        warn(
            f"{name}:{number} is registered, but the inputs of --probe were not accepted: {in_own_words(error.message)}"
        )


def show_probe(probe: Probe, answer: dict[str, float], *, converted: bool = True) -> None:
    """Print a probe and its answer. `converted` is whether the version was converted from another program's weights."""
    if converted:
        print(
            f"your program must give the same result for {clean(probe.description)}; otherwise, an answer or "
            "assumption is wrong:"
        )
    else:
        print(f"it answers {clean(probe.description)} with:")
    best = sorted(answer.items(), key=lambda pair: -pair[1]) if len(answer) > SHOWN else list(answer.items())
    for label, value in best[:SHOWN]:
        shown = label if label and label.isprintable() and label.strip() == label else repr(label)
        print(f"  {shown}  {value:.6f}")


def _patiently(client: Client, path: str, body: dict[str, Any]) -> dict[str, Any]:
    """Send the request repeatedly until an engine has loaded the version. Returns the reply."""
    from app.client import ServiceError

    deadline = time.monotonic() + PATIENCE
    while True:
        try:
            return dict(client.post(path, body))
        except ServiceError as error:
            if error.status != 503 or time.monotonic() > deadline:
                raise
        time.sleep(PAUSE)
