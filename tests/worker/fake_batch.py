"""A batch program without engines. It uses the real spool, and fails in the ways that the requests ask for.

A body is {"status": …, "kill": true (once), "exit": code, "wait": true}: `wait` waits for SIGTERM, which ends the
program with exit code 0, like the real one. Before that, SIGTERM is blocked, so that no answer is cut off.
"""

from __future__ import annotations

import argparse
import os
import signal
import sys
from pathlib import Path

import msgspec

from app.runs import batch_input
from app.runs.batch_spool import Spool
from app.training.run import lease
from app.wire.batch import ANSWERS, INPUT, BatchAnswer, BatchResponse


def main() -> int:
    parser = argparse.ArgumentParser()
    parser.add_argument("run", type=Path)
    parser.add_argument("--lease-seconds", type=float)
    parser.add_argument("--request-id")
    parser.add_argument("--job-id")
    options = parser.parse_args()
    signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGTERM])
    lease.watch(sys.stdin.fileno(), options.lease_seconds)
    run: Path = options.run
    with Spool(run / ANSWERS) as spool:
        for numbered in batch_input.requests(run / INPUT):
            if numbered.position in spool.answered_indices:
                continue
            plan = msgspec.json.decode(numbered.request.body)
            mark = run / f"killed-{numbered.position}"
            if plan.get("kill") and not mark.exists():
                mark.touch()
                (run / ANSWERS).open("ab").write(b"0badcafe an incomplete rec")
                os.kill(os.getpid(), signal.SIGKILL)
            if "exit" in plan:
                os._exit(plan["exit"])
            if plan.get("wait"):
                signal.sigwait([signal.SIGTERM])
                return 0
            status = plan.get("status", 200)
            response = BatchResponse(status, "req-1", msgspec.Raw(b'{"pid":%d}' % os.getpid()))
            line = msgspec.json.encode(BatchAnswer("batch_req-1", numbered.request.custom_id, response, None))
            spool.append(numbered.position, status < 400, line)
    return 0


if __name__ == "__main__":
    sys.exit(main())
