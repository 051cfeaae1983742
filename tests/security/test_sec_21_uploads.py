"""SEC-21: counting the rows of an expensive file stops after a bounded amount of processor time."""

from __future__ import annotations

import gzip
import time
from concurrent.futures import ThreadPoolExecutor

import pytest

from app.files import outline
from app.files.outline import MAX_SECONDS, Outline

SLACK = 4.0  # seconds: the last slice, decompression, and a slow machine
HOSTILE = {
    "a million empty lines from each kilobyte": ("csv.gz", gzip.compress(b"a,b\n1,2\n" + b"\n" * 2**26)),
    "empty lines, not compressed": ("jsonl", b'{"a": 1}\n' + b"\n" * 2**26),
    "an empty record that never ends": ("jsonl", b'{"a": 1}\n{"a": null' + b" " * 2**19 + b"x\n"),
    "an empty string that never ends": ("jsonl", b'{"a": 1}\n{"a": "' + rb"\t" * 2**18 + b"x\n"),
    "blanks after every delimiter": ("csv", b"a,b\n" + b", " * 2**18 + b'"x"\n'),
    "long runs of blanks": ("csv", b"a,b\n" + (b"," + b" " * 1000) * 500 + b'"x"\n'),
    "quotes in the header": ("csv", b'"' * (2**19 + 1) + b",b\n1,2\n"),
}


def count(name: str) -> tuple[int | None, float]:
    """Count the rows of a hostile file. Returns the number of rows, and the processor time in seconds."""
    kind, content = HOSTILE[name]
    table = Outline(kind)
    began = time.thread_time()
    for _ in table.pass_through(content[i : i + 2**16] for i in range(0, len(content), 2**16)):
        pass
    return table.rows, time.thread_time() - began


@pytest.mark.parametrize("name", HOSTILE)
def test_counting_takes_a_bounded_time(name: str) -> None:
    assert count(name)[1] < MAX_SECONDS + SLACK


def test_files_are_counted_one_at_a_time(monkeypatch: pytest.MonkeyPatch) -> None:
    """Even with several malicious files, the process uses at most one thread for counting."""
    monkeypatch.setattr(outline, "MAX_SECONDS", 0.5)
    name, began = "empty lines, not compressed", time.monotonic()
    with ThreadPoolExecutor(4) as threads:
        spent = [seconds for _, seconds in threads.map(count, [name] * 4)]
    assert sum(spent) <= 1.3 * (time.monotonic() - began)
