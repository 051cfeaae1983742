"""Settings of the garbage collector."""

from __future__ import annotations

import gc
import weakref

from app.process_tuning import freeze_objects


class Node:
    """An object that can refer to itself."""

    itself: Node


def test_frozen_objects_are_not_scanned_and_garbage_is_freed_first() -> None:
    garbage, kept = Node(), Node()
    garbage.itself = garbage
    alive = weakref.ref(garbage)
    del garbage
    freeze_objects()
    try:
        assert alive() is None
        assert all(item is not kept for item in gc.get_objects())
    finally:
        gc.unfreeze()
    assert any(item is kept for item in gc.get_objects())
