"""Open requests get exactly one final message, regardless of how they are closed."""

from __future__ import annotations

from dataclasses import dataclass
from types import SimpleNamespace

import pytest

from app.engine import requests
from app.engine.reply import Counters
from app.engine.requests import Member, OpenRequests
from app.wire import engine as wire
from tests.engine import builders as b

MEMBER = Member("d", Counters())


@dataclass(eq=False)
class Request:
    """A minimal open request."""

    id: str
    peer: bytes = b.PEER
    deadline: float | None = None
    request_id: str = ""
    closed: bool = False
    member: Member = MEMBER


@pytest.fixture
def replies() -> b.Replies:
    return b.Replies()


@pytest.fixture
def open_requests(replies: b.Replies) -> OpenRequests[Request]:
    MEMBER.counters.clear()
    return OpenRequests(replies)


def test_a_request_is_open_until_it_is_closed(open_requests: OpenRequests[Request], replies: b.Replies) -> None:
    request = Request("x")
    open_requests.add(request)
    assert open_requests.get(b.PEER, "x") is request and open_requests.get(b"other", "x") is None
    assert len(open_requests) == 1 and open_requests.values() == [request]
    open_requests.close(request)
    assert request.closed and len(open_requests) == 0 and open_requests.get(b.PEER, "x") is None
    assert not replies.all


def test_a_second_request_with_an_open_id_is_refused(open_requests: OpenRequests[Request], replies: b.Replies) -> None:
    message = wire.Score("x", "d", "local", [[1]])
    assert not open_requests.refuse(b.PEER, message, None, MEMBER)
    open_requests.add(Request("x"))
    assert not open_requests.refuse(b"other", message, None, MEMBER)
    assert open_requests.refuse(b.PEER, message, None, MEMBER)
    assert replies.final("x").code == "invalid_request" and "already open" in replies.final("x").message
    assert len(open_requests) == 1
    assert open_requests.refuse(b"other", wire.Score("y", "d", "local"), ("some_code", "some text"), MEMBER)
    assert replies.final("y") == wire.Failed("y", "some_code", "some text")


def test_requests_expire_at_their_deadline(
    open_requests: OpenRequests[Request], replies: b.Replies, monkeypatch: pytest.MonkeyPatch
) -> None:
    now = [1000.0]
    monkeypatch.setattr(requests, "time", SimpleNamespace(monotonic=lambda: now[0]))
    late, later, patient = Request("late", deadline=1001.0), Request("later", deadline=1002.0), Request("patient")
    for request in (later, late, patient):
        open_requests.add(request)
    assert open_requests.expire() == []
    now[0] = 1001.0
    assert open_requests.expire() == [late] and late.closed
    assert replies.final("late").code == "deadline_exceeded"
    open_requests.close(later)
    now[0] = 9999.0
    assert open_requests.expire() == [] and open_requests.values() == [patient]


def test_requests_of_peers_that_are_gone_are_closed_without_a_message(
    open_requests: OpenRequests[Request], replies: b.Replies
) -> None:
    mine, orphan = Request("x"), Request("x", peer=b"gone")
    open_requests.add(mine)
    open_requests.add(orphan)
    assert open_requests.forget({b"gone"}.__contains__) == [orphan]
    assert orphan.closed and open_requests.values() == [mine]
    assert not replies.all and MEMBER.counters["aborted"] == 1


def test_fail_all_closes_every_request_even_if_an_answer_cannot_be_sent(
    open_requests: OpenRequests[Request], replies: b.Replies
) -> None:
    rows = [Request(str(i)) for i in range(3)]
    for request in rows:
        open_requests.add(request)
    open_requests.fail_all("unavailable", "stopping")
    assert [replies.final(str(i)).code for i in range(3)] == ["unavailable"] * 3

    def breaks(peer: bytes, message: wire.FromEngine) -> None:
        raise MemoryError

    rows = [Request(str(i)) for i in range(3)]
    for request in rows:
        open_requests.add(request)
    open_requests.reply = breaks
    with pytest.raises(MemoryError):
        open_requests.fail_all("unavailable", "stopping")
    assert len(open_requests) == 0 and all(request.closed for request in rows)
