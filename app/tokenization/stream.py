"""Token ids that come a few at a time → pieces of text. Knows tokens and stop strings; knows no request.

Text leaves as soon as it is certain: never half a character, never what may still become a stop string.
The work for a push is proportional to its new tokens, however long the text has grown.
"""

from __future__ import annotations

import codecs
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Protocol

from app.tokenization.tokenizer import Tokenizer

WINDOW = 16  # tokens that may show nothing yet; the longest character has four bytes


@dataclass(frozen=True, slots=True)
class Delta:
    """New text, and the stop string that ended the stream, if one did."""

    text: str
    finished_by_stop: str | None = None


class TextStream:
    """One continuation on its way out. After a stop string was met, everything further is ignored.

    A stop string whose last character comes with one of the first `min_tokens` tokens is text like any other.
    """

    def __init__(
        self, tokenizer: Tokenizer, stop: tuple[str, ...] = (), include_stop: bool = False, min_tokens: int = 0
    ) -> None:
        self._decoder: _Decoder = _Window(tokenizer) if tokenizer.token_bytes is None else _Utf8(tokenizer)
        self._stops = [_Stop(text) for text in stop if text]
        self._include_stop = include_stop
        self._unstoppable = min_tokens if self._stops else 0  # tokens for which that still holds
        self._held = ""
        self._finished = False

    def push(self, ids: Iterable[int]) -> Delta:
        """Take new ids; return the text that is now certain."""
        if self._finished:
            return Delta("")
        if not self._unstoppable:
            return self._release(self._decoder.push(ids))
        ids = list(ids)
        first, rest = ids[: self._unstoppable], ids[self._unstoppable :]
        before = self._release(self._decoder.push(first))
        self._unstoppable -= len(first)
        after = self._release(self._decoder.push(rest)) if rest else Delta("")
        return Delta(before.text + after.text, after.finished_by_stop)

    def flush(self) -> str:
        """The rest, at the end of the ids: half a character becomes U+FFFD, the beginning of a stop string is text."""
        if self._finished:
            return ""
        delta = self._release(self._decoder.flush())
        rest, self._held, self._finished = self._held, "", True
        return delta.text if delta.finished_by_stop else delta.text + rest

    def _release(self, new: str) -> Delta:
        if not self._stops:
            return Delta(new)
        text = self._held + new
        for end, character in enumerate(new, start=len(self._held) + 1):
            met = [stop for stop in self._stops if stop.advance(character)]
            if met and not self._unstoppable:
                return self._finish(text, end, max((stop.text for stop in met), key=len))
        cut = len(text) - max(stop.matched for stop in self._stops)
        self._held = text[cut:]
        return Delta(text[:cut])

    def _finish(self, text: str, end: int, stop: str) -> Delta:
        self._finished, self._held = True, ""
        return Delta(text[: end if self._include_stop else end - len(stop)], stop)


class Offsets:
    """Where each token's text begins, in characters of the whole. A part of a character begins where that does."""

    def __init__(self, tokenizer: Tokenizer) -> None:
        self._tokenizer = tokenizer
        self._window = _Window(tokenizer) if tokenizer.token_bytes is None else None
        self._utf8 = codecs.getincrementaldecoder("utf-8")("replace")
        self._count = 0

    def push(self, id_: int) -> int:
        if self._window is not None:
            begins, self._count = self._count, self._count + len(self._window.push([id_]))
            return begins
        piece = self._tokenizer.join([id_])
        if not piece:
            return self._count
        self._count += len(self._utf8.decode(piece[:1]))
        open_, _ = self._utf8.getstate()
        begins = self._count if open_ else self._count - 1  # its first byte ends a character, or is in an open one
        self._count += len(self._utf8.decode(piece[1:]))
        return begins

    def end(self) -> None:
        """A text ends here, though it be in the middle of a character, and another begins."""
        rest = self._utf8.decode(b"", final=True) if self._window is None else self._window.flush()
        self._count += len(rest)
        self._utf8.reset()
        if self._window is not None:
            self._window = _Window(self._tokenizer)


class _Stop:
    """One stop string as an automaton (Knuth, Morris and Pratt 1977).

    `matched` is the length of the longest end of the text that is a beginning of the stop string.
    """

    def __init__(self, text: str) -> None:
        self.text = text
        self.matched = 0
        self._shorter = [0] * len(text)  # by length - 1: the next shorter beginning that is also an end
        for i in range(1, len(text)):
            self._shorter[i] = self._next(self._shorter[i - 1], text[i])

    def advance(self, character: str) -> bool:
        """Whether the stop string is complete with this character."""
        self.matched = self._next(self.matched, character)
        complete = self.matched == len(self.text)
        if complete:
            self.matched = self._shorter[-1]
        return complete

    def _next(self, matched: int, character: str) -> int:
        while matched and self.text[matched] != character:
            matched = self._shorter[matched - 1]
        return matched + (self.text[matched] == character)


class _Decoder(Protocol):
    def push(self, ids: Iterable[int]) -> str: ...

    def flush(self) -> str: ...


class _Utf8:
    """For tokenizers whose tokens are bytes: a character leaves when its last byte is there."""

    def __init__(self, tokenizer: Tokenizer) -> None:
        self._tokenizer = tokenizer
        self._utf8 = codecs.getincrementaldecoder("utf-8")("replace")

    def push(self, ids: Iterable[int]) -> str:
        return self._utf8.decode(self._tokenizer.join(ids))

    def flush(self) -> str:
        return self._utf8.decode(b"", final=True)


class _Window:
    """For other people's tokenizers, where a token's text depends on the one before it (word pieces, say).

    The text of the last pushed tokens is decoded again together with the new ones; what is new is the difference.
    """

    def __init__(self, tokenizer: Tokenizer) -> None:
        self._tokenizer = tokenizer
        self._hidden = tokenizer.hidden_ids
        self._before: list[int] = []  # already shown, kept for their influence on what follows
        self._new: list[int] = []

    def push(self, ids: Iterable[int]) -> str:
        text = ""
        for id_ in ids:
            if id_ not in self._hidden:  # it would show nothing, and be decoded again with each that follows
                self._new.append(id_)
                text += self._show(final=len(self._new) >= WINDOW)
                del self._new[:-WINDOW]
        return text

    def flush(self) -> str:
        return self._show(final=True)

    def _show(self, final: bool) -> str:
        shown = self._tokenizer.decode(self._before)
        text = self._tokenizer.decode(self._before + self._new)
        if len(text) <= len(shown) or (text.endswith("\N{REPLACEMENT CHARACTER}") and not final):
            return ""
        self._before, self._new = self._new, []
        return text[len(shown) :]
