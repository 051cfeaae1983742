"""JSON replies, headers for a model's answer, and downloads."""

from __future__ import annotations

import random
from collections.abc import Iterable, Iterator
from typing import Any
from urllib.parse import quote

import msgspec
from starlette.responses import Response, StreamingResponse

from app import strict_json
from app.wire.engine import Timing

_encode = msgspec.json.Encoder().encode


def new_id(prefix: str) -> str:
    """Return an id for a request or a reply, with 128 random bits. Ids need not be unpredictable."""
    return f"{prefix}-{random.getrandbits(128):032x}"


class JsonReply(Response):
    """A reply whose body is a msgspec struct or plain data."""

    media_type = "application/json"

    def __init__(self, value: object, headers: dict[str, str] | None = None, status_code: int = 200) -> None:
        self.status_code, self.background = status_code, None
        self.body = encode(value)
        self.raw_headers = [  # in place of Starlette's `init_headers`, which takes several times as long
            (b"content-type", b"application/json"),
            (b"content-length", b"%d" % len(self.body)),
            *((name.encode("latin-1"), value.encode("latin-1")) for name, value in (headers or {}).items()),
        ]


def encode(value: object) -> bytes:
    """Encode a value as JSON.

    Database rows written by early releases may contain lone surrogates, which cannot be encoded and are replaced. If an
    object with an `id` contains one, the object gets `"damaged": true`, so that a list with damaged rows remains
    readable and shows which rows are damaged.
    """
    try:
        return _encode(value)
    except UnicodeEncodeError:
        return _encode(_mend(msgspec.to_builtins(value)))


def _mend(value: Any) -> Any:
    """Repair a value, and mark damaged objects that have an `id`."""
    if isinstance(value, list):
        return [_mend(inner) for inner in value]
    if not isinstance(value, dict):
        return strict_json.mend(value)
    mended = {strict_json.mend(str(name)): _mend(inner) for name, inner in value.items()}
    return mended | {"damaged": True} if "id" in value and mended != value else mended


def encode_each(items: Iterable[object]) -> list[msgspec.Raw]:
    """Encode items one by one: msgspec does not release the GIL, so one large call would block the event loop."""
    return [msgspec.Raw(_encode(item)) for item in items]


def answer_headers(
    ref: str, prompt_tokens: int, timing: Timing, generated_tokens: int | None = None, *, ended: bool = True
) -> dict[str, str]:
    """Return an answer's headers: version, token counts, and times in ms (the inference time only if `ended`)."""
    headers = {"x-model-version": ref, "x-prompt-tokens": str(prompt_tokens)}
    headers["x-queue-time"] = f"{timing.queue_ms:.3f}"
    if ended:
        headers["x-inference-time"] = f"{timing.inference_ms:.3f}"
    if generated_tokens is not None:
        headers["x-generated-tokens"] = str(generated_tokens)
    return headers


def download(pieces: Iterator[bytes], filename: str, size: int, media: str = "application/octet-stream") -> Response:
    """A reply that browsers save instead of displaying. Displayed HTML would run in this service's origin."""
    plain = "".join(c if c.isascii() and (c.isalnum() or c in "._- ") else "_" for c in filename)
    headers = {
        "content-length": str(size),
        "content-disposition": f"attachment; filename=\"{plain}\"; filename*=UTF-8''{quote(filename, safe='')}",
    }
    return StreamingResponse(pieces, headers=headers, media_type=media)
