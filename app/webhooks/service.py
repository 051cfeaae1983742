"""The client operations on webhook endpoints."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Collection, Sequence
from dataclasses import replace
from enum import Enum

from sqlalchemy import ColumnElement, and_, false, func, or_, select, text, true
from sqlalchemy.orm import Session

from app.access import IPNetwork
from app.db.database import Database
from app.db.ownership import LOCAL
from app.db.paging import Page, check_page, cut, new_id
from app.db.tables import WebhookDeliveryRow, WebhookEndpointRow
from app.errors import InvalidRequest, NotFound, Overloaded, did_you_mean
from app.webhooks import signing
from app.webhooks.addresses import check_url
from app.webhooks.events import EVENT_TYPES
from app.webhooks.outbox import FAILED, WAITING
from app.webhooks.records import WebhookEndpoint
from app.webhooks.sender import Sender, Unanswered

PAGE_LIMIT = 1000
NAME, NAME_LIMIT = re.compile(r"[^\x00-\x1f\x7f]+"), 128
ENDPOINT_ID = re.compile(r"whe-[A-Za-z0-9_-]{1,36}")
KEPT_SECONDS = 86_400.0  # how long a replaced secret may be kept
ENDPOINT_LOCK = 0x0571_7EB0  # an arbitrary number that must never change
TEST_SUBJECT = "0" * 24  # the end of the id in a test event, which belongs to no job and no batch


class Reach(Enum):
    """The endpoints that a principal may list and delete besides its own."""

    OWN = "none"
    ORPHANED = "those whose owner no longer exists"
    ALL = "all"


class Webhooks:
    """The webhook endpoints of all principals; one instance per process. All methods are thread-safe.

    For an endpoint of another owner, the methods raise NotFound (`webhook_endpoint_not_found`), as if it did not exist.
    """

    def __init__(
        self,
        database: Database,
        sender: Sender,
        networks: Sequence[IPNetwork],
        most: int,
        keys: Collection[str] = (),
    ) -> None:
        """`networks` are non-public networks to which events may be sent. Each owner may have at most `most`
        endpoints.

        `keys` are the names of the API keys. An endpoint whose owner is not one of them is orphaned.
        """
        self._keys = keys
        self._database, self._sender, self._networks, self._most = database, sender, networks, most
        self._testing: set[str] = set()  # the principals that are testing an endpoint

    def create(self, principal: str, name: str, url: str, event_types: Sequence[str]) -> WebhookEndpoint:
        """Create an endpoint with a new secret.

        Raises InvalidRequest for a value that is not allowed, or if the principal has too many endpoints.
        """
        _check_name(name)
        check_url(url, self._networks)
        with self._database.transaction() as session:
            self._check_count(session, principal)
            now = self._database.now(session)
            row = WebhookEndpointRow(
                id=new_id("whe"),
                owner=principal,
                name=name,
                url=url,
                event_types=_checked(event_types),
                secret=signing.new_secret(),
                created_at=now,
                updated_at=now,
            )
            session.add(row)
            session.flush()
            return WebhookEndpoint.of(row)

    def get(self, endpoint_id: str, principal: str) -> WebhookEndpoint:
        """Return an endpoint with the statistics of its deliveries."""
        with self._database.read() as session:
            row = _visible(session, endpoint_id, principal)
            return _with_figures(session, [WebhookEndpoint.of(row)])[0]

    def list(
        self, principal: str, *, after: str | None = None, limit: int = 20, reach: Reach = Reach.OWN
    ) -> Page[WebhookEndpoint]:
        """Return the principal's endpoints and those within `reach`, newest first, after the one with id `after`."""
        check_page(limit, "desc", PAGE_LIMIT)
        created, id_ = WebhookEndpointRow.created_at, WebhookEndpointRow.id
        query = select(WebhookEndpointRow).where(self._within(principal, reach))
        with self._database.read() as session:
            if after is not None:
                last = _find(session, after, self._within(principal, reach), param="after")
                earlier = or_(created < last.created_at, and_(created == last.created_at, id_ < last.id))
                query = query.where(earlier)
            rows = session.scalars(query.order_by(created.desc(), id_.desc()).limit(limit + 1))
            page = cut([WebhookEndpoint.of(row) for row in rows], limit)
            return Page(_with_figures(session, page.items), page.has_more)

    def update(
        self,
        endpoint_id: str,
        principal: str,
        *,
        name: str | None = None,
        url: str | None = None,
        event_types: Sequence[str] | None = None,
    ) -> WebhookEndpoint:
        """Change the fields that are not None. Pending events are sent to the new URL."""
        values: dict[str, object] = {}
        if name is not None:
            values["name"] = _check_name(name)
        if url is not None:
            check_url(url, self._networks)
            values["url"] = url
        if event_types is not None:
            values["event_types"] = _checked(event_types)
        with self._database.transaction() as session:
            row = _visible(session, endpoint_id, principal, lock=True)
            changed = {field: value for field, value in values.items() if getattr(row, field) != value}
            for field, value in changed.items():
                setattr(row, field, value)
            if changed:
                row.updated_at = self._database.now(session)
        return self.get(endpoint_id, principal)

    def delete(self, endpoint_id: str, principal: str, *, reach: Reach = Reach.OWN) -> None:
        """Delete an endpoint within `reach`, and its deliveries."""
        with self._database.transaction() as session:
            session.delete(_find(session, endpoint_id, self._within(principal, reach), lock=True))

    def _within(self, principal: str, reach: Reach) -> ColumnElement[bool]:
        """The condition for endpoints that the principal may list and delete."""
        if principal == LOCAL or reach is Reach.ALL:
            return true()
        orphaned = WebhookEndpointRow.owner.not_in(self._keys) if reach is Reach.ORPHANED else false()
        return or_(WebhookEndpointRow.owner == principal, orphaned)

    def rotate_secret(self, endpoint_id: str, principal: str, *, keep_old: bool) -> WebhookEndpoint:
        """Replace the secret. If `keep_old` is true, requests are also signed with the previous secret for 24 hours."""
        with self._database.transaction() as session:
            row = _visible(session, endpoint_id, principal, lock=True)
            now = self._database.now(session)
            row.old_secret = row.secret if keep_old else None
            row.old_secret_until = now + KEPT_SECONDS if keep_old else None
            row.secret, row.updated_at = signing.new_secret(), now
            session.flush()
            return _with_figures(session, [WebhookEndpoint.of(row)])[0]

    async def test(self, endpoint_id: str, principal: str, type_: str) -> int:
        """Send a test event, once, and return the status of the reply.

        Raises InvalidRequest (`webhook_not_answered`) if there is no reply, and Overloaded if the principal is already
        testing an endpoint.
        """
        _checked([type_], "event_type")
        if principal in self._testing:
            raise Overloaded("a test of a webhook endpoint is in progress; wait until it has ended", retry_after=1.0)
        self._testing.add(principal)
        try:
            endpoint, now = await asyncio.to_thread(self._load, endpoint_id, principal)
            subject = f"{'ftjob' if type_.startswith('fine_tuning') else 'batch'}-{TEST_SUBJECT}"
            secrets = endpoint.secrets_at(now)
            return await self._sender.post_event(endpoint.url, secrets, new_id("evt"), type_, now, subject)
        except Unanswered as error:
            message = f"the test event was not answered: {error}"
            raise InvalidRequest(message, code="webhook_not_answered", retryable=False) from None
        finally:
            self._testing.discard(principal)

    def _load(self, endpoint_id: str, principal: str) -> tuple[WebhookEndpoint, float]:
        with self._database.read() as session:
            row = _visible(session, endpoint_id, principal)
            return WebhookEndpoint.of(row), self._database.now(session)

    def _check_count(self, session: Session, principal: str) -> None:
        if self._database.dialect == "postgresql":  # on SQLite, transactions that write run one at a time
            session.execute(text("SELECT pg_advisory_xact_lock(:key)"), {"key": ENDPOINT_LOCK})
        owned = select(func.count()).select_from(WebhookEndpointRow).where(WebhookEndpointRow.owner == principal)
        if (session.scalar(owned) or 0) >= self._most:
            message = (
                f"a key may have at most {self._most} webhook endpoints (OSTINATO_MAX_WEBHOOK_ENDPOINTS); "
                "delete one first"
            )
            raise InvalidRequest(message, code="too_many_webhook_endpoints")


def _visible(session: Session, endpoint_id: str, principal: str, *, lock: bool = False) -> WebhookEndpointRow:
    own = true() if principal == LOCAL else WebhookEndpointRow.owner == principal
    return _find(session, endpoint_id, own, lock=lock)


def _find(
    session: Session, endpoint_id: str, within: ColumnElement[bool], *, param: str = "id", lock: bool = False
) -> WebhookEndpointRow:
    """Return the endpoint's row, if it meets the condition. Otherwise, raise NotFound."""
    row = None
    if ENDPOINT_ID.fullmatch(endpoint_id):
        query = select(WebhookEndpointRow).where(WebhookEndpointRow.id == endpoint_id, within)
        row = session.scalar(query.with_for_update() if lock else query)
    if row is None:
        message = f"there is no webhook endpoint {endpoint_id[:60]!a}; GET /v1/webhook_endpoints lists your endpoints"
        raise NotFound(message, code="webhook_endpoint_not_found", param=param)
    return row


def _check_name(name: str) -> str:
    if len(name) > NAME_LIMIT or not NAME.fullmatch(name):
        raise InvalidRequest(f"name must have 1 to {NAME_LIMIT} characters, without control characters", param="name")
    return name


def _checked(event_types: Sequence[str], field: str = "event_types") -> list[str]:
    """Return the distinct event types in the order of `EVENT_TYPES`. Raises InvalidRequest for an unknown type."""
    if not event_types:
        raise InvalidRequest(f"{field} must contain at least one event type", param=field)
    for type_ in event_types:
        if type_ not in EVENT_TYPES:
            hint = did_you_mean(type_, EVENT_TYPES, "; GET /v1/webhook_event_types lists the types")
            raise InvalidRequest(f"{field}: {type_[:60]!a} is not an event type{hint}", param=field)
    return [type_ for type_ in EVENT_TYPES if type_ in event_types]


def _with_figures(session: Session, endpoints: Sequence[WebhookEndpoint]) -> list[WebhookEndpoint]:
    """Add the numbers of waiting and failed deliveries, and the latest error. Does not count deleted deliveries."""
    row, ids = WebhookDeliveryRow, [endpoint.id for endpoint in endpoints]
    counts = select(row.endpoint_id, row.status, func.count()).where(row.endpoint_id.in_(ids))
    numbers = {
        (id_, status): count for id_, status, count in session.execute(counts.group_by(row.endpoint_id, row.status))
    }
    failed_at = func.coalesce(row.failed_at, row.ended_at, row.created_at)
    place = func.row_number().over(partition_by=row.endpoint_id, order_by=(failed_at.desc(), row.id.desc()))
    ranked = select(row.endpoint_id, row.error, place.label("place"))
    failures = ranked.where(row.endpoint_id.in_(ids), row.error.is_not(None)).subquery()
    latest = select(failures.c.endpoint_id, failures.c.error).where(failures.c.place == 1)
    reasons = {id_: error for id_, error in session.execute(latest)}
    return [
        replace(
            endpoint,
            waiting=numbers.get((endpoint.id, WAITING), 0),
            failed=numbers.get((endpoint.id, FAILED), 0),
            error=reasons.get(endpoint.id),
        )
        for endpoint in endpoints
    ]
