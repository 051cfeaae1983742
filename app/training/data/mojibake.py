"""Recognises mojibake: UTF-8 that was decoded as cp1252 or Latin-1, such as 'Ã©' for 'é'."""

from __future__ import annotations

import re

# A continuation byte of UTF-8 (0x80 to 0xbf), as decoded by Latin-1 and by cp1252.
_CP1252 = bytes(byte for byte in range(0x80, 0xA0) if byte not in b"\x81\x8d\x8f\x90\x9d").decode("cp1252")
_NEXT = f"[\u0080-\u00bf{_CP1252}]"
_NO_MARK = f"(?![‘’“”–—…«»]){_NEXT}"  # excludes marks that may follow a capital letter at the end of a word
# Sequences for letters with accents, for Cyrillic letters, for punctuation and kana, and for emoji
_SEQUENCES = re.compile(f"[ÂÃÅÐÑ]{_NO_MARK}|[âã]{_NEXT}{{2}}|ð{_NEXT}{{3}}")
_FIRST = frozenset("ÂÃÅÐÑâãð")


def has_mojibake(text: str) -> bool:
    """Whether a text contains a character sequence that is typical of mojibake and rare otherwise."""
    return not text.isascii() and not _FIRST.isdisjoint(text) and _SEQUENCES.search(text) is not None
