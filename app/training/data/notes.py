"""Notes about rows. Each note is reported once per file, in a sentence that states the number of rows or messages.

A note may have a detail, such as the role of a message: `other_roles:narrator`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from app.training.data.usual_names import quoted

AS_TEXT = "as_text"
MOJIBAKE = "mojibake"
NUL_CHARACTERS = "nul_characters"
LINE_ENDS = "line_ends_in_texts"
NO_SPLIT = "no_split"
BLANK_FLAGS = "blank_flags"
ONE_HOT_OBJECTS = "one_hot_objects"
MISSING_TEXTS = "missing_texts"
EMPTY_PAIRS = "empty_pairs"
EMPTY_PROMPTS = "empty_prompts"
SPLIT_OVERRULED = "split_overruled"
EQUAL_TIMES = "equal_times"
PLAIN_FEATURES = "plain_features"
EMPTY_ROWS = "empty_rows"
REJECTED = "rejected_rows"
NO_TEXT = "empty"
NO_COMPLETION = "no_completion"
TOOL_CALLS = "tool_calls"
TOOL_RESULTS = "tool_results"
WITHOUT_TEXT = "messages_without_text"
AFTER_LAST_ANSWER = "after_last_answer"
UNLEARNED = "unlearned_answers"
EMPTY_ANSWERS = "empty_answers"
OTHER_ROLES = "other_roles"
MESSAGE_KEYS = "message_keys"
JOINED_PARTS = "joined_parts"
MESSAGES_AS_TEXT = "messages_as_text"
ROLES_RENAMED = "roles_renamed"
ROLE_MARKERS = "role_markers"
NO_MESSAGES = "no_messages"
NO_ANSWER = "no_answer"
NO_LEARNED_ANSWER = "no_learned_answer"
ONLY_TOOL_CALLS = "only_tool_calls"
UNREADABLE_PARTS = "unreadable_parts"

EMPTY = frozenset((EMPTY_ROWS, NO_TEXT, NO_COMPLETION))
# The notes that explain why a row is not used
LEFT_OUT = EMPTY | {REJECTED, NO_MESSAGES, NO_ANSWER, NO_LEARNED_ANSWER, ONLY_TOOL_CALLS, UNREADABLE_PARTS}

PLACES = 5  # a note lists the places of at most this many rows that are left out

MESSAGES = {  # note -> (level, sentence for one row, sentence for several rows); {details} lists the details
    AS_TEXT: (
        "info",
        "1 row has a number, a date or true/false, which is read as text",
        "numbers, dates and true/false are read as text (rows: {count})",
    ),
    MOJIBAKE: (
        "warn",
        "1 row has a text that looks like UTF-8 that was read in another encoding, such as 'Ã©' instead of 'é'; if so, "
        "repair the file",
        "texts look like UTF-8 that was read in another encoding, such as 'Ã©' instead of 'é' (rows: {count}); if so, "
        "repair the file, because the model would learn the wrong characters",
    ),
    NUL_CHARACTERS: (
        "warn",
        "1 text contains a NUL character, which is kept; if an export caused it, repair the file",
        "{count} texts contain NUL characters, which are kept; if an export caused them, repair the file, because the "
        "model would learn them",
    ),
    LINE_ENDS: (
        "info",
        "1 text contains line ends, which are kept",
        "{count} texts contain line ends, which are kept; if requests will not contain line ends, replace those in the "
        "file with spaces",
    ),
    NO_SPLIT: (
        "info",
        "1 row has no split; it is used as a training row or, in a validation file, as a validation row",
        "rows without a split are used as training rows or, in a validation file, as validation rows (rows: {count})",
    ),
    MISSING_TEXTS: (
        "warn",
        "1 text looks like a missing value, but is read as a text: {details}; remove the row if it has no text",
        "{count} texts look like missing values, but are read as texts, such as {details}; remove these rows if they "
        "have no text",
    ),
    EMPTY_PAIRS: (
        "warn",
        "1 row has no text_pair; it is read as a pair with an empty second text",
        "{count} rows have no text_pair; they are read as pairs with an empty second text",
    ),
    EMPTY_PROMPTS: (
        "info",
        "1 row has no prompt; it is read as a row with an empty prompt",
        "{count} rows have no prompt; they are read as rows with an empty prompt",
    ),
    SPLIT_OVERRULED: (
        "warn",
        "1 row is marked as a training row, but is used as a validation row, because it is in the validation file",
        "{count} rows are marked as training rows, but are used as validation rows, because they are in the validation "
        "file",
    ),
    EQUAL_TIMES: (
        "info",
        "1 series has several steps with the same time; these steps keep their order in the file",
        "{count} series have several steps with the same time; these steps keep their order in the file",
    ),
    PLAIN_FEATURES: (
        "info",
        "the features of 1 row are a plain list of numbers, and each number is read as one step with one feature; "
        "write a single step with several features as [[1, 2]]",
        "the features of {count} rows are plain lists of numbers, and each number is read as one step with one "
        "feature; write a single step with several features as [[1, 2]]",
    ),
    BLANK_FLAGS: (
        "info",
        "1 row has empty cells in columns of zeros and ones, which are read as 0",
        "{count} rows have empty cells in columns of zeros and ones, which are read as 0",
    ),
    ONE_HOT_OBJECTS: (
        "info",
        "the label of 1 row is an object of zeros and ones; the keys with a one (or true) are its labels",
        "the labels of {count} rows are objects of zeros and ones; the keys with a one (or true) are the labels, and "
        "null is read as 0",
    ),
    EMPTY_ROWS: (
        "warn",
        "1 row is left out, because it is empty in all columns that are used",
        "{count} rows are left out, because they are empty in all columns that are used",
    ),
    REJECTED: (
        "warn",
        "1 row is left out, because its annotation was rejected or ignored (answer: reject or ignore, as in Prodigy)",
        "{count} rows are left out, because their annotations were rejected or ignored (answer: reject or ignore, as "
        "in Prodigy)",
    ),
    NO_TEXT: ("warn", "1 row without a text is left out", "{count} rows without a text are left out"),
    NO_COMPLETION: ("warn", "1 row without a completion is left out", "{count} rows without a completion are left out"),
    TOOL_CALLS: (
        "warn",
        "1 message calls tools (tool_calls or function_call); the call is left out, and the text of the message, if "
        "any, is used",
        "{count} messages call tools (tool_calls or function_call); the calls are left out, and the texts of these "
        "messages, if any, are used",
    ),
    TOOL_RESULTS: (
        "warn",
        "the text of 1 message with the role tool or function is used as context, and the model is "
        "trained on the answers after it; the call that led to this message is not used",
        "the texts of {count} messages with the role tool or function are used as context, and the model is "
        "trained on the answers after them; the calls that led to these messages are not used",
    ),
    WITHOUT_TEXT: (
        "warn",
        "1 message without text (content null) is left out, and the rest of its conversation is used",
        "{count} messages without text (content null) are left out, and the rest of their conversations is used",
    ),
    AFTER_LAST_ANSWER: (
        "warn",
        "1 message after the last answer of a conversation is left out, because no answer follows it",
        "{count} messages after the last answers of their conversations are left out, because no answer follows them",
    ),
    UNLEARNED: (
        "info",
        "1 answer has weight 0 and is used only as context",
        "{count} answers have weight 0 and are used only as context",
    ),
    EMPTY_ANSWERS: (
        "warn",
        "1 answer is empty, so the model learns to give empty answers; remove it, or set its weight to 0",
        "{count} answers are empty, so the model learns to give empty answers; remove them, or set their weight to 0",
    ),
    OTHER_ROLES: (
        "warn",
        "1 message with the role {details} is used as context; the model is trained only on messages of the assistant",
        "{count} messages with the roles {details} are used as context; the model is trained only on messages of the "
        "assistant",
    ),
    MESSAGE_KEYS: (
        "warn",
        "1 message has the key {details}, which is not read",
        "some messages have keys that are not read, such as {details} (occurrences: {count})",
    ),
    JOINED_PARTS: (
        "info",
        "1 message consists of several text parts, which are joined by line breaks",
        "{count} messages consist of several text parts, which are joined by line breaks",
    ),
    MESSAGES_AS_TEXT: (
        "info",
        "1 conversation is written as text, and is read as a list of messages",
        "conversations are written as text, and are read as lists of messages (rows: {count})",
    ),
    ROLES_RENAMED: (
        "info",
        "1 conversation has roles such as human and gpt, which are read as user and assistant",
        "roles such as human and gpt (or bot, ai, model) are read as user and assistant (conversations: {count})",
    ),
    ROLE_MARKERS: (
        "warn",
        "1 message has a line that begins like a message of another role, {details}; the model cannot distinguish it "
        "from a message of that role",
        "{count} messages have lines that begin like messages of other roles, such as {details}; the model cannot "
        "distinguish them from messages of these roles",
    ),
    NO_MESSAGES: (
        "warn",
        "1 conversation is left out, because its list of messages is empty",
        "{count} conversations are left out, because their lists of messages are empty",
    ),
    NO_ANSWER: (
        "warn",
        "1 conversation is left out, because no message with the role assistant contains text",
        "{count} conversations are left out, because no message with the role assistant contains text",
    ),
    NO_LEARNED_ANSWER: (
        "warn",
        "1 conversation is left out, because all of its answers have weight 0",
        "{count} conversations are left out, because all of their answers have weight 0",
    ),
    ONLY_TOOL_CALLS: (
        "warn",
        "1 conversation is left out, because the assistant only calls tools and never answers with text; add a message "
        "whose role is assistant and whose content is text",
        "{count} conversations are left out, because the assistant only calls tools and never answers with text; add a "
        "message whose role is assistant and whose content is text",
    ),
    UNREADABLE_PARTS: (
        "warn",
        "1 conversation is left out, because it has images, audio or files, which cannot be read",
        "{count} conversations are left out, because they have images, audio or files, which cannot be read",
    ),
}


@dataclass(slots=True)
class NotedRows:
    """Counts rows, and keeps the places of the first few."""

    count: int = 0
    places: list[str] = field(default_factory=list)

    def add(self, where: str) -> None:
        """Count the row at `where`."""
        self.count += 1
        if len(self.places) < PLACES:
            self.places.append(where)


def sentence(note: str, count: int, places: Sequence[str] = (), details: Sequence[str] = ()) -> str:
    """Return the sentence for a note that applies `count` times.

    If several rows are left out, the sentence ends with `places`, the places of the first of these rows. `details` are
    the details of the note.
    """
    _, one, many = MESSAGES[note]
    text = (one if count == 1 else many).format(count=f"{count:,}", details=quoted(details))
    if note not in LEFT_OUT or count == 1:
        return text
    return f"{text} ({listed_places(places, count)})"


def listed_places(places: Sequence[str], count: int) -> str:
    """List the places of the first few of `count` rows: "line 3, line 5, …"."""
    return ", ".join(places) + (", …" if count > len(places) else "")
