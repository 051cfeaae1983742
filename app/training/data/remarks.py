"""Remarks about the decisions made for a data file and the anomalies in it, for the data report and the job's log."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict, dataclass
from typing import Any


@dataclass(frozen=True, slots=True)
class Remark:
    """A decision or an anomaly to report before training starts.

    `kind` is machine-readable, such as "encoding". `message` is a complete sentence that names the file. `where` is the
    place of the first occurrence, such as 'line 7', or empty. `count` is the number of affected rows or cells. `level`
    is "info" if the decision is certain, and "warn" if the user should check it.
    """

    kind: str
    message: str
    where: str = ""
    count: int = 1
    level: str = "info"

    def to_dict(self) -> dict[str, Any]:
        """Return the remark as a dict for the data report."""
        return asdict(self)


class Remarks:
    """The remarks about one file, in the order of their first occurrence.

    A file is read several times, so a remark replaces any earlier remark with the same kind and place.
    """

    def __init__(self) -> None:
        self._remarks: dict[tuple[str, str], Remark] = {}

    def put(self, remark: Remark) -> None:
        """Add a remark, or replace the remark with the same kind and place."""
        self._remarks[remark.kind, remark.where] = remark

    def __iter__(self) -> Iterator[Remark]:
        return iter(list(self._remarks.values()))
