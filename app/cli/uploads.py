"""Uploads local data files, unless the service already has them."""

from __future__ import annotations

import hashlib
import itertools
from pathlib import Path
from typing import TYPE_CHECKING

from app.errors import OstinatoError

if TYPE_CHECKING:
    from app.client import Client

PURPOSE = "fine-tune"
SEARCHED = 1000  # the maximum number of uploaded files to compare with a local file


def upload_once(client: Client, path: Path, quiet: bool) -> str:
    """Return the id of an uploaded file with the name and content of a local file. Uploads the file if there is none.

    Uploaded files that will expire are not used. Unless `quiet` is set, prints what was done.
    """
    from app.client import name_of  # loads httpx

    if earlier := _find(client, path, name_of(path)):
        if not quiet:
            print(f"{path.name} is already uploaded as {earlier}", flush=True)
        return earlier
    stored = client.upload(path, PURPOSE)
    if not quiet:
        print(f"uploaded {path.name} as {stored['id']}", flush=True)
    return str(stored["id"])


def _find(client: Client, path: Path, name: str) -> str | None:
    """Return the id of the newest uploaded file that is equal to a local file, or None if there is none."""
    wanted = {"filename": name, "bytes": path.stat().st_size, "expires_at": None, "column_roles": {}}
    try:
        files = list(itertools.islice(client.pages("/v1/files", purpose=PURPOSE), SEARCHED))
    except OstinatoError:  # if the error persists, the upload reports it
        return None
    similar = [file for file in files if all(file.get(key, ...) == value for key, value in wanted.items())]
    digest = _digest(path) if similar else None
    return next((str(file["id"]) for file in similar if file["sha256"] == digest), None)


def _digest(path: Path) -> str:
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()
