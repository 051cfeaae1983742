"""A temporary file that can become a blob without being copied."""

from __future__ import annotations

import tempfile
from io import FileIO
from pathlib import Path
from typing import Any

from app.storage.errors import translate_errors, unreachable

NAMES = "ostinato-"  # the first characters of the names of all such files


class Scratch(FileIO):
    """A private file (mode 0600). The file is removed when it is closed, unless it has been moved.

    The file is unbuffered, so closing it after a failed write cannot fail. Raises StorageUnavailable if the disk is
    full.
    """

    def __init__(self, folder: Path | None) -> None:
        """Create the file in `folder`, or in the system's temporary folder."""
        with translate_errors(""):
            try:
                descriptor, name = tempfile.mkstemp(dir=folder, prefix=NAMES)
            except FileNotFoundError as error:  # the folder was removed
                raise unreachable() from error
        self.path = Path(name)
        super().__init__(descriptor, "r+")

    def write(self, data: Any) -> int:
        """Write all of `data`, and return the number of bytes."""
        rest = memoryview(data)
        with translate_errors(""):
            while rest:
                rest = rest[super().write(rest) :]
        return len(data)

    def close(self) -> None:
        """Close the file, and remove it unless it has been moved."""
        if not self.closed:
            self.path.unlink(missing_ok=True)
        super().close()
