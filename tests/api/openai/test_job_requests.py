"""The header and the field that all requests for new jobs and batches share."""

from __future__ import annotations

import asyncio

import pytest

from app.api.openai.job_requests import METADATA, retry_count
from app.errors import InvalidRequest
from app.jobs.limits import check_metadata


@pytest.mark.parametrize(
    ("header", "retries"), [(None, 0), ("", 0), ("0", 0), ("2", 2), ("many", 0), ("-1", 0), ("\u00b2", 0), ("9" * 9, 0)]
)
def test_the_number_of_retries(header: str | None, retries: int) -> None:
    assert asyncio.run(retry_count(header)) == retries


def test_the_document_states_the_bounds_of_metadata() -> None:
    pairs, key = METADATA["maxProperties"], METADATA["propertyNames"]["maxLength"]
    value = METADATA["additionalProperties"]["maxLength"]
    check_metadata({f"{n:0{key}}": "v" * value for n in range(pairs)})
    for metadata in ({f"{n}": "" for n in range(pairs + 1)}, {"k" * (key + 1): ""}, {"k": "v" * (value + 1)}, {"": ""}):
        with pytest.raises(InvalidRequest):
            check_metadata(metadata)
