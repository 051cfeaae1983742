"""The limit on clients that follow jobs: in all, and for one key."""

from __future__ import annotations

import pytest

from app.api.http.followers import FollowerLimit
from app.errors import Overloaded


def test_one_key_gets_at_most_half_of_the_places() -> None:
    limit = FollowerLimit(4)
    limit.take("ann")
    limit.take("ann")
    with pytest.raises(Overloaded, match="2 of them with this key"):
        limit.take("ann")
    limit.take("bob")
    limit.take("cid")
    with pytest.raises(Overloaded, match="4 in total"):
        limit.take("dan")
    for principal in ("ann", "ann", "bob", "cid"):
        limit.leave(principal)
    assert limit.used == 0
