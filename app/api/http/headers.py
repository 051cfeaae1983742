"""Looks up request headers by name, through an index that is built once per request."""

from __future__ import annotations

from typing import TypeVar, overload

from starlette.datastructures import Headers
from starlette.types import Scope

T = TypeVar("T")
INDEX = "ostinato.headers"  # the key under which the scope stores the index


def index_of(scope: Scope) -> dict[bytes, bytes]:
    """The request headers, by lower-case name. If a header is sent more than once, the first value counts."""
    index: dict[bytes, bytes] | None = scope.get(INDEX)
    if index is None:
        index = scope[INDEX] = dict(reversed(scope["headers"]))
    return index


class IndexedHeaders(Headers):
    """Starlette's headers, with a `get` that does not search through all headers."""

    def __init__(self, scope: Scope) -> None:
        super().__init__(raw=scope["headers"])
        self._index = index_of(scope)

    @overload
    def get(self, key: str, /) -> str | None: ...
    @overload
    def get(self, key: str, default: str | T, /) -> str | T: ...
    def get(self, key: str, default: object = None, /) -> object:
        """A header's first value; the name must be in lower case."""
        value = self._index.get(key.encode("latin-1"))
        return default if value is None else value.decode("latin-1")
