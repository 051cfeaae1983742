"""Finds the columns of conversations, and of prompts with completions, by their usual names."""

from __future__ import annotations

from typing import Any

from app.training.data.files import Source
from app.training.data.guesses import Sample
from app.training.data.message_texts import is_written
from app.training.data.usual_names import quoted

_PROMPTS = ("prompt", "question", "instruction", "query", "request", "user", "human", "q")
_COMPLETIONS = ("completion", "response", "answer", "output", "reply", "assistant", "gpt", "bot", "a")
_CONTEXTS = ("input", "context", "system", "history")  # other columns that belong to the prompt
_SHARED = "conversations"  # the column of messages in ShareGPT's format
# Other names of columns with messages
_CONVERSATIONS = (_SHARED, "conversation", "chat", "chats", "dialogue", "dialog", "dialogs", "dialogues", "message")
_FIRST = 2000  # the number of records that are searched for messages


def find_messages(source: Source, present: list[str]) -> str | None:
    """Return the column with conversations, or None. In ShareGPT's format, it is named `conversations`."""
    if "messages" in present:
        return "messages"
    names = [name for name in present if name.strip().lower() in _CONVERSATIONS]
    sample = Sample(source, names, present, first=_FIRST)
    matching = sample.of(lambda value: is_written(value) or _is_conversation(value))
    return next((name for name in names if name in matching or (name == _SHARED and name in sample.nested())), None)


def _is_conversation(value: Any) -> bool:
    """Whether a value is a list of objects with roles."""
    return isinstance(value, list) and all(isinstance(part, dict) and {"role", "from"} & part.keys() for part in value)


def find_turns(
    source: Source, shape: str, task: str | None, names: dict[str, str], present: list[str], messages: str | None
) -> dict[str, str]:
    """Map `messages`, or `prompt` and `completion`, to their columns. Empty if the layout has neither.

    `names` maps the other keys to their columns, and `messages` is the column with conversations.
    """
    if shape == "chat" and messages is not None:
        if messages != "messages":
            source.remark("column_messages", f"has no column 'messages'; the column {messages!r} is used instead")
        return {"messages": messages}
    if shape == "completion":
        return {"prompt": "prompt", "completion": "completion"}
    if shape != "text" or {"text", "label", "value"} & set(names) or task not in (None, "generation"):
        return {}
    return _usual_prompts(source, present, is_named=task is not None)


def _usual_prompts(source: Source, present: list[str], *, is_named: bool) -> dict[str, str]:
    """Map `prompt` and `completion` to columns with other usual names. Empty if there are none.

    `is_named` is whether the request names the task generation. If it does not, answers that look like labels are not
    taken for completions. Raises BadData if the prompt may consist of several columns.
    """
    prompts, completions, contexts = (_named(present, names) for names in (_PROMPTS, _COMPLETIONS, _CONTEXTS))
    if not prompts and _named(contexts, ("input",)) and completions:
        prompts = _named(contexts, ("input",))
        contexts = [name for name in contexts if name not in prompts]
    if len(prompts) != 1 or len(completions) != 1:
        return {}
    if not is_named and completions[0] in Sample(source, completions, present).categories():
        return {}
    if contexts:
        message = (
            f"has prompts in several columns ({quoted([*prompts, *contexts])}): join them in a column named prompt, "
            f"and rename {completions[0]!r} to completion"
        )
        raise source.fault(message, param="columns.text")
    message = f"has no columns 'prompt' and 'completion'; {prompts[0]!r} and {completions[0]!r} are used instead"
    source.remark("usual_prompts", message)
    return {"prompt": prompts[0], "completion": completions[0]}


def _named(present: list[str], names: tuple[str, ...]) -> list[str]:
    return [name for name in present if name.strip().lower() in names]
