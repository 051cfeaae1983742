"""Functions for tests of attacks: uploads of malicious checkpoints, and the memory of this process."""

from __future__ import annotations

import io
import os
import tarfile
from pathlib import Path
from typing import Any

import httpx

from tests.checkpoints import make_checkpoint
from tests.serving import byte_tokenizer

MODELS = "/v1/registry/models"


def checkpoint(folder: Path, **config: Any) -> Path:
    """Write a valid checkpoint with a tokenizer, which an attack can change."""
    make_checkpoint(folder, vocab_size=byte_tokenizer().vocab_size, **config)
    byte_tokenizer().save(folder)
    return folder


def upload(client: httpx.Client, folder: Path, name: str = "mood", **fields: str) -> httpx.Response:
    """Import a checkpoint directory. `fields` are further fields of the form."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as archive:
        archive.add(folder, arcname=".")
    files = {"file": ("checkpoint.tar", buffer.getvalue())}
    return client.post(f"{MODELS}/{name}/versions", data=fields, files=files)


def code(reply: httpx.Response) -> str:
    """The code of an error that the registry's routes return."""
    return str(reply.json()["error"]["code"])


def resident_bytes() -> int:
    """The physical memory of this process."""
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE")
