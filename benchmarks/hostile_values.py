"""Changes JSON values at random, so that they have a wrong type, size or form. Equal seeds produce equal values."""

from __future__ import annotations

import copy
import json
import random
from typing import Any

HUGE = 10**400
MOST_CHARACTERS = 2**24  # the largest growth by one repetition; otherwise, repeated repetitions could fill the memory
NUMBERS = (
    0, -1, 1, 2, 3, 255, 65_536, 2**31 - 1, 2**31, 2**32, 2**53 + 1, 2**63 - 1, 2**63, -(2**63) - 1, 2**64, HUGE,
    0.0, -0.0, 0.5, 1e-300, 5e-324, 1e300, -1e308, float("nan"), float("inf"), float("-inf"),
)  # fmt: skip
TEXTS = (
    "",
    " ",
    "a",
    "\x00",
    "a\x00b",
    "\ud800",
    "\udfff\ud800",
    "\ufffe",
    "\u202eabc",
    "e\u0301" * 50,
    "\U0001f468\u200d\U0001f469" * 9,
    "\r\nX: y",
    "\x1b[31m",
    "<script>",
    "../../etc/passwd",
    "..%2f",
    "%00",
    "%",
    "${jndi:x}",
    "{{7*7}}",
    "'; DROP TABLE jobs;--",
    "null",
    "true",
    "NaN",
    "-1",
    "1e400",
    "9" * 5000,
    "(a+)+$",
    "a" * 70_000,
    "\u00e9" * 3000,
    "name:0",
    "name@",
    ":",
    "@sha256:" + "0" * 64,
    "data:text/plain;base64,AAAA",
    "http://169.254.169.254/",
    "file:///etc/passwd",
    "__proto__",
    "constructor",
    "type",
)
NAMES = ("", "model", "input", "prompt", "type", "stream", "n", "__class__", "\x00", "\ud800", "a" * 300)
DAMAGE = (
    b"",
    b"\x00",
    b"\xff\xfe",
    b",",
    b"}",
    b"]",
    b'"',
    b"\\",
    b"\\ud800",
    b"NaN",
    b"1e999",
    b"-",
    b"[" * 3000,
    b'{"a":' * 500,
)


def value(draw: random.Random, depth: int = 0) -> Any:
    """Draw an arbitrary value: a number, a text, a constant, or a small list or object."""
    kind = draw.randrange(8 if depth < 3 else 5)
    if kind < 2:
        return draw.choice(NUMBERS)
    if kind < 4:
        return draw.choice(TEXTS)
    if kind == 4:
        return draw.choice((None, True, False))
    if kind == 5:
        return [value(draw, depth + 1) for _ in range(draw.choice((0, 1, 2, 3, 40)))]
    if kind == 6:
        return {draw.choice(NAMES): value(draw, depth + 1) for _ in range(draw.randrange(4))}
    return nested(draw.choice((5, 33, 200)))


def nested(depth: int) -> Any:
    """Return the number 1 inside `depth` nested lists."""
    inner: Any = 1
    for _ in range(depth):
        inner = [inner]
    return inner


def places(whole: Any) -> list[tuple[Any, Any]]:
    """Return each item of all objects and lists in a value, as a pair of the container and the item's key or index."""
    spots: list[tuple[Any, Any]] = []
    waiting = [whole]
    while waiting:
        container = waiting.pop()
        keys = list(container) if isinstance(container, dict) else range(len(container))
        for key in keys:
            spots.append((container, key))
            if isinstance(container[key], dict | list):
                waiting.append(container[key])
    return spots


def changed(whole: Any, draw: random.Random, times: int = 1) -> Any:
    """Return a copy of an object or list, with `times` random changes. Other values, and empty ones, are replaced."""
    whole = copy.deepcopy(whole)
    for _ in range(times):
        spots = places(whole) if isinstance(whole, dict | list) else []
        if not spots or draw.random() < 0.02:
            whole = value(draw)
            continue
        container, key = draw.choice(spots)
        _change(container, key, draw)
    return whole


def _change(container: Any, key: Any, draw: random.Random) -> None:
    kind, old = draw.randrange(10), container[key]
    if kind == 0:
        del container[key]
    elif kind == 1 and isinstance(container, dict):
        container[draw.choice(NAMES)] = value(draw)
    elif kind == 1:
        container.insert(key, value(draw))
    elif kind == 2 and isinstance(container, list):
        # Separate copies: a later change of one shared object would be a change of all.
        container.extend(copy.deepcopy(old) for _ in range(_bounded(old, draw.choice((1, 10, 300)))))
    elif kind == 3 and isinstance(old, int | float) and not isinstance(old, bool):
        container[key] = draw.choice(
            (-old, old + 1, old - 1, old * 1000, str(old), [old], old / 2 if abs(old) < 1e9 else 0.5)
        )
    elif kind == 3 and isinstance(old, str):
        container[key] = draw.choice(
            (old + old, old.upper(), old[:-1], " " + old, old + "\x00", [old], old * _bounded(old, 200))
        )
    elif kind == 4:
        container[key] = draw.choice(([old], {"a": old}, [old, old]))
    else:
        container[key] = value(draw)


def _bounded(repeated: Any, times: int) -> int:
    """Return how often a value may be repeated, at most `times`."""
    return max(1, min(times, MOST_CHARACTERS // len(repr(repeated))))


def encoded(whole: Any, draw: random.Random) -> bytes:
    """Encode a value as JSON. The result may be invalid: it may contain repeated names, NaN or damaged text."""
    text = json.dumps(whole, ensure_ascii=draw.random() < 0.8).encode("utf-8", "surrogatepass")
    chance = draw.random()
    if chance < 0.03:
        at = draw.randrange(len(text) + 1)
        text = text[:at] + draw.choice(DAMAGE) + text[at + draw.randrange(3) :]
    elif chance < 0.05 and text.startswith(b"{") and len(text) > 2:
        text = text[:-1] + b"," + text[1:]
    elif chance < 0.06:
        text = text.decode("utf-8", "surrogatepass").encode(draw.choice(("utf-16", "utf-32", "utf-7")), "replace")
    return text


def damaged(content: bytes, draw: random.Random, tokens: tuple[bytes, ...] = DAMAGE) -> bytes:
    """Flip, remove or repeat some bytes, or insert some of the `tokens`."""
    changed_bytes = bytearray(content)
    for _ in range(draw.choice((1, 1, 2, 4))):
        at = draw.randrange(len(changed_bytes) + 1)
        kind = draw.randrange(6)
        if kind == 0 and changed_bytes:
            changed_bytes[min(at, len(changed_bytes) - 1)] ^= 1 << draw.randrange(8)
        elif kind == 1:
            del changed_bytes[at : at + draw.choice((1, 2, 8, 64))]
        elif kind == 2:
            changed_bytes[at:at] = changed_bytes[at : at + draw.choice((1, 8, 64))] * draw.choice((1, 3, 50))
        elif kind == 3 and draw.random() < 0.3:
            del changed_bytes[at:]
        else:
            changed_bytes[at:at] = draw.choice(tokens)
    return bytes(changed_bytes)
