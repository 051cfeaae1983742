"""An error says that a file contains preferences between answers, and following its advice works."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from app.training.data.checking import check_files
from app.wire.training_options import Columns
from tests.training.data.tables import write

ASK, REPLY = {"role": "user", "content": "Rain #?"}, {"role": "assistant", "content": "No rain."}
CHAT, ANSWERS = {"messages": [ASK, REPLY]}, {"prompt": "q", "completion": "a"}


def check(folder: Path, row: dict[str, Any], columns: Columns | None = None) -> str:
    """The error for a file with 40 rows like `row`, or "" if there is none."""
    row = {name: f"{value} #" if value in ("q", "a", "b") else value for name, value in row.items()}
    rows = [json.dumps(row).replace("#", str(n)) for n in range(40)]
    error = check_files(write(folder, "a.jsonl", "\n".join(rows)), columns=columns).error
    return "" if error is None else error.message


@pytest.mark.parametrize(
    ("row", "advice", "followed"),
    [
        ({"prompt": "q", "chosen": "a", "rejected": "b"}, "rename 'chosen' to completion", ANSWERS),
        ({"Question": "q", "chosen": "a", "rejected": "b"}, "to completion and 'Question' to prompt", ANSWERS),
        ({"chosen": [ASK, REPLY], "rejected": [ASK, REPLY]}, "rename 'chosen' to messages", CHAT),
        ({"chosen": json.dumps([ASK, REPLY]), "rejected": "[]"}, "rename 'chosen' to messages", CHAT),
        ({"prompt": [ASK], "chosen": [REPLY], "rejected": [REPLY]}, "join the messages in 'prompt' and 'chosen'", CHAT),
        ({"prompt": "q", "response_a": "a", "response_b": "b", "winner": "x"}, "a column named completion", ANSWERS),
    ],
)
def test_preferences_are_refused_with_advice_that_works(
    row: dict[str, Any], advice: str, followed: dict[str, Any], tmp_path: Path
) -> None:
    message = check(tmp_path, row)
    assert "contains preferences: pairs of answers" in message and advice in message
    assert check(tmp_path, followed | {"rejected": "b", "winner": "a"}) == ""


def test_texts_without_prompts_may_be_learned_by_their_name(tmp_path: Path) -> None:
    row = {"chosen": "a", "rejected": "b"}
    assert "set columns.text to 'chosen'" in check(tmp_path, row)
    assert check(tmp_path, row, Columns(text="chosen")) == ""
