"""Uploads local data files, unless the service already has them."""

from __future__ import annotations

import contextlib
import hashlib
import itertools
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from app.errors import OstinatoError

if TYPE_CHECKING:
    from app.client import Client

PURPOSE = "fine-tune"
BRIEF = 3600  # seconds after which the service deletes a file for an estimate, if this program could not delete it
SEARCHED = 1000  # the maximum number of uploaded files to compare with a local file


def upload_once(client: Client, path: Path, quiet: bool) -> str:
    """Return the id of an uploaded file with the name and content of a local file. Uploads the file if there is none.

    Uploaded files that will expire are not used. Unless `quiet` is set, prints what was done.
    """
    if earlier := _find(client, path, quiet):
        return earlier
    stored = client.upload(path, PURPOSE)
    if not quiet:
        print(f"uploaded {path.name} as {stored['id']}", flush=True)
    return str(stored["id"])


@contextlib.contextmanager
def uploaded_for_estimate(client: Client, paths: Mapping[str, Path], quiet: bool) -> Iterator[dict[str, str]]:
    """Yield the ids of uploaded files with the contents of local files, under the keys of `paths`.

    Uploads the files that the service does not have, and deletes these at the end of the block. Unless `quiet` is set,
    prints what was done.
    """
    ids, new = {}, []
    try:
        for key, path in paths.items():
            if earlier := _find(client, path, quiet):
                ids[key] = earlier
                continue
            ids[key] = str(client.upload(path, PURPOSE, BRIEF)["id"])
            new.append(ids[key])
            if not quiet:
                print(f"uploaded {path.name} for this estimate; it is deleted afterwards", flush=True)
        yield ids
    finally:
        for id_ in new:
            with contextlib.suppress(OstinatoError):  # if this fails, the file expires
                client.call("DELETE", f"/v1/files/{id_}")


def _find(client: Client, path: Path, quiet: bool) -> str | None:
    """Return the id of the newest uploaded file that is equal to a local file, or None if there is none.

    Unless `quiet` is set, prints the id.
    """
    from app.client import name_of  # loads httpx

    wanted = {"filename": name_of(path), "bytes": path.stat().st_size, "expires_at": None, "column_roles": {}}
    try:
        files = list(itertools.islice(client.pages("/v1/files", purpose=PURPOSE), SEARCHED))
    except OstinatoError:  # if the error persists, the upload reports it
        return None
    similar = [file for file in files if all(file.get(key, ...) == value for key, value in wanted.items())]
    digest = _digest(path) if similar else None
    earlier = next((str(file["id"]) for file in similar if file["sha256"] == digest), None)
    if earlier and not quiet:
        print(f"{path.name} is already uploaded as {earlier}", flush=True)
    return earlier


def _digest(path: Path) -> str:
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()
