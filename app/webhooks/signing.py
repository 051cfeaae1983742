"""Signs events according to Standard Webhooks, so that OpenAI's clients can verify them.

https://github.com/standard-webhooks/standard-webhooks/blob/main/spec/standard-webhooks.md
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import secrets
from collections.abc import Iterable

PREFIX = "whsec_"
SECRET_BYTES = 32
SHOWN = 4  # characters at the end of a secret that its hint shows


def new_secret() -> str:
    """Return a new secret, in the format that clients receive."""
    return PREFIX + base64.b64encode(secrets.token_bytes(SECRET_BYTES)).decode()


def hint(secret: str) -> str:
    """Return a hint that identifies a secret to its holder.

    The rest of the secret cannot be derived from the hint.
    """
    return f"{PREFIX}…{secret.rstrip('=')[-SHOWN:]}"


def headers(secrets_: Iterable[str], event_id: str, timestamp: int, body: bytes) -> dict[str, str]:
    """Return the headers that identify and sign a request, with one signature for each secret.

    `timestamp` is in seconds since the epoch. Receivers refuse signatures that are older than five minutes, so each
    attempt needs a new one.
    """
    signatures = [f"v1,{_sign(secret, event_id, timestamp, body)}" for secret in secrets_]
    return {
        "webhook-id": event_id,
        "webhook-timestamp": str(timestamp),
        "webhook-signature": " ".join(signatures),
    }


def _sign(secret: str, event_id: str, timestamp: int, body: bytes) -> str:
    key = base64.b64decode(secret.removeprefix(PREFIX))
    message = f"{event_id}.{timestamp}.".encode() + body
    return base64.b64encode(hmac.new(key, message, hashlib.sha256).digest()).decode()
