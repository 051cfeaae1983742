"""Conversations that are written as text."""

from __future__ import annotations

import io
import json
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from app.training.data.cells import CellError
from app.training.data.message_texts import read_messages
from tests.training.data.tables import read, remarks_of, write

CHAT = [{"role": "user", "content": 'Say "it\'s"\n{ok}'}, {"role": "assistant", "content": "it's [ok]"}]
SHARED = [{"from": "human", "value": CHAT[0]["content"]}, {"from": "gpt", "value": CHAT[1]["content"]}]
TEXTS = {
    "json": json.dumps(CHAT),
    "indented": json.dumps(CHAT, indent=2),
    "python": repr(CHAT),
    "numpy": "[" + "\n ".join(map(repr, CHAT)) + "]",
    "array": f"array({CHAT!r}, dtype=object)",
    "object": json.dumps({"messages": CHAT}),
}


def files(text: str) -> dict[str, str | bytes]:
    """A file of each format with one conversation."""
    parquet = io.BytesIO()
    pq.write_table(pa.table({"messages": [text]}), parquet)
    quoted = text.replace('"', '""')
    return {
        "a.csv": f'id,messages\n1,"{quoted}"\n',
        "a.jsonl": json.dumps({"messages": text}),
        "a.parquet": parquet.getvalue(),
    }


@pytest.mark.parametrize("form", TEXTS)
def test_messages_written_as_text_are_read(form: str, tmp_path: Path) -> None:
    for name, content in files(TEXTS[form]).items():
        layout, [example] = read(write(tmp_path, name, content))
        assert layout.task == "generation"
        assert [turn.text for turn in example.turns] == ['user: Say "it\'s"\n{ok}\nassistant:', " it's [ok]"]
        assert "messages_as_text" in example.notes


@pytest.mark.parametrize(
    ("column", "value"), [("conversations", json.dumps(SHARED)), ("Conversation", CHAT), ("dialogue", repr(CHAT))]
)
def test_other_columns_with_messages_are_recognised(column: str, value: Any, tmp_path: Path) -> None:
    row = json.dumps({column: value, "rating": 3})
    layout, [example, _] = read(write(tmp_path, "a.jsonl", f"{row}\n{row}\n"))
    assert [turn.text for turn in example.turns][1] == " it's [ok]"
    assert f"the column {column!r} is used instead" in remarks_of(layout.source)["column_messages"]


def test_many_line_ends_between_messages_take_linear_time() -> None:
    lines = "\n" * 300_000
    assert read_messages(f"[{CHAT[0]!r}{lines}{CHAT[1]!r}]") == CHAT
    with pytest.raises(CellError, match="must be a list of messages"):
        read_messages(f"[{CHAT[0]!r}{lines}x]")
