"""Determines the cause of an error raised by the tokenizers library."""

from __future__ import annotations

from collections.abc import Iterable

from app.errors import InvalidRequest


def panicked(error: BaseException) -> bool:
    """Whether the error is a panic in the library's Rust code. The class of such errors cannot be imported."""
    return type(error).__name__ == "PanicException"


def find_surrogate(inputs: Iterable[str | tuple[str, str]]) -> UnicodeEncodeError | None:
    """Return the error for the first text that contains a lone surrogate, or None if there is no such text."""
    for item in inputs:
        for text in (item,) if isinstance(item, str) else item:
            try:
                text.encode()
            except UnicodeEncodeError as error:
                return error
    return None


def surrogate(error: UnicodeEncodeError) -> InvalidRequest:
    """Return the error to raise for a text with a lone surrogate."""
    code = ord(error.object[error.start])
    return InvalidRequest(
        f"the text is not valid Unicode: it contains a lone surrogate, U+{code:04X}; send well-formed UTF-8",
        code="invalid_text",
    )
