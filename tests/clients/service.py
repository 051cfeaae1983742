"""A service for clients generated from the OpenAPI document: the API, and a fake engine with the demo's models.

`python -m tests.clients.service` prints the URL and serves until standard input is closed.
"""

from __future__ import annotations

import os
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from app.db.database import Database
from tests.serving import Api, Shelf, engine_of, settings_in

CLASSIFIERS = ("demo-sentiment-rnn", "demo-sentiment-lstm", "demo-sentiment-transformer")
GENERATORS = ("demo-text-lstm",)


@contextmanager
def serving(folder: Path, keys: str = "") -> Iterator[Api]:
    """Serve from an empty folder until the end of the `with` block. `keys` is the setting `api_keys`."""
    settings = settings_in(folder / "data", api_keys=keys, default_model=CLASSIFIERS[0], chat_fallback=True)
    settings.data.mkdir(parents=True)
    database = Database(settings.database)
    database.migrate()
    database.close()
    shelf = Shelf(settings, folder)
    owner = keys.partition(":")[0] or "local"
    for name in CLASSIFIERS:
        shelf.classifier(name, owner=owner, alias="champion")
    for name in GENERATORS:
        shelf.generator(name, owner=owner, alias="champion")
    shelf.close()
    with engine_of(settings) as engine, Api(settings) as api:
        engine.burst = 512  # some requests ask for as many tokens as they may
        engine.pid = os.getpid()  # on a busy machine, the fake may miss heartbeats; it must not count as dead
        api.wait_ready()
        yield api


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as scratch, serving(Path(scratch), *sys.argv[1:]) as running:
        print(running.url, flush=True)
        sys.stdin.read()
