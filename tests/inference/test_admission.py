from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.errors import InvalidRequest, Overloaded
from app.inference.admission import LONGEST_RETRY, Admission, Ticket
from app.telemetry import num_requests_running, num_requests_waiting

STEPS = st.lists(
    st.tuples(st.sampled_from(["admit", "weigh", "start", "close"]), st.integers(0, 9), st.integers(0, 40))
)


@given(STEPS)
def test_bounds_hold_and_everything_is_given_back(steps: list[tuple[str, int, int]]) -> None:
    admission = Admission(10, 100)
    tickets: list[Ticket] = []
    for verb, which, tokens in steps:
        if verb == "admit":
            try:
                tickets.append(admission.admit("m", 1 + which % 3, tokens))
            except Overloaded as refused:
                assert refused.retry_after is not None and 1 <= refused.retry_after <= LONGEST_RETRY
                assert admission.requests + 1 + which % 3 > 10 or admission.tokens + tokens > 100
        elif tickets and verb == "weigh":
            try:
                tickets[which % len(tickets)].weigh(tokens)
            except Overloaded:
                assert admission.tokens + tokens > 100
        elif tickets and verb == "start":
            tickets[which % len(tickets)].started()
        elif tickets:
            tickets.pop(which % len(tickets)).close()
        assert 0 <= admission.requests <= 10 and 0 <= admission.tokens <= 100
    for ticket in tickets:
        ticket.close()
    assert (admission.requests, admission.tokens) == (0, 0)


def test_a_request_that_has_started_gives_its_room_back() -> None:
    admission = Admission(2, 100)
    ticket = admission.admit("m", 2, 10)
    with pytest.raises(Overloaded):
        admission.admit("m", 1, 1)
    ticket.started()
    assert (admission.requests, admission.tokens) == (1, 5)
    admission.admit("m", 1, 1).close()
    ticket.close()


def test_a_request_that_was_sent_runs_and_keeps_its_room() -> None:
    def gauges() -> tuple[float, float]:
        waiting, running = num_requests_waiting.labels("sent"), num_requests_running.labels("sent")
        return waiting._value.get(), running._value.get()

    admission = Admission(2, 100)
    ticket = admission.admit("sent", 2, 10)
    assert gauges() == (2, 0)
    ticket.sent()
    assert gauges() == (0, 2)
    with pytest.raises(Overloaded):
        admission.admit("sent", 1, 1)
    ticket.close()
    ticket.close()
    assert gauges() == (0, 0) and (admission.requests, admission.tokens) == (0, 0)


def test_a_closed_ticket_gives_nothing_back_again() -> None:
    admission = Admission(2, 100)
    ticket = admission.admit("m", 2, 10)
    ticket.close()
    for late in (ticket.started, ticket.sent, ticket.close):
        late()
        assert (admission.requests, admission.tokens) == (0, 0)


def test_a_request_beyond_the_bounds_is_invalid() -> None:
    with pytest.raises(InvalidRequest):
        Admission(10, 100).admit("m", 11, 1)
    with pytest.raises(InvalidRequest):
        Admission(10, 100).admit("m", 1, 101)


def test_retry_after_follows_the_completion_rate() -> None:
    now = [0.0]
    admission = Admission(1000, 10**6, lambda: now[0])
    tickets = [admission.admit("m", 1, 1) for _ in range(200)]
    slow = admission.retry_after()
    for ticket in tickets[:100]:
        now[0] += 0.01
        ticket.close()
    assert admission.retry_after() < slow == LONGEST_RETRY
    for ticket in tickets[100:]:
        ticket.close()
