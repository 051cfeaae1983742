"""Notes about rows. Each note is reported once per file, in a sentence that states the number of rows."""

from __future__ import annotations

AS_TEXT = "as_text"
MOJIBAKE = "mojibake"
NO_SPLIT = "no_split"
MESSAGES_LEFT_OUT = "messages_left_out"
NO_ANSWER = "no_answer"
ROLES_RENAMED = "roles_renamed"
UNREADABLE_PARTS = "unreadable_parts"

LEFT_OUT = frozenset((NO_ANSWER, UNREADABLE_PARTS))  # the notes that explain why a row is not used

MESSAGES = {  # note -> (level, sentence for several rows); {count} is the number of rows
    AS_TEXT: ("info", "numbers, dates and true/false are read as text (rows: {count})"),
    MOJIBAKE: (
        "warn",
        "texts look like UTF-8 that was read in another encoding, such as 'Ã©' instead of 'é' (rows: {count}); if so, "
        "repair the file, because the model would learn the wrong characters",
    ),
    NO_SPLIT: (
        "info",
        "rows without a split are used as train rows or, in a validation file, as validation rows (rows: {count})",
    ),
    MESSAGES_LEFT_OUT: (
        "warn",
        "messages that cannot be used for training, such as tool calls without text or messages after the last answer, "
        "are left out, and the rest of the conversation is used (conversations: {count})",
    ),
    NO_ANSWER: (
        "warn",
        "conversations in which no message with the role assistant contains text are left out (conversations: {count})",
    ),
    ROLES_RENAMED: (
        "info",
        "the roles human and gpt (or bot, ai, model) are read as user and assistant (conversations: {count})",
    ),
    UNREADABLE_PARTS: (
        "warn",
        "conversations with images, audio or files, which cannot be read, are left out (conversations: {count})",
    ),
}

_OF_ONE = {  # note -> sentence for a single row
    AS_TEXT: "1 row has a number, a date or true/false, which is read as text",
    MOJIBAKE: (
        "1 row has a text that looks like UTF-8 that was read in another encoding, such as 'Ã©' instead of 'é'; if so, "
        "repair the file"
    ),
    NO_SPLIT: "1 row has no split; it is used as a train row or, in a validation file, as a validation row",
    MESSAGES_LEFT_OUT: (
        "1 conversation has messages that cannot be used for training, such as tool calls without text or messages "
        "after the last answer; these messages are left out, and the rest is used"
    ),
    NO_ANSWER: "1 conversation is left out, because no message with the role assistant contains text",
    ROLES_RENAMED: "1 conversation has roles such as human and gpt, which are read as user and assistant",
    UNREADABLE_PARTS: "1 conversation is left out, because it has images, audio or files, which cannot be read",
}


def sentence(note: str, count: int) -> str:
    """Return the sentence that reports a note that applies to `count` rows."""
    return _OF_ONE[note] if count == 1 else MESSAGES[note][1].format(count=f"{count:,}")
