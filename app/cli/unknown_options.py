"""Suggests what to write instead of an option that a command does not have."""

from __future__ import annotations

from typing import Any

from app.errors import did_you_mean

MODELS = ("model", "reference", "references")  # the names of the arguments that are references to versions


def suggest(option: str, context: Any) -> str:
    """Return the end of an error message about an unknown option, or "" if there is nothing to suggest.

    `context` is Click's context of the command. A short option has the same meaning as in the commands that have it.
    """
    names = [name for parameter in context.command.params for name in (*parameter.opts, *parameter.secondary_opts)]
    name = _long_form(option, context.find_root().command).removeprefix("--").replace("-", "_")
    synonyms = (*MODELS, *(("name",) if " models " in context.command_path else ())) if name == "model" else (name,)
    for argument in synonyms:
        if argument in names:
            return f"; {argument} is a positional argument, so give only its value"
    flags = [name for name in names if name.startswith("--")]  # a single letter is similar to any other
    return did_you_mean(option, flags)


def _long_form(option: str, command: Any) -> str:
    """Return the long form that a short option has in any command, or `option` itself if no command has the option."""
    for inner in getattr(command, "commands", {}).values():
        if (long := _long_form(option, inner)) != option:
            return long
    for parameter in command.params:
        if option in parameter.opts:
            return str(max(parameter.opts, key=len))
    return option
