"""The configuration of a network, as plain data. Imports no torch, so that the API can check configurations.

`models/catalog.py` finds the class of the body that a configuration describes.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from typing import Any, Self

from models import constraints
from models.choices import OPTIONAL
from models.constraints import ConfigError
from models.fields import ConfigFields

# The type of a field -> the Python types that its value in JSON may have.
_KINDS: Mapping[str, tuple[type, ...]] = {"str": (str,), "int": (int,), "float": (int, float), "bool": (bool,)}


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelConfig(ConfigFields):
    """All data needed to build a network, except for its weights. `ConfigFields` describes the fields."""

    def __post_init__(self) -> None:
        constraints.check(self)

    def to_dict(self) -> dict[str, Any]:
        """Return the fields as JSON values, except `OPTIONAL` fields with default values.

        `from_dict` is the inverse function.
        """
        values = asdict(self)
        for field in fields(self):
            if field.name in OPTIONAL and values[field.name] == field.default:
                del values[field.name]
        return {name: list(value) if isinstance(value, tuple) else value for name, value in values.items()}

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Self:
        """Build a configuration from parsed JSON. Unknown keys are ignored.

        Raises `ConfigError` for a missing field, a value of the wrong type or a value that is not allowed.
        """
        types = {f.name: f.type for f in fields(cls)}
        chosen = {name: values[name] for name in types if name in values}
        for name, value in chosen.items():
            if str(types[name]).startswith("tuple"):
                chosen[name] = _numbers(name, value, "int" if "int" in str(types[name]) else "float")
                continue
            allowed = _KINDS[str(types[name])]
            # In Python, a bool is also an int; in a configuration, it is not accepted as a number.
            if not isinstance(value, allowed) or (isinstance(value, bool) and bool not in allowed):
                raise ConfigError(name, f"must be of type {types[name]}, not {type(value).__name__}")
        for name in ("architecture", "task"):
            if name not in chosen:
                raise ConfigError(name, "is missing")
        return cls(**chosen)


def _numbers(name: str, value: object, kind: str) -> tuple[Any, ...]:
    """Convert a JSON list of numbers to a tuple. `kind` is "int" or "float"."""
    if not isinstance(value, list | tuple) or any(type(number) not in _KINDS[kind] for number in value):
        raise ConfigError(name, f"must be a list of {'integers' if kind == 'int' else 'numbers'}")
    return tuple(value)
