"""Adapts messages to the command line by replacing fields with options and routes with commands."""

from __future__ import annotations

import re
from collections.abc import Collection

from app.wire.training_options import Columns, LoraOptions, TrainingOptions
from app.wording import quantity, type_in_words

_ROUTES = {
    "POST /v1/files": "`ostinato files upload`",
    "GET /v1/files": "`ostinato files`",
    "GET /v1/models": "`ostinato models`",
    "GET /v1/registry/models": "`ostinato models`",
    "GET /v1/fine_tuning/jobs": "`ostinato jobs`",
    "POST /v1/fine_tuning/jobs": "`ostinato train`",
    "GET /v1/evaluations": "`ostinato jobs`",
    "GET /v1/batches": "`ostinato batches`",
    "GET /v1/webhook_endpoints": "`ostinato webhooks`",
    "GET /v1/webhook_event_types": "`ostinato webhooks create --help`",
}
# Phrases about the HTTP API -> (option, phrase for commands with this option, phrase for commands without it).
_PHRASES = {
    ", or set training.encoding (--encoding) to its encoding": (
        "--encoding", ", or set --encoding to its encoding", ""
    ),
    "training.encoding (--encoding)": ("--encoding", "--encoding", "training.encoding"),
    "assign it a role in `columns`": (
        "--label-column", "assign it a role with --text-column, --label-column and so on", "assign it a role"
    ),
    "send truncate_prompt_tokens (-1 truncates to that length)": (
        "--truncate", "use --truncate, which shortens it to that length", "shorten it"
    ),
    "send the text as `prompt` to POST /v1/completions": (None, "use `ostinato generate`", ""),
    "send larger files in parts with POST /v1/uploads": (
        None, "OpenAI's Python package sends larger files in parts", ""
    ),
    "set task": ("--task", "set --task", "set the task"),
}  # fmt: skip
_QUERY_FIELDS = (
    "max_tokens", "top_k", "top_p", "min_p", "repetition_penalty", "abstain_below", "max_risk", "prediction_set",
)  # fmt: skip
_FIELDS = {
    **{f"columns.{name}": f"--{name.replace('_', '-')}-column" for name in Columns.__struct_fields__},
    **{f"training.{name}": f"--{name.replace('_', '-')}" for name in TrainingOptions.__struct_fields__},
    "training.lora": "--lora-r",
    "publish.name": "--name",
    "publish.alias": "--alias",
    "event_types": "--event",
    "event_type": "--event",
    "validation_file": "--validation-file",
    "validation_split": "--validation-split",
    # fields without a prefix: only names with an underscore, which cannot be ordinary words of a sentence
    **{f"training.lora.{name}": f"--lora-{name.replace('_', '-')}" for name in LoraOptions.__struct_fields__},
    **{name: f"--{name.replace('_', '-')}" for name in TrainingOptions.__struct_fields__ if "_" in name},
    **{name: f"--{name.replace('_', '-')}" for name in _QUERY_FIELDS},
}
_ANY_FIELD = re.compile(
    r"(?<![\w'\"`./-])(" + "|".join(map(re.escape, sorted(_FIELDS, key=len, reverse=True))) + r")(?![\w'\"`]|\.\w)"
)
_ANY_ROUTE = re.compile("`?(" + "|".join(map(re.escape, sorted(_ROUTES, key=len, reverse=True))) + r")(?![/\w])`?")


# The commands use only routes that exist, so this error is about an argument in the path, or an older service.
_NO_ROUTE = re.compile(r"there is no route '[^']*'.*", re.DOTALL)
_NO_ROUTE_HERE = (
    "the service does not know this request: a name or an id contains a character that is not allowed there, such as "
    "/, or the service and this command are of different releases"
)
# Conditions in msgspec's words, which are replaced by the phrases of `_condition` and `_length`.
_CONDITION = re.compile(r"expected (`(?:int|float)` (?:<=|>=|<|>) -?[\d.e+]*\d)")
_LENGTH = re.compile(r"expected `str` of length (<=|>=) (\d+)")
_BOUNDS = {"<=": "at most", ">=": "at least"}


def _condition(match: re.Match[str]) -> str:
    return f"must be {type_in_words(match[1])}"


def _length(match: re.Match[str]) -> str:
    return f"must have {_BOUNDS[match[1]]} {quantity(int(match[2]), 'character')}"


# Reasons for refusing a value in Pydantic's words -> phrase
_REASONS = (
    (re.compile(r"Input should be a valid (?:integer|int).*"), "must be an integer"),
    (re.compile(r"Input should be a valid number.*"), "must be a number"),
    (re.compile(r"Input should be a valid boolean.*"), "must be true or false"),
    (re.compile(r"Input should be greater than or equal to (\S+)"), r"must be at least \1"),
    (re.compile(r"Input should be less than or equal to (\S+)"), r"must be at most \1"),
    (re.compile(r"Input should be greater than (\S+)"), r"must be greater than \1"),
    (re.compile(r"Input should be less than (\S+)"), r"must be less than \1"),
    (re.compile(r"Input should be a finite number.*"), "must be a finite number"),
)
_INVALID = re.compile(r"Invalid value for '([^']+)': (Input should be .*)")


def usage_in_own_words(message: str) -> str:
    """Replace Pydantic's wording in a message about an invalid value of an option or argument."""
    match = _INVALID.fullmatch(message)
    if match is None:
        return message
    for pattern, phrase in _REASONS:
        if reason := pattern.fullmatch(match[2]):
            return f"{match[1]} {reason.expand(phrase)}"
    return message


def with_outcome(message: str, outcome: str) -> str:
    """Append `outcome`, such as "nothing was uploaded", as a clause or, after a question, as a sentence."""
    return f"{message} {outcome[:1].upper()}{outcome[1:]}" if message.endswith("?") else f"{message}; {outcome}"


def leading_option(message: str, field: str, options: Collection[str]) -> str:
    """Replace a field at the beginning of a message, such as `seed` or `stop[0]`, with its option.

    At the beginning of a message, even a name that is an ordinary word means the field.
    """
    option = f"--{re.sub(r'[^a-z_].*', '', field).replace('_', '-')}"
    rest = message.removeprefix(field)
    if option not in options or rest == message or not rest.startswith((" must ", ":")):
        return message
    return option + rest


def option_for(field: str, options: Collection[str] | None = None) -> str | None:
    """The option that sets a request field, or None for a field without an option.

    `options` are the options of the current command; None means the options of all commands.
    """
    option = _FIELDS.get(field)
    return option if options is None or option in options else None


def in_own_words(message: str, options: Collection[str] | None = None) -> str:
    """Return `message` with request fields replaced by options, and routes replaced by commands.

    `options` are the options of the current command; None means the options of all commands. Fields without such an
    option are left unchanged. Quoted text comes from the user and is left unchanged.
    """
    message = message.removeprefix("training_file: ").removeprefix("file: ")
    message = _NO_ROUTE.sub(_NO_ROUTE_HERE, message)
    message = _LENGTH.sub(_length, _CONDITION.sub(_condition, message))
    for phrase, (option, own, otherwise) in _PHRASES.items():
        fits = options is None or option is None or option in options
        message = message.replace(phrase, own if fits else otherwise)
    message = _ANY_ROUTE.sub(lambda match: _ROUTES[match[1]], message)
    return _ANY_FIELD.sub(lambda match: option_for(match[1], options) or match[1], message)
