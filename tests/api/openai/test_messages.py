"""Messages that clients send are converted to those that the model reads."""

from __future__ import annotations

import pytest

from app.api.openai.messages import Content, ContentPart, plain_message
from app.errors import InvalidRequest


@pytest.mark.parametrize(
    ("content", "text"),
    [
        ("a", "a"),
        ("", ""),
        ([], ""),
        ([ContentPart("text", "a"), ContentPart("input_text", ""), ContentPart("output_text", "b")], "a\n\nb"),
        ([ContentPart("refusal", refusal="No.")], "No."),
    ],
)
def test_the_content_of_a_message_is_text(content: Content, text: str) -> None:
    assert plain_message("user", content, "messages[0]") == {"role": "user", "content": text}


@pytest.mark.parametrize(
    ("role", "content", "param"),
    [
        ("tool", "a", "messages[3].role"),
        ("user", None, "messages[3].content"),
        ("user", [ContentPart("text", "a"), ContentPart("image_url")], "messages[3].content[1].type"),
        ("user", [ContentPart("text", refusal="a")], "messages[3].content[0].text"),
        ("assistant", [ContentPart("refusal", "a")], "messages[3].content[0].refusal"),
    ],
)
def test_what_is_not_text_is_refused_with_its_place(role: str, content: Content | None, param: str) -> None:
    with pytest.raises(InvalidRequest) as refused:
        plain_message(role, content, "messages[3]")
    assert refused.value.param == param and refused.value.message.startswith(param.removesuffix(".type"))
