"""Attacks on a running service: `python -m benchmarks.accept.abuse_attacks NAME URL SECRET FOLDER` runs until killed.

Each attack uses one API key, or none, and several threads. It prints how many replies it has received with each status,
and how many raw connections it has opened.
"""

from __future__ import annotations

import collections
import contextlib
import gzip
import itertools
import json
import shutil
import socket
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path

import httpx

from benchmarks import checkpoints

THREADS = 4
SOCKETS = 1500  # idle connections
BOMB = gzip.compress(b"a,b\n1,2\n" + b"\n" * 2**26)
SLOW = {
    "version": "1.0",
    "model": {"type": "Unigram", "unk_id": 0, "vocab": [["<unk>", 0.0], *[["a" * n, -1.0 * n] for n in range(1, 65)]]},
}
DOUBLE = {"type": "Replace", "pattern": {"String": "a"}, "content": "aa"}
DOUBLINGS = SLOW | {"normalizer": {"type": "Sequence", "normalizers": [DOUBLE] * 30}}


class Attacker:
    """A client with one key.

    `count` contains the number of replies with each status and, as "sent", the number of connections.
    """

    def __init__(self, url: str, secret: str, folder: Path) -> None:
        self.url, self.folder = url, folder
        self.client = httpx.Client(base_url=url, headers={"authorization": f"Bearer {secret}"}, timeout=120)
        self.count: collections.Counter[int | str] = collections.Counter()
        self._numbers = itertools.count()

    def post(self, path: str, **more: object) -> httpx.Response:
        reply = self.client.post(path, **more)  # type: ignore[arg-type]
        self.count[reply.status_code] += 1
        return reply

    def register(self, name: str, source: str, **files: object) -> httpx.Response:
        """Import a copy of the checkpoint `source`. `files` replaces JSON files; `config` adds fields to the config."""
        copy = self.folder / f"{name}-{next(self._numbers)}"
        shutil.copytree(self.folder / source, copy)
        config = json.loads((copy / "config.json").read_text()) | dict(files.pop("config", {}))  # type: ignore[call-overload]
        (copy / "config.json").write_text(json.dumps(config))
        for file, content in files.items():
            text = content if isinstance(content, str) else json.dumps(content)
            (copy / f"{file}.json").write_text(text)
        archive = checkpoints.pack(copy)
        reply = self.post(f"/v1/registry/models/{name}/versions", files={"file": ("a.tar", archive.read_bytes())})
        shutil.rmtree(copy)
        return reply

    def address(self) -> tuple[str, int]:
        host, port = self.url.removeprefix("http://").split(":")
        return host, int(port)


def tokenizers(attacker: Attacker) -> None:
    if threading.current_thread().name == "attack-0":
        attacker.register("doublings", "mood", tokenizer=DOUBLINGS)
    attacker.register("slow", "mood", tokenizer=SLOW)
    attacker.post("/v1/classify", json={"model": "slow", "input": ["a" * 131_000] * 4, "truncate_prompt_tokens": -1})


def long_sequences(attacker: Attacker) -> None:
    attacker.register("long", "mood", config={"context_length": 2**20})
    for length in (150_000, 60_000, 20_000):
        attacker.post("/v1/classify", json={"model": "long", "input": [1] * length})


def connections(attacker: Attacker) -> None:
    sockets = []
    for number in range(SOCKETS // THREADS):
        with contextlib.suppress(OSError):
            connection = socket.create_connection(attacker.address(), timeout=5)
            connection.sendall((b"", b"GET /li", b"GET /livez HTTP/1.1\r\nX: ")[number % 3])
            sockets.append(connection)
            attacker.count["sent"] += 1
    time.sleep(5)
    for connection in sockets:
        connection.close()


def headers(attacker: Attacker) -> None:
    with contextlib.suppress(OSError), socket.create_connection(attacker.address(), timeout=5) as connection:
        attacker.count["sent"] += 1
        connection.sendall(b"GET /livez HTTP/1.1\r\nHost: x\r\nX: ")
        for _ in range(1024):
            connection.sendall(b"x" * 65_536)


def required_aliases(attacker: Attacker) -> None:
    attacker.register("broken", "mood")
    reply = attacker.client.put("/v1/registry/models/broken/aliases/live", json={"version": 1, "required": True})
    attacker.count[reply.status_code] += 1


def large_metrics(attacker: Attacker) -> None:
    matrix = [[0] * 1000 for _ in range(1000)]
    attacker.register("figures", "mood", metrics={"test": {"confusion_matrix": matrix}})
    for path in ("/v1/registry/models", "/v1/registry/models/figures/versions", "/v1/models"):
        attacker.count[attacker.client.get(path).status_code] += 1


def row_counts(attacker: Attacker) -> None:
    attacker.post("/v1/files", data={"purpose": "fine-tune"}, files={"file": ("a.csv.gz", BOMB)})


def poisoned_files(attacker: Attacker) -> None:
    attacker.register("poison", "mood", metrics=r'{"test": {"per_class": {"\udfff": 1}}}')
    attacker.register("poison", "mood", metrics='{"loss": 1' + "0" * 400 + "}")
    attacker.count[attacker.client.get("/v1/registry/models").status_code] += 1


def waiting_writers(attacker: Attacker) -> None:
    attacker.post("/v1/files", data={"purpose": "fine-tune"}, files={"file": ("a.csv", b"a,b\n1,2\n")})


def large_trainings(attacker: Attacker) -> None:
    table = "text,label\n" + "".join(f"some text {n},{n % 2}\n" for n in range(100))
    file = attacker.post("/v1/files", data={"purpose": "fine-tune"}, files={"file": ("a.csv", table.encode())})
    if file.status_code == 200:
        for shape in ({"width": 16_384, "layers": 256}, {"width": 2048, "layers": 64}):
            body = {"model": "transformer", "training_file": file.json()["id"], "training": shape}
            attacker.post("/v1/fine_tuning/jobs", json=body)
    time.sleep(1)


ATTACKS: dict[str, Callable[[Attacker], None]] = {
    "tokenizers": tokenizers,
    "long sequences": long_sequences,
    "connections": connections,
    "headers": headers,
    "required aliases": required_aliases,
    "large metrics": large_metrics,
    "row counts": row_counts,
    "poisoned files": poisoned_files,
    "waiting writers": waiting_writers,
    "large trainings": large_trainings,
}
MANY = {"waiting writers": 64}  # number of threads of attacks that need more than THREADS


def main(name: str, url: str, secret: str, folder: str) -> None:
    attacker = Attacker(url, secret, Path(folder))

    def repeat() -> None:
        while True:
            with contextlib.suppress(httpx.HTTPError):
                ATTACKS[name](attacker)

    def report() -> None:
        while True:
            # dict() copies the counter in one step, although other threads change it
            print(json.dumps(dict(attacker.count)), flush=True)
            time.sleep(0.2)

    threads = [threading.Thread(target=repeat, name=f"attack-{n}") for n in range(MANY.get(name, THREADS))]
    threads.append(threading.Thread(target=report))
    for thread in threads:
        thread.start()


if __name__ == "__main__":
    main(*sys.argv[1:])
