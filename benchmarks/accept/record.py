"""The results of an acceptance check: measured figures with their bounds."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from typing import Any


class Skip(Exception):
    """The check cannot run on this machine. The message contains the reason."""


@dataclass
class Demand:
    """One figure with its bound."""

    what: str
    figure: Any
    bound: str
    met: bool


@dataclass
class Record:
    """All figures of one check. It passes if there is at least one figure and every figure is within its bound."""

    demands: list[Demand] = field(default_factory=list)
    notes: dict[str, Any] = field(default_factory=dict)

    def at_least(self, what: str, figure: float, bound: float) -> None:
        self.add(what, round(figure, 4), f">= {bound:g}", figure >= bound)

    def at_most(self, what: str, figure: float, bound: float) -> None:
        self.add(what, round(figure, 4), f"<= {bound:g}", figure <= bound)

    def equal(self, what: str, figure: Any, expected: Any) -> None:
        self.add(what, figure, f"== {expected!r}", figure == expected)

    def add(self, what: str, figure: Any, bound: str, met: bool) -> None:
        self.demands.append(Demand(what, figure, bound, bool(met)))
        print(f"  {'ok  ' if met else 'MISS'} {what}: {figure} ({bound})", flush=True)

    @property
    def met(self) -> bool:
        return bool(self.demands) and all(d.met for d in self.demands)

    def to_dict(self) -> dict[str, Any]:
        return {"met": self.met, **asdict(self)}
