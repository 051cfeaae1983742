"""Messages and tool calls are converted to a single text."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from app.api.decisions.items import DecisionInput, compact, text_of
from app.errors import InvalidRequest


def text(value: Any) -> str:
    return text_of(msgspec.convert(value, DecisionInput))


def test_a_single_message_is_its_text() -> None:
    assert text("plain") == text([{"role": "user", "content": "plain"}]) == "plain"
    parts = [{"type": "input_text", "text": "two"}, {"type": "input_json", "data": {"b": [1, None], "a": "x"}}]
    assert text([{"type": "message", "role": "user", "content": parts}]) == 'two\n{"b":[1,null],"a":"x"}'


def test_several_items_are_lines_with_their_roles() -> None:
    items = [
        {"role": "system", "content": "Be kind."},
        {"role": "assistant", "content": [{"type": "output_text", "text": "Hi"}, {"type": "refusal", "refusal": "no"}]},
        {"type": "function_call", "call_id": "1", "name": "find", "arguments": '{"q": 1}', "status": "completed"},
        {"type": "function_call_output", "call_id": "1", "output": [{"type": "input_text", "text": "one"}]},
        {"type": "custom_tool_call", "call_id": "2", "name": "run", "input": "ls"},
        {"type": "custom_tool_call_output", "call_id": "2", "output": "a b"},
    ]
    assert text(items).split("\n") == [
        "system: Be kind.", "assistant: Hi", "no", 'function_call: find {"q": 1}', "function_call_output: one",
        "custom_tool_call: run ls", "custom_tool_call_output: a b",
    ]  # fmt: skip
    assert text(items[-1:]) == "custom_tool_call_output: a b"


@pytest.mark.parametrize(
    ("item", "param", "message"),
    [
        ({"content": "x"}, "input[0].role", "role is missing"),
        ({"role": "judge", "content": "x"}, "input[0].role", "'judge', which is not supported"),
        ({"role": "user"}, "input[0].content", "is missing"),
        ({"type": "web_search_call"}, "input[0].type", "'web_search_call', which is not supported"),
        ({"type": "function_call", "name": "f"}, "input[0].arguments", "is missing"),
        (
            {"role": "user", "content": [{"type": "input_image", "image_url": "data:"}]},
            "input[0].content[0].type",
            "'input_image', which is not supported",
        ),
        ({"role": "user", "content": [{"type": "input_text"}]}, "input[0].content[0].text", "is missing"),
        ({"role": "user", "content": [{"type": "input_json"}]}, "input[0].content[0].data", "is missing"),
    ],
)
def test_what_is_not_text_is_refused(item: dict[str, Any], param: str, message: str) -> None:
    with pytest.raises(InvalidRequest, match=message) as refused:
        text([item])
    assert refused.value.param == param


def test_json_keeps_the_order_of_its_keys() -> None:
    assert compact({"b": 1, "a": [True, "é"]}) == '{"b":1,"a":[true,"é"]}'
