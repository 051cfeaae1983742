"""The preview program prints the first rows of a file, within its limits."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

from tests.training.data.tables import ROWS, parquet, write


def test_the_program_prints_the_preview_without_torch(tmp_path: Path) -> None:
    path = write(tmp_path, "content", parquet())
    script = "import sys; from app.training.run import preview; preview.main(sys.argv[1:])"
    script += "; assert 'torch' not in sys.modules"
    done = subprocess.run([sys.executable, "-c", script, path, "a.parquet", "parquet"], capture_output=True, check=True)
    assert json.loads(done.stdout)["rows"] == [[*row.values()] for row in ROWS]
