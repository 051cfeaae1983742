"""Streaming detokenization: converts token ids to text as they arrive, a few at a time.

Text is released as soon as it is final. Incomplete characters, and text that may be the beginning of a stop string, are
held back. The cost of a push depends only on the number of new tokens, not on the length of the previous text.
"""

from __future__ import annotations

import codecs
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Protocol

from app.tokenization.tokenizer import Tokenizer

WINDOW = 16  # maximum number of tokens held back because they have no text yet; a character has at most four bytes


@dataclass(frozen=True, slots=True)
class Delta:
    """The new text, and the stop string that ended the stream, if any."""

    text: str
    finished_by_stop: str | None = None


class TextStream:
    """Converts the tokens of one continuation to text. All tokens after a stop string are ignored.

    A stop string completed by one of the first `min_tokens` tokens is treated as ordinary text. With `include_stop`,
    the text includes the stop string that ends the stream. If the text begins with the character `lead`, this character
    is removed.
    """

    def __init__(
        self,
        tokenizer: Tokenizer,
        stop: tuple[str, ...] = (),
        include_stop: bool = False,
        min_tokens: int = 0,
        lead: str = "",
    ) -> None:
        self._decoder: _Decoder = _Window(tokenizer) if tokenizer.token_bytes is None else _Utf8(tokenizer)
        self._stops = [_Stop(text) for text in stop if text]
        self._include_stop = include_stop
        self._unstoppable = (
            min_tokens if self._stops else 0
        )  # number of upcoming tokens that cannot complete a stop string
        self._rest = ""
        self._lead = lead
        self._finished = False

    def push(self, ids: Iterable[int]) -> Delta:
        """Add new ids, and return the text that is now final."""
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
        """Return the remaining text. Call this after the last ids have been pushed.

        An incomplete character becomes U+FFFD, and the beginning of a stop string is released as text.
        """
        if self._finished:
            return ""
        delta = self._release(self._decoder.flush())
        rest, self._rest, self._finished = self._rest, "", True
        return delta.text if delta.finished_by_stop else delta.text + rest

    def _release(self, new: str) -> Delta:
        if self._lead and new:
            new, self._lead = new.removeprefix(self._lead), ""
        if not self._stops:
            return Delta(new)
        text = self._rest + new
        for end, character in enumerate(new, start=len(self._rest) + 1):
            # Advance every stop string with each character, even if another stop string is already complete: each has
            # its own state.
            complete = [stop for stop in self._stops if stop.advance(character)]
            if complete and not self._unstoppable:
                return self._finish(text, end, max((stop.text for stop in complete), key=len))
        cut = len(text) - max(stop.matched for stop in self._stops)
        self._rest = text[cut:]
        return Delta(text[:cut])

    def _finish(self, text: str, end: int, stop: str) -> Delta:
        self._finished, self._rest = True, ""
        return Delta(text[: end if self._include_stop else end - len(stop)], stop)


class Offsets:
    """Computes each token's offset in characters. All tokens that encode part of one character have the same offset."""

    def __init__(self, tokenizer: Tokenizer) -> None:
        self._tokenizer = tokenizer
        self._window = _Window(tokenizer) if tokenizer.token_bytes is None else None
        self._utf8 = codecs.getincrementaldecoder("utf-8")("replace")
        self._count = 0

    def push(self, id_: int) -> int:
        """Return the offset of the next token."""
        if self._window is not None:
            start, self._count = self._count, self._count + len(self._window.push([id_]))
            return start
        piece = self._tokenizer.join([id_])
        if not piece:
            return self._count
        self._count += len(self._utf8.decode(piece[:1]))
        pending, _ = self._utf8.getstate()
        # After the token's first byte, there is either an incomplete character, which is not counted yet, or a complete
        # character, which is counted already.
        start = self._count if pending else self._count - 1
        self._count += len(self._utf8.decode(piece[1:]))
        return start

    def end(self) -> None:
        """End the current text, even in the middle of a character, and begin a new one."""
        rest = self._utf8.decode(b"", final=True) if self._window is None else self._window.flush()
        self._count += len(rest)
        self._utf8.reset()
        if self._window is not None:
            self._window = _Window(self._tokenizer)


class _Stop:
    """The matching automaton for one stop string (Knuth, Morris and Pratt, 1977).

    `matched` is the length of the longest suffix of the text that is a prefix of the stop string.
    """

    def __init__(self, text: str) -> None:
        self.text = text
        self.matched = 0
        # At index i: the length of the longest proper prefix of text[: i + 1] that is also a suffix of text[: i + 1].
        self._shorter = [0] * len(text)
        for i in range(1, len(text)):
            self._shorter[i] = self._next(self._shorter[i - 1], text[i])

    def advance(self, character: str) -> bool:
        """Add the next character of the text. Return whether the character completes the stop string."""
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
    def push(self, ids: Iterable[int]) -> str:
        """Return the text that these tokens complete, which may be empty."""
        ...

    def flush(self) -> str:
        """Return the remaining text. An incomplete character becomes a replacement character."""
        ...


class _Utf8:
    """Detokenizer for tokenizers whose tokens represent bytes. Releases a character when its last byte arrives."""

    def __init__(self, tokenizer: Tokenizer) -> None:
        self._tokenizer = tokenizer
        self._utf8 = codecs.getincrementaldecoder("utf-8")("replace")

    def push(self, ids: Iterable[int]) -> str:
        return self._utf8.decode(self._tokenizer.join(ids))

    def flush(self) -> str:
        return self._utf8.decode(b"", final=True)


class _Window:
    """Detokenizer for imported tokenizers, whose token texts may depend on the previous token, as in WordPiece.

    Decodes the last released tokens again, with and without the new tokens. The difference is the new text.
    """

    def __init__(self, tokenizer: Tokenizer) -> None:
        self._tokenizer = tokenizer
        self._hidden = tokenizer.hidden_ids
        self._before: list[int] = []  # already released, but kept because the text of the next tokens depends on them
        self._new: list[int] = []

    def push(self, ids: Iterable[int]) -> str:
        text = ""
        for id_ in ids:
            if id_ not in self._hidden:  # hidden tokens have no text, and would be decoded again with every push
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
