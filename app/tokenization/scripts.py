"""Recognises writing systems without spaces between words."""

from __future__ import annotations

import re

# Thai, Lao, Tibetan, Myanmar, Khmer, Tai Le, Tai Lue, Tai Tham, Balinese, Javanese, kana, bopomofo, Han, Yi.
_UNSPACED = re.compile(
    "[\u0e01-\u0eff\u0f00-\u109f\u1780-\u17ff\u1950-\u19df\u1a20-\u1aaf\u1b00-\u1b7f\u3005-\u3007\u3021-\u312f"
    "\u31a0-\u31ff\u3400-\u4dbf\u4e00-\ua4cf\ua980-\ua9ff\uaa60-\uaa7f\uf900-\ufaff\uff66-\uff9f\U00020000-\U000323af]+"
)


def count_unspaced(text: str) -> int:
    """Count the characters in `text` that belong to scripts without spaces between words."""
    return 0 if text.isascii() else sum(map(len, _UNSPACED.findall(text)))
