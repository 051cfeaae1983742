"""SEC-23: the API returns the memory of large answers to the system."""

from __future__ import annotations

import subprocess
import sys

import pytest

GROWN = """
import asyncio
from app.api.http.freed_memory import FreedMemory, resident

async def main():
    values = [bytes(1000) for _ in range(300_000)]
    kept = values[::1000]  # keeps the heap from shrinking by itself
    top, values = resident(), None
    after = resident()
    memory = FreedMemory(every=0.01)
    memory.start()
    for _ in range(500):
        if resident() < top - 150 * 2**20:
            break
        await asyncio.sleep(0.01)
    await memory.close()
    print(top - after, top - resident(), len(kept))

asyncio.run(main())
"""


@pytest.mark.skipif(sys.platform != "linux", reason="glibc")
def test_freed_memory_is_returned() -> None:
    """Runs in a separate process, because the memory of this process depends on other tests."""
    done = subprocess.run([sys.executable, "-c", GROWN], capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    by_itself, returned, _ = map(int, done.stdout.split())
    assert by_itself < 150 * 2**20 < returned
