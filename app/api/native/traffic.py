"""`GET /v1/traffic`: the traffic of the last hour. A key sees only its own versions; an operator sees all versions."""

from __future__ import annotations

from typing import Any

import msgspec
from fastapi import APIRouter, Request
from starlette.responses import Response

from app.api.http.auth import Principal, is_operator
from app.api.http.replies import JsonReply
from app.api.http.services import ServicesDep
from app.api.openapi.describe import COMMON, replies
from app.api.openapi.parameters import MODEL
from app.registry.records import visible
from app.traffic import PERIOD, TrafficSample, VersionTraffic

router = APIRouter(tags=["operations"])


class VersionTrafficObject(msgspec.Struct, frozen=True):
    """The requests to a version in one period. `seconds` is their total duration.

    `texts` is the number of classified inputs, and `confidence` is the mean score of their best labels. `confidence` is
    null if no input was classified, or if the version predicts numbers. `labels` counts the answers by label. Labels
    beyond the 20 most frequent ones are counted in `other_labels`.
    """

    id: str
    requests: int
    seconds: float
    texts: int
    confidence: float | None
    labels: dict[str, int]
    other_labels: int


class TrafficTotals(msgspec.Struct, frozen=True):
    """The traffic of all versions in one period. `replies` counts the replies of model routes; `rejected` counts those
    with the status 429, and `errors` those with a status above 499. `running` and `waiting` count the requests at the
    end of the period. `reasons` counts rejected requests by reason, as the metric `ostinato_rejected_total` does."""

    replies: int
    rejected: int
    errors: int
    read_tokens: int
    generated_tokens: int
    running: int
    waiting: int
    reasons: dict[str, int]


class TrafficSampleObject(msgspec.Struct, frozen=True):
    """One period, which begins `at` seconds since the epoch. `totals` is null for keys without the scope operator."""

    at: int
    totals: TrafficTotals | None
    versions: list[VersionTrafficObject]


class TrafficReport(msgspec.Struct, frozen=True):
    """The periods of the last hour that had traffic, oldest first. `seconds` is the length of a period."""

    object: str
    seconds: int
    data: list[TrafficSampleObject]


_EXAMPLE: dict[str, Any] = {
    "object": "traffic",
    "seconds": PERIOD,
    "data": [
        {
            "at": 1745383060,
            "totals": {
                "replies": 12,
                "rejected": 2,
                "errors": 0,
                "read_tokens": 84,
                "generated_tokens": 0,
                "running": 0,
                "waiting": 0,
                "reasons": {"max_waiting": 2},
            },
            "versions": [
                {
                    "id": f"{MODEL}:1",
                    "requests": 10,
                    "seconds": 0.031,
                    "texts": 10,
                    "confidence": 0.87,
                    "labels": {"positive": 7, "negative": 3},
                    "other_labels": 0,
                }
            ],
        }
    ],
}


@router.get(
    "/v1/traffic",
    operation_id="retrieve_traffic",
    summary="Read the traffic of the last hour",
    description=(
        "Returns samples of the requests that the API processes of this machine have answered. For each version, a "
        "sample contains the number of requests, the number of answers with each label, and the mean score. A key "
        "sees its own versions; a key with the scope operator also sees the totals and, if OSTINATO_KEY_SCOPES is set, "
        "all versions. Requests of batches are not included. The samples are meant for a quick overview; for "
        "monitoring, use `GET /metrics`."
    ),
    response_model=None,
    responses=replies(TrafficReport, _EXAMPLE, COMMON),
)
def retrieve_traffic(services: ServicesDep, request: Request, principal: Principal) -> Response:
    operator, settings = is_operator(request), services.settings
    # If no scopes are configured, every key is an operator, but may not see the labels of other keys' versions.
    all_ = operator and bool(settings.key_scopes or not settings.keys)
    samples = [_sample(sample, principal, operator, all_) for sample in services.traffic.ring.read()]
    data = [sample for sample in samples if sample.totals is not None or sample.versions]
    return JsonReply(TrafficReport("traffic", PERIOD, data), {"cache-control": "no-store"})


def _sample(sample: TrafficSample, principal: str, operator: bool, all_: bool) -> TrafficSampleObject:
    shown = {ref: v for ref, v in sample.versions.items() if all_ or visible(v.owner, principal)}
    return TrafficSampleObject(
        sample.at, _totals(sample) if operator else None, [_version(ref, traffic) for ref, traffic in shown.items()]
    )


def _totals(sample: TrafficSample) -> TrafficTotals:
    names = ("replies", "rejected", "errors", "read", "generated", "running", "waiting")
    replies_, rejected, errors, read, generated, running, waiting = (int(sample.counts.get(name, 0)) for name in names)
    return TrafficTotals(replies_, rejected, errors, read, generated, running, waiting, sample.rejected)


def _version(ref: str, traffic: VersionTraffic) -> VersionTrafficObject:
    traffic.bound()  # the sum of several processes' samples may have too many labels
    # Versions that predict numbers have no confidence. The best score of any other version is positive.
    confidence = traffic.confidence / traffic.texts if traffic.confidence else None
    return VersionTrafficObject(
        ref, traffic.requests, round(traffic.seconds, 6), traffic.texts, confidence, traffic.labels, traffic.others
    )
