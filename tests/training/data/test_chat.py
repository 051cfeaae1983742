"""Conversations are read as turns, and the model is trained on the turns of the assistant."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from app.training.data.checking import check_files
from app.training.data.example import Turn
from app.training.failures import BadData
from tests.training.data.scans import scan
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
        (
            [("user", None, None), ("assistant", 3, None)],
            r"message 2 \(role 'assistant'\) has the number 3 as its content; the content must be a string or a list "
            "of text parts",
        ),
        (
            [("user", [3], None), ("assistant", "x", None)],
            r"message 1 \(role 'user'\) has the number 3 as part 1 of its content; a part must be a string or an "
            "object with a text",
        ),
        (
            [("user", "x", None), ("tool", {"rain": 0}, None), ("assistant", "x", None)],
            r"message 2 \(role 'tool'\) has an object as its content; .*; write the object as a JSON string",
        ),
        ([("assistant", "x", 0.5)], "message 1: weight must be 0 or 1, not the number 0.5"),
        ([("user", "x", None), ("assistant", "\ud800", 1)], r"message 2 \(role 'assistant'\): not valid Unicode"),
        ([("user", "x", None), ("\ud800", "y", 1)], r"message 2 \(role '\\ud800'\): not valid Unicode"),
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
        ("a.jsonl", '{"messages": {"role": "user"}}\n', ["line 1", "must be a list", "found an object"]),
        ("a.csv", "messages,id\na text,1\n", ["line 2", "found a plain text", "set columns.text to its name"]),
        ("a.csv", 'messages,id\n"[{""role"": ",1\n', ["line 2", "as JSON; error at character", "not valid JSON"]),
        ("a.jsonl", '{"messages": [["user", "x"]]}\n', ["line 1", "message 1 must be an object", "found a list"]),
        ("a.jsonl", '{"messages": [{"content": "x"}]}\n', ["line 1", "message 1 has no role", "user or assistant"]),
        (
            "a.jsonl",
            '{"messages": [{"role": "user"}]}\n',
            ["line 1", "message 1 (role 'user') has no content", "null if it has tool_calls"],
        ),
    ],
)
def test_faults_are_reported_with_their_place(
    name: str, content: str | bytes, parts: list[str], tmp_path: Path
) -> None:
    assert_fault(write(tmp_path, name, content), *parts)


def test_empty_conversations_are_left_out_and_counted(tmp_path: Path) -> None:
    asked = [[{**ASK, "content": f"Rain on day {n}?"}, ANSWER] for n in range(10)]
    lines = [json.dumps({"messages": messages}) for messages in [*asked, [], [], [ASK], "[]"]]
    result = check_files(write(tmp_path, "a.jsonl", "\n".join(lines)))
    remarks = {remark["kind"]: remark["message"] for remark in result.report["remarks"]}
    assert result.error is None and "3 conversations are left out, because their lists of" in remarks["no_messages"]
    assert "line 11, line 12, line 14" in remarks["no_messages"] and "1 conversation is left" in remarks["no_answer"]


@pytest.mark.parametrize("content", ["She wrote:\nuser: hello", "a\nassistant: b\nuser: c", "x\nsystem:y"])
def test_a_message_that_contains_another_message_is_told(content: str, tmp_path: Path) -> None:
    lines = [json.dumps({"messages": [{**ASK, "content": text}, ANSWER]}) for text in ["fine"] * 9 + [content] * 2]
    [remark] = [
        remark
        for remark in check_files(write(tmp_path, "a.jsonl", "\n".join(lines))).report["remarks"]
        if remark["kind"] == "role_markers"
    ]
    assert (remark["level"], remark["count"]) == ("warn", 2)
    role = content.split("\n")[1].split(":")[0]
    assert remark["message"].startswith("a.jsonl, line 10: 2 messages have lines that begin like")
    assert f"such as '{role}:'" in remark["message"]


@pytest.mark.parametrize("content", ["user: hello", "The user: hello", "a\nUser: b", "a\nusers: b"])
def test_other_messages_with_colons_are_not_told(content: str, tmp_path: Path) -> None:
    row = {"messages": [{**ASK, "content": content}, ANSWER]}
    [example] = read(write(tmp_path, "a.jsonl", json.dumps(row)))[1]
    assert not [note for note in example.notes if note.startswith("role_markers")]


CALL: dict[str, Any] = {"role": "assistant", "content": None, "tool_calls": [{"id": "1", "function": {"name": "f"}}]}
ASK, REPLY, ANSWER = (
    {"role": "user", "content": "Rain?"},
    {"role": "tool", "tool_call_id": "1", "content": "dry"},
    {"role": "assistant", "content": "No."},
)
TURNS = (Turn("user: Rain?\ntool: dry\nassistant:", False, False), Turn(" No.", True, True))


@pytest.mark.parametrize(
    ("messages", "turns", "note"),
    [
        ([ASK, CALL, REPLY, ANSWER], TURNS, "tool_calls tool_results"),
        ([ASK, {**CALL, "content": ""}, REPLY, ANSWER], TURNS, "tool_calls tool_results"),
        (
            [ASK, {"role": "assistant", "function_call": {"name": "f"}}, REPLY, ANSWER],
            TURNS,
            "tool_calls tool_results",
        ),
        (
            [ASK, CALL, REPLY, CALL, {**ANSWER, "tool_calls": [{}]}],
            TURNS,
            "tool_calls tool_results tool_calls tool_calls",
        ),
        ([ASK, REPLY, ANSWER, ASK, CALL], TURNS, "tool_results after_last_answer tool_calls"),
        ([ASK, REPLY, ANSWER, ASK, REPLY], TURNS, "tool_results after_last_answer after_last_answer"),
        ([ASK, {"role": "system", "content": None}, REPLY, ANSWER], TURNS, "messages_without_text tool_results"),
        ([{**ASK, "content": [{"type": "text", "text": "Rain?"}]}, REPLY, ANSWER], TURNS, "tool_results"),
        ([ASK, REPLY, {**ANSWER, "content": [{"type": "refusal", "refusal": "No."}]}], TURNS, "tool_results"),
        ([{**ASK, "name": "Ann", "audio": None}, REPLY, ANSWER], TURNS, "message_keys:name tool_results"),
        ([], (), "no_messages"),
        ([ASK, CALL], (), "only_tool_calls"),
        ([ASK], (), "no_answer"),
        ([ASK, {**ANSWER, "weight": 0}], (), "no_learned_answer"),
        ([{**ASK, "content": [{"type": "image_url", "image_url": {"url": "x"}}]}, ANSWER], (), "unreadable_parts"),
        ([{**ASK, "content": ["Rain?", {"type": "input_audio"}]}, ANSWER], (), "unreadable_parts"),
    ],
)
def test_a_conversation_is_used_as_far_as_it_goes(
    messages: list[dict[str, Any]], turns: tuple[Turn, ...], note: str, tmp_path: Path
) -> None:
    _, (example,) = read(write(tmp_path, "a.jsonl", json.dumps({"messages": messages})))
    assert (example.turns, example.notes) == (turns, tuple(note.split()))
    assert example.usable == bool(turns)


def test_an_empty_text_is_a_message_like_any_other(tmp_path: Path) -> None:
    messages = [{"role": "system", "content": ""}, ASK, ANSWER]
    _, (example,) = read(write(tmp_path, "a.jsonl", json.dumps({"messages": messages})))
    assert example.turns[0].text == "system: \nuser: Rain?\nassistant:" and example.notes == ()


def test_what_is_left_out_is_counted_and_told(tmp_path: Path) -> None:
    rows = [[ASK, {**ANSWER, "content": f"No {n}."}] for n in range(9)] + [
        [ASK, CALL],
        [ASK, CALL, REPLY, ANSWER],
        [ASK],
    ]
    path = write(tmp_path, "a.jsonl", "\n".join(json.dumps({"messages": messages}) for messages in rows))
    result, remarks = scan(path)
    assert (len(result.splits_N), result.empty) == (10, 0)
    assert remarks["no_answer"].message.startswith("a.jsonl, line 12: 1 conversation is left out, because no message")
    assert (remarks["only_tool_calls"].where, remarks["only_tool_calls"].count) == ("line 10", 1)
    assert (remarks["tool_calls"].where, remarks["tool_calls"].count) == ("line 11", 1)
    assert (remarks["tool_results"].where, remarks["tool_results"].count) == ("line 11", 1)
    assert {remark.level for remark in remarks.values()} == {"warn"}


def test_how_the_messages_of_a_conversation_are_used_is_told_with_their_number(tmp_path: Path) -> None:
    chats = [
        *[[ASK, {**ANSWER, "content": f"No {n}."}] for n in range(9)],
        [ASK, CALL, REPLY, REPLY, ANSWER],
        [ASK, {**ANSWER, "weight": 0}, ASK, {**ANSWER, "content": ""}],
        [{**ASK, "role": "narrator"}, {**ASK, "role": "critic", "name": "Ann"}, {**ANSWER, "reasoning_content": "…"}],
        [{**ASK, "role": "User"}, {**ANSWER, "role": "Assistant", "content": ["N", "o"]}],
        [ASK, {**ANSWER, "weight": 0}],
        [ASK, {**ANSWER, "weight": 0}],
    ]
    path = write(tmp_path, "a.jsonl", "\n".join(json.dumps({"messages": messages}) for messages in chats))
    _, remarks = scan(path)
    assert {kind: (remark.where, remark.count) for kind, remark in remarks.items()} == {
        "tool_calls": ("line 10", 1),
        "tool_results": ("line 10", 2),
        "unlearned_answers": ("line 11", 1),
        "empty_answers": ("line 11", 1),
        "other_roles": ("line 12", 2),
        "message_keys": ("line 12", 2),
        "roles_renamed": ("line 13", 1),
        "joined_parts": ("line 13", 1),
        "no_learned_answer": ("line 14", 2),
    }
    assert remarks["tool_results"].message == (
        "a.jsonl, line 10: the texts of 2 messages with the role tool or function are used as context, and the model "
        "is trained on the answers after them; the calls that led to these messages are not used"
    )
    assert "the roles 'narrator', 'critic'" in remarks["other_roles"].message
    assert "such as 'name', 'reasoning_content'" in remarks["message_keys"].message
    assert remarks["no_learned_answer"].message == (
        "a.jsonl, line 14: 2 conversations are left out, because all of their answers have weight 0 (line 14, line 15)"
    )


def test_a_file_without_any_answer_says_why_it_cannot_be_used(tmp_path: Path) -> None:
    rows = [[ASK, {"role": "speaker", "content": "No."}]] * 3
    path = write(tmp_path, "a.jsonl", "\n".join(json.dumps({"messages": messages}) for messages in rows))
    with pytest.raises(
        BadData, match=r"has no usable rows: 3 conversations .* no message .* \(line 1, line 2, line 3\)"
    ):
        scan(path)


def test_a_file_with_nothing_but_tool_calls_says_what_would_be_right(tmp_path: Path) -> None:
    path = write(tmp_path, "a.jsonl", "\n".join([json.dumps({"messages": [ASK, CALL]})] * 7))
    with pytest.raises(BadData) as caught:
        scan(path)
    assert caught.value.message == (
        "a.jsonl has no usable rows: 7 conversations are left out, because the assistant only calls tools and never "
        "answers with text; add a message whose role is assistant and whose content is text (line 1, line 2, line 3, "
        "line 4, line 5, …)"
    )


HUMAN = [{"from": "human", "value": "Hi"}, {"from": "gpt", "value": "Ho"}]


@pytest.mark.parametrize(
    ("row", "column"),
    [
        ({"conversations": HUMAN, "id": 1}, "conversations"),
        ({"messages": HUMAN}, "messages"),
        ({"messages": [{"role": "Human", "content": "Hi"}, {"role": "bot", "content": "Ho"}]}, "messages"),
        ({"conversations": [{"role": "user", "content": "Hi"}, {"role": "model", "content": "Ho"}]}, "conversations"),
    ],
)
def test_conversations_in_the_format_of_sharegpt_are_read_and_told(
    row: dict[str, Any], column: str, tmp_path: Path
) -> None:
    path = write(tmp_path, "a.jsonl", "\n".join(json.dumps(row).replace("Hi", f"Hi {n}") for n in range(20)))
    layout, examples = read(path)
    assert examples[7].turns == (Turn("user: Hi 7\nassistant:", False, False), Turn(" Ho", True, True))
    _, remarks = scan(path)
    assert (remarks["roles_renamed"].level, remarks["roles_renamed"].count) == ("info", 20)
    assert ("column_messages" in remarks) == (column == "conversations")
    assert layout.names["messages"] == column


def test_a_table_of_texts_named_conversations_is_no_chat(tmp_path: Path) -> None:
    with pytest.raises(BadData, match=r"set columns\.text to the name of the column"):
        read(write(tmp_path, "a.csv", "conversations,mood\nhello there you,good\n"))


@pytest.mark.parametrize("column", ["messages", "conversations"])
@pytest.mark.parametrize(("text", "kind"), [("an\0swer", "nul_characters"), ("cafÃ© und TÃ¼r", "mojibake")])
def test_damaged_characters_in_conversations_are_told(text: str, kind: str, column: str, tmp_path: Path) -> None:
    keys = ("role", "content") if column == "messages" else ("from", "value")
    turns = [("user", "Rain?"), ("assistant", text), ("user", text), ("assistant", "No.")]
    rows = [
        {column: [dict(zip(keys, (role, f"{content} {n}"), strict=True)) for role, content in turns]} for n in range(40)
    ]
    result = check_files(write(tmp_path, "a.jsonl", "\n".join(map(json.dumps, rows))))
    [remark] = [remark for remark in result.report["remarks"] if remark["kind"] == kind]
    assert (remark["count"], remark["where"], remark["level"]) == (80, "line 1", "warn")
