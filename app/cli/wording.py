"""Rewrites messages in the command line's terms: `--text-column` for `columns.text`, `ostinato models` for a route."""

from __future__ import annotations

import re

from app.wire.training_options import Columns, TrainingOptions

_ROUTES = {
    "POST /v1/files": "`ostinato files upload`",
    "GET /v1/files": "`ostinato files`",
    "GET /v1/models": "`ostinato models`",
    "GET /v1/registry/models": "`ostinato models`",
    "GET /v1/fine_tuning/jobs": "`ostinato jobs`",
}
_PHRASES = {  # whole phrases in terms of the HTTP API -> the same in terms of the command line
    "training.encoding; on the command line --encoding": "--encoding",
    "training.encoding (--encoding)": "--encoding",
    "`columns` in the request says what": "--text-column, --label-column and so on say what",
    "send truncate_prompt_tokens (-1 cuts to that length)": "use --truncate, which cuts to that length",
    "send the text as `prompt` to POST /v1/completions": "use `ostinato generate`",
    "set the task (task)": "set the task (--task)",
}
_FIELDS = {
    **{f"columns.{name}": f"--{name.replace('_', '-')}-column" for name in Columns.__struct_fields__},
    **{f"training.{name}": f"--{name.replace('_', '-')}" for name in TrainingOptions.__struct_fields__},
    "publish.name": "--name",
    "publish.alias": "--alias",
    "validation_file": "--validation-file",
    "validation_split": "--validation-split",
    # fields without a prefix: only names with an underscore, which cannot be ordinary words of a sentence
    **{name: f"--{name.replace('_', '-')}" for name in TrainingOptions.__struct_fields__ if "_" in name},
    **{name: f"--{name.replace('_', '-')}" for name in ("max_tokens", "top_k", "top_p", "min_p", "repetition_penalty")},
}
_ANY_FIELD = re.compile(
    r"(?<![\w'\"`./-])(" + "|".join(map(re.escape, sorted(_FIELDS, key=len, reverse=True))) + r")(?![\w'\"`]|\.\w)"
)
_ANY_ROUTE = re.compile("`?(" + "|".join(map(re.escape, sorted(_ROUTES, key=len, reverse=True))) + r")(?![/\w])`?")


def option_for(field: str) -> str | None:
    """The option that sets a field of a request; None for a field that has no option of its own."""
    return _FIELDS.get(field)


def in_own_words(message: str) -> str:
    """Return `message` with the fields of the request replaced by options, and routes replaced by commands.

    Quoted text comes from the user and is not changed.
    """
    message = message.removeprefix("training_file: ")
    for phrase, own in _PHRASES.items():
        message = message.replace(phrase, own)
    message = _ANY_ROUTE.sub(lambda match: _ROUTES[match[1]], message)
    return _ANY_FIELD.sub(lambda match: _FIELDS[match[1]], message)
