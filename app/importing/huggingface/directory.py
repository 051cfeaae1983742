"""The files of a model directory in Hugging Face format. Every file is treated as untrusted."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from app import strict_json
from app.importing.pytorch.tensors import ForeignFileInvalid

JSON_LIMIT = 64 * 2**20  # maximum size of a JSON file, in bytes
FOLDER = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,99}")  # the name of a folder or file within the directory


def is_model_directory(path: Path) -> bool:
    """Whether a directory has the config.json of a Hugging Face model or the modules.json of sentence-transformers."""
    if (path / "modules.json").is_file():
        return True
    try:
        config = read_json(path / "config.json")
    except ForeignFileInvalid:
        return False
    return isinstance(config, dict) and "format_version" not in config and ("model_type" in config or _is_old(config))


def _is_old(config: dict[str, Any]) -> bool:
    """Whether a configuration without a model_type comes from an old version of Hugging Face's library."""
    return "hidden_size" in config or "architectures" in config


def read_json(path: Path, values: int = strict_json.VALUES) -> Any:
    """Parse a JSON file. Raises ForeignFileInvalid if it is missing, too large or not valid."""
    try:
        if path.stat().st_size > JSON_LIMIT:
            raise ForeignFileInvalid(f"{path.name} has more than {JSON_LIMIT} bytes")
        return strict_json.parse(path.read_bytes(), values=values)
    except OSError as error:
        raise ForeignFileInvalid(f"{path.name} cannot be read: {error.strerror or error}") from None
    except strict_json.JsonInvalid as error:
        raise ForeignFileInvalid(f"{path.name} is not valid JSON: {error}") from None


def read_object(path: Path, *, required: bool = False) -> dict[str, Any]:
    """Parse a JSON file that contains an object. An optional file that does not exist is treated as empty."""
    if not required and not path.is_file():
        return {}
    value = read_json(path)
    if not isinstance(value, dict):
        raise ForeignFileInvalid(f"{path.name} must contain a JSON object")
    return value


def inner(folder: Path, name: object, source: str) -> Path:
    """Return the path of a file or folder named in the file `source`.

    Raises ForeignFileInvalid unless `name` can be the name of a file or folder directly in `folder`.
    """
    if not isinstance(name, str) or not FOLDER.fullmatch(name):
        shown = repr(str(name)[:60])
        raise ForeignFileInvalid(f"{source} refers to {shown}, which is not the name of a file in the same directory")
    return folder / name
