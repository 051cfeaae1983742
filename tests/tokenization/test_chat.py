"""The text format of conversations, and the equivalent chat template."""

from __future__ import annotations

import jinja2

from app.tokenization.chat import TEMPLATE, exchanges

MESSAGES = [
    {"role": "system", "content": "Be brief."},
    {"role": "user", "content": "Hi"},
    {"role": "assistant", "content": "Ho"},
    {"role": "user", "content": "What?"},
    {"role": "assistant", "content": "Hi."},
]


def test_each_answer_has_the_text_since_the_last_one_as_its_prompt() -> None:
    assert exchanges(MESSAGES) == [
        ("system: Be brief.\nuser: Hi\nassistant:", " Ho"),
        ("\nuser: What?\nassistant:", " Hi."),
    ]
    assert exchanges(MESSAGES[:2]) == []
    assert exchanges([*MESSAGES, {"role": "user", "content": "?"}]) == exchanges(MESSAGES)


def test_the_template_renders_the_same_text() -> None:
    template = jinja2.Environment().from_string(TEMPLATE)
    text = "".join(f"{prompt}{answer}<eos>" for prompt, answer in exchanges(MESSAGES))
    assert template.render(messages=MESSAGES, eos_token="<eos>") == text + "\n"
    prompt = template.render(messages=MESSAGES[:2], eos_token="<eos>", add_generation_prompt=True)
    assert prompt == exchanges(MESSAGES)[0][0]
