"""The fingerprint of a machine depends on its processor and on the number of threads."""

from __future__ import annotations

from pathlib import Path

import pytest

from app.engine import fingerprint as module
from app.engine.fingerprint import fingerprint
from tests.engine.builders import CPU

TEXT = "processor : 0\nmodel name : A\nflags : sse avx2\ncpu MHz : {speed}\n\nprocessor : 1\nmodel name : A\n"


def test_the_fingerprint_depends_on_processor_and_threads_only(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "CPUINFO", tmp_path / "cpuinfo")
    (tmp_path / "cpuinfo").write_text(TEXT.format(speed=2000))
    first = fingerprint(CPU, 2)
    assert len(first) == 16 and fingerprint(CPU, 3) != first
    (tmp_path / "cpuinfo").write_text(TEXT.format(speed=1900))
    assert fingerprint(CPU, 2) == first
    (tmp_path / "cpuinfo").write_text(TEXT.replace("avx2", "avx2 amx_bf16"))
    assert fingerprint(CPU, 2) != first
    (tmp_path / "cpuinfo").unlink()
    assert fingerprint(CPU, 2) not in ("", first)
