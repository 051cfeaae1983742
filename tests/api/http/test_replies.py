"""JSON replies with rows that cannot be encoded."""

from __future__ import annotations

import json

import msgspec

from app.api.http.replies import JsonReply


class Thing(msgspec.Struct):
    """An object in a list."""

    id: str
    labels: list[str]


def test_a_list_survives_a_damaged_object_and_names_it() -> None:
    reply = JsonReply({"data": [Thing("a:1", ["good"]), Thing("a:2", ["\ud800!"])]})
    assert json.loads(bytes(reply.body)) == {
        "data": [{"id": "a:1", "labels": ["good"]}, {"id": "a:2", "labels": ["\ufffd!"], "damaged": True}]
    }
