"""Recognises data with preferences, which no task learns from, and explains in an error how to use it."""

from __future__ import annotations

from app.training.data.files import Source
from app.training.data.guesses import Sample
from app.training.data.message_texts import is_written
from app.training.failures import BadData

_BETTER_AND_WORSE = (
    ("chosen", "rejected"), ("preferred", "rejected"), ("accepted", "rejected"), ("preferred", "dispreferred"),
    ("preferred_output", "non_preferred_output"), ("winner", "loser"), ("better", "worse"),
)  # fmt: skip
_FIRST_AND_SECOND = tuple(
    (f"{noun}_{first}", f"{noun}_{second}")
    for noun in ("response", "answer", "completion", "output", "reply")
    for first, second in (("a", "b"), ("j", "k"), ("0", "1"), ("1", "2"))
)
_PROMPTS = ("prompt", "question", "instruction", "query", "input")


def find_preferences(source: Source, present: list[str]) -> BadData | None:
    """Return the error for a table with pairs of answers, of which one is preferred, or None for any other table."""
    columns = {name.strip().lower(): name for name in present}
    for better, worse in (*_BETTER_AND_WORSE, *_FIRST_AND_SECOND):
        if better in columns and worse in columns:
            way = _way(source, present, columns, (columns[better], columns[worse]))
            message = f"contains preferences: pairs of answers, in the columns {columns[better]!r} and "
            message += f"{columns[worse]!r}. No task learns from preferences; {way}"
            return source.fault(message)
    return None


def _way(source: Source, present: list[str], columns: dict[str, str], pair: tuple[str, str]) -> str:
    """Return what to do in order to learn the preferred answers."""
    prompt = next((columns[name] for name in _PROMPTS if name in columns), None)
    if (pair[0].strip().lower(), pair[1].strip().lower()) in _FIRST_AND_SECOND:
        where = "text" if prompt is None else "completion"
        rename = "" if prompt in (None, "prompt") else f", and rename {prompt!r} to prompt"
        return f"to learn the preferred answers, write the better answer in each row to a column named {where}{rename}"
    better, first = pair[0], [pair[0], *([prompt] if prompt else [])]
    sample = Sample(source, first, present)
    nested = {*sample.nested(), *sample.of(is_written)}
    if better in nested and prompt in nested:
        return (
            f"to learn the preferred answers, join the messages in {prompt!r} and {better!r} into one list per row, in "
            "a column named messages"
        )
    if better in nested:
        return f"to learn the preferred answers, rename {better!r} to messages"
    if prompt is None:
        return f"to learn the preferred texts, set columns.text to {better!r}"
    rename = "" if prompt == "prompt" else f" and {prompt!r} to prompt"
    return f"to learn the preferred answers, rename {better!r} to completion{rename}"
