"""Secrets and signatures, checked with OpenAI's package, which implements the receiver's side."""

from __future__ import annotations

import json
import time

import openai
import pytest

from app.webhooks import events, signing

client = openai.OpenAI(api_key="none")
BODY = events.body("evt-1", "fine_tuning.job.succeeded", 12.0, "ftjob-1")


def test_the_openai_package_verifies_each_secret() -> None:
    old, new = signing.new_secret(), signing.new_secret()
    headers = signing.headers([new, old], "evt-1", int(time.time()), BODY)
    for secret in (old, new):
        event = client.webhooks.unwrap(BODY, headers, secret=secret)
        assert event.type == "fine_tuning.job.succeeded" and event.data.id == "ftjob-1"
    with pytest.raises(openai.InvalidWebhookSignatureError):
        client.webhooks.unwrap(BODY, headers, secret=signing.new_secret())
    with pytest.raises(openai.InvalidWebhookSignatureError):
        client.webhooks.unwrap(BODY.replace(b"ftjob-1", b"ftjob-2"), headers, secret=new)


@pytest.mark.parametrize(("age", "valid"), [(0, True), (290, True), (-290, True), (310, False), (-310, False)])
def test_signatures_expire_after_five_minutes(age: int, valid: bool) -> None:
    secret = signing.new_secret()
    headers = signing.headers([secret], "evt-1", int(time.time()) - age, BODY)
    if valid:
        client.webhooks.verify_signature(BODY, headers, secret=secret)
    else:
        with pytest.raises(openai.InvalidWebhookSignatureError):
            client.webhooks.verify_signature(BODY, headers, secret=secret)


def test_the_example_of_the_specification_is_reproduced() -> None:
    """The example is from the libraries of Standard Webhooks."""
    body = json.dumps({"test": 2432232314}, separators=(", ", ": ")).encode()
    headers = signing.headers(
        ["whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"], "msg_p5jXN8AQM9LWM0D4loKWxJek", 1614265330, body
    )
    assert body == b'{"test": 2432232314}'
    assert headers["webhook-signature"] == "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE="


def test_a_hint_shows_only_the_end_of_a_secret() -> None:
    secret = signing.new_secret()
    assert signing.hint(secret) == f"whsec_…{secret[:-1][-4:]}"
    assert len({signing.new_secret() for _ in range(100)}) == 100
