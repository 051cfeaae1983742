"""Truncates or rejects input that is longer than a version's context."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from app.errors import InvalidRequest
from app.inference.conversations import Conversation
from app.inference.versions import ResolvedVersion
from app.wording import quantity


@dataclass(frozen=True, slots=True, kw_only=True)
class LengthPolicy:
    """Specifies how overlong input is handled.

    If `truncate` is None, the input is rejected; if it is -1, the input is truncated to the version's context length;
    if it is n, the input is truncated to n tokens. `side` is the end that is cut off. `continuation` is the number of
    tokens to generate; if they share the context with the prompt, a `truncate` of -1 leaves room for them. If `special`
    is true, the tokenizer's template is added around each text. The template is never truncated. `remedy` names the
    request field that enables truncation, for use in error messages.
    """

    truncate: int | None = None
    side: str = "right"
    continuation: int = 0
    special: bool = True
    remedy: str = "truncate_prompt_tokens (-1 truncates to that length)"


def cutter(version: ResolvedVersion, policy: LengthPolicy, field: str) -> Callable[[list[Any], str], list[Any]]:
    """Return a function that takes a sequence and its place in the request, and truncates or rejects the sequence."""
    context, truncate = version.config.context_length, policy.truncate
    if truncate is not None and truncate > context:
        raise InvalidRequest(
            f"truncate_prompt_tokens is {truncate}, but {version.ref} accepts at most {context} tokens; "
            "-1 truncates to that length",
            param="truncate_prompt_tokens",
        )
    if truncate == 0:
        raise InvalidRequest(
            "truncate_prompt_tokens is 0, which would remove the whole input; it must be 1 or more, or -1",
            param="truncate_prompt_tokens",
        )
    if truncate is None:

        def refuse(sequence: list[Any], place: str) -> list[Any]:
            if len(sequence) > context:
                raise _too_long(f"{place} has {quantity(len(sequence), 'token')}", version, field, policy)
            return sequence

        return refuse
    size = size_for(version, policy)
    if policy.side == "left":
        return lambda sequence, _: sequence[max(0, len(sequence) - size) :]
    return lambda sequence, _: sequence[:size]


def size_for(version: ResolvedVersion, policy: LengthPolicy) -> int:
    """Return the number of tokens to which `policy` truncates input."""
    if policy.truncate is not None and policy.truncate >= 0:
        return policy.truncate
    shared = 0 if version.config.position_limit is None else policy.continuation
    return max(1, version.config.context_length - shared)


def check_characters(items: Sequence[object], version: ResolvedVersion, policy: LengthPolicy, field: str) -> None:
    """Reject a text that would be too long even if each of its tokens had the maximum length.

    Called before tokenization.
    """
    longest = None if version.tokenizer is None else version.tokenizer.longest
    if longest is None:
        return
    most = version.config.context_length * longest
    for i, item in enumerate(items):
        if isinstance(item, str | Conversation) and len(item) > most:
            place = field if len(items) == 1 else f"{field}[{i}]"
            raise _too_long(f"{place} has at least {-(-len(item) // longest)} tokens", version, field, policy)


def _too_long(finding: str, version: ResolvedVersion, field: str, policy: LengthPolicy) -> InvalidRequest:
    return InvalidRequest(
        f"{finding}, but {version.ref} accepts at most {version.config.context_length}; shorten it, or send "
        f"{policy.remedy}",
        code="context_length_exceeded",
        param=field,
    )
