"""Conversations are read as turns, of which the assistant's are learned."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from app.training.data.example import Turn
from app.training.failures import BadData
from tests.training.data.tables import assert_fault, read, write


def test_every_answer_is_learned_unless_its_weight_is_0(tmp_path: Path) -> None:
    messages = [
        {"role": "system", "content": "Be brief."},
        {"role": "user", "content": "Hi"},
        {"role": "assistant", "content": "Ho", "weight": 0},
        {"role": "user", "content": "What?"},
        {"role": "assistant", "content": "Hi.", "weight": 1},
    ]
    layout, (example,) = read(write(tmp_path, "a.jsonl", json.dumps({"messages": messages})))
    assert layout.task == "generation"
    assert example.turns == (
        Turn("system: Be brief.\nuser: Hi\nassistant:", learned=False, ended=False),
        Turn(" Ho", learned=False, ended=True),
        Turn("\nuser: What?\nassistant:", learned=False, ended=False),
        Turn(" Hi.", learned=True, ended=True),
    )


@pytest.mark.parametrize(
    ("messages", "reason"),
    [
        ([("user", "x", None)], "the last message must be the assistant's"),
        ([("assistant", "x", 0)], "every message of the assistant has weight 0"),
        ([("assistant", "x", 0.5)], "message 1: weight can be 0 or 1"),
        ([("assistant", "\ud800", 1)], "not valid Unicode"),
    ],
)
def test_malformed_conversations_are_reported(
    messages: list[tuple[str, str, Any]], reason: str, tmp_path: Path
) -> None:
    row = {"messages": [dict(zip(("role", "content", "weight"), message, strict=True)) for message in messages]}
    with pytest.raises(BadData, match=f"line 1, column 'messages': .*{reason}"):
        read(write(tmp_path, "a.jsonl", json.dumps(row)))


@pytest.mark.parametrize(
    ("name", "content", "parts"),
    [
        ("a.jsonl", '{"messages": [{"role": "user", "content": "x"}]}\n', ["line 1", "assistant"]),
        ("a.jsonl", '{"messages": [{"role": "user"}]}\n', ["line 1", "message 1", "content"]),
    ],
)
def test_faults_are_reported_with_their_place(
    name: str, content: str | bytes, parts: list[str], tmp_path: Path
) -> None:
    assert_fault(write(tmp_path, name, content), *parts)
