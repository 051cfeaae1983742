"""Opens data files in binary formats, which require random access. The files may be compressed with gzip."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

from app.training.data.files import Source, unpacking

_MAX_UNPACKED_BYTES = 1 << 36  # in addition, an unpacked file may use at most half of the free disk space
_BLOCK = 1 << 20


@contextmanager
def seekable(source: Source) -> Iterator[Path | IO[bytes]]:
    """Yield the file, or its decompressed content if it is compressed with gzip.

    A compressed file is unpacked to a temporary file in the same directory. The temporary file has no name, so the
    system deletes it even if this process is killed. Raises BadData if the unpacked file is too large.
    """
    if not source.gzip:
        yield source.path
        return
    with tempfile.TemporaryFile(dir=source.path.parent) as unpacked:
        limit = min(_MAX_UNPACKED_BYTES, shutil.disk_usage(source.path.parent).free // 2)
        with unpacking(source), source.open() as file:
            while block := file.read(_BLOCK):
                if unpacked.tell() + len(block) > limit:
                    raise source.fault(
                        f"has more than {limit:,} bytes when decompressed, which is too large for this machine"
                    )
                unpacked.write(block)
        yield unpacked
