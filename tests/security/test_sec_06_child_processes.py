"""SEC-06: a tokenizer that bypasses the rules can crash only the child process that uses it."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from app.errors import CheckpointInvalid, InvalidRequest
from app.tokenization import bounds
from app.tokenization.children import Children, key_of
from app.tokenization.definition import Definition
from app.tokenization.messages import Read
from tests.security.attacks import resident_bytes
from tests.serving import wait_until

DOUBLE = {"type": "Replace", "pattern": {"String": "a"}, "content": "aa"}
HUGE = {"type": "Replace", "pattern": {"String": "a"}, "content": "b" * 2**20}
WORD = {"type": "WordPiece", "unk_token": "x", "continuing_subword_prefix": "", "max_input_chars_per_word": 10**9}


def definition(**parts: Any) -> Definition:
    return Definition(json.dumps({"version": "1.0", "model": {"type": "BPE", "vocab": {"a": 0}, "merges": []}} | parts))


HARMLESS = definition()
DOUBLINGS = definition(normalizer={"type": "Sequence", "normalizers": [DOUBLE] * 30})
MEGABYTES = definition(normalizer=HUGE)
SLOW = definition(model=WORD | {"vocab": {"x": 0, "a": 1}})


@pytest.fixture
def children() -> Iterator[Children]:
    children = Children(seconds=1)
    yield children
    children.close()


def read(children: Children, tokenizer: Definition, text: str) -> list[list[int]]:
    return children.read(Read(key_of(tokenizer), "batch", [text]), tokenizer)


@pytest.mark.parametrize(
    ("attack", "text"),
    [(DOUBLINGS, "a" * 2000), (MEGABYTES, "a" * 2000 * 4), (SLOW, "a" * 130_000)],
    ids=["30 doublings", "a letter becomes a megabyte", "a long word"],
)
def test_an_attack_ends_its_process_and_nothing_else(children: Children, attack: Definition, text: str) -> None:
    before = resident_bytes()
    assert read(children, HARMLESS, "aa") == [[0, 0]]
    with pytest.raises(InvalidRequest) as refusal:
        read(children, attack, text)
    assert refusal.value.code == "text_too_long"
    assert read(children, HARMLESS, "aa") == [[0, 0]]
    assert resident_bytes() - before < 64 * 2**20


def test_work_that_nobody_waits_for_is_ended(children: Children) -> None:
    gone, begun = threading.Event(), threading.Event()

    def abandoned() -> bool:
        begun.set()
        return gone.is_set()

    def request() -> list[list[int]]:
        bounds.abandoned.set(abandoned)
        return read(children, SLOW, "a" * 130_000)

    with ThreadPoolExecutor(1) as threads:
        future = threads.submit(request)
        assert begun.wait(30)
        gone.set()
        with pytest.raises(bounds.Abandoned):
            future.result(30)
    assert all(child.fresh for child in children._all)


def test_a_tokenizer_that_is_expensive_to_load_is_refused() -> None:
    children = Children(seconds=1)
    words = {f"a{n}": n for n in range(2_000_000)} | {"a": 2_000_000}
    with pytest.raises(CheckpointInvalid, match="too much memory or time"):
        children.check(definition(model={"type": "BPE", "vocab": words, "merges": []}))


def test_the_environment_of_a_process_has_no_secrets(children: Children, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OSTINATO_API_KEYS", "ann:top-secret-key")
    assert read(children, HARMLESS, "a") == [[0]]
    [process] = [child._process for child in children._all if not child.fresh]
    assert process is not None
    assert b"secret" not in Path(f"/proc/{process.pid}/environ").read_bytes()
    limits = Path(f"/proc/{process.pid}/limits").read_text()
    assert f"{3 * 2**30}" in limits


def test_closing_ends_all_processes() -> None:
    children = Children()
    assert read(children, HARMLESS, "a") == [[0]]
    [process] = [child._process for child in children._all if not child.fresh]
    children.close()
    assert process is not None
    wait_until(lambda: process.poll() is not None)
