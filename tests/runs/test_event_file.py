"""Reading a file to which a trainer appends events."""

from __future__ import annotations

from pathlib import Path

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.runs import event_file
from app.runs.event_file import EventFile
from app.wire.trainer import Metrics, Note, Phase


@given(cuts=st.lists(st.integers(0, 400)), size=st.sampled_from([3, 64, 2**20]))
def test_each_event_of_a_growing_file_is_read_once(
    cuts: list[int], size: int, tmp_path_factory: pytest.TempPathFactory
) -> None:
    events = [
        Phase("training"),
        *(Metrics(n, 9, {"train_loss": 0.5}, n / 9) for n in range(1, 4)),
        Note("é", 1, "info", "é"),
    ]
    raw = b"".join(msgspec.json.encode(event) + b"\n" for event in events)
    path = tmp_path_factory.mktemp("events") / "1.jsonl"
    reader, read, start = EventFile(path), [], 0
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(event_file, "READ_BYTES", size)
        for cut in [*sorted(cuts), len(raw)]:
            with path.open("ab") as file:
                file.write(raw[start:cut])
            start = max(start, cut)
            while batch := reader.read():
                read += batch
    assert read == events


def test_a_line_that_is_not_an_event_is_skipped(tmp_path: Path) -> None:
    path = tmp_path / "1.jsonl"
    path.write_bytes(b'nonsense\n{"type":"Later"}\n{"type":"Phase","phase":"training"}\n{"type":"Pha')
    reader = EventFile(path)
    assert reader.read() == [Phase("training")]
    assert reader.read() == []
