"""A trainer without torch. It uses the real protocol, and its data contains a plan (JSON) that says how it fails.

The "weights" are a hash chain over the steps, so that an attempt that resumes incorrectly ends with different weights.
"""

from __future__ import annotations

import argparse
import errno
import hashlib
import json
import os
import select
import signal
import sys
import threading
import time
from pathlib import Path
from typing import Any

import msgspec
import numpy as np

from app import disk_errors
from app.checkpoint.directory import write_json
from app.wire.probes import VALIDATION, ProbeSet, encode
from app.wire.trainer import (
    AUTO,
    Broke,
    CheckpointSaved,
    Done,
    Metrics,
    Phase,
    Planned,
    PlannedTrial,
    Stopped,
    TrainEvent,
    TrainFailed,
)  # fmt: skip
from tests.checkpoints import make_checkpoint, write_weights


class FakeTrainer:
    """Runs the plan from the newest resume point and emits the events of a training run."""

    def __init__(self, run: Path, descriptor: int) -> None:
        self.run, self.descriptor, self.stop, self.waits = run, descriptor, False, True
        self.spec = json.loads((run / "run.json").read_bytes())
        self.plan: dict[str, Any] = json.loads((run / self.spec["training_file"]["path"]).read_bytes())
        self.attempt = len(list((run / "events").glob("*.jsonl")))
        self.step, self.weights = 0, "0" * 64

    def emit(self, event: TrainEvent) -> None:
        os.write(self.descriptor, msgspec.json.encode(event) + b"\n")

    def main(self) -> int:
        print(f"attempt {self.attempt}", file=sys.stderr, flush=True)
        if not (self.run / "settled.json").exists():
            write_json(self.run / "settled.json", {"epochs": 3, "batch_size": 8})
        if "micro_tokens" in self.plan:  # like a trainer that has run out of memory in each earlier attempt
            write_json(self.run / "settled.json", {"micro_tokens": self.plan["micro_tokens"] // self.attempt})
        self.plan |= self.plan.get("of", {}).get(self.spec["model"], {})
        if not (self.run / "checkpoint").exists():
            self.emit(Phase("validating_files"))
            if "fail" in self.plan:
                self.emit(TrainFailed(**self.plan["fail"]))
                return 0
            if self.spec["model"] == AUTO:
                self.emit(Planned("classification", [PlannedTrial(**trial) for trial in self.plan["trials"]]))
                return 0
            self.emit(Phase("training"))
            if not self.train():
                return 0
            self.save(self.run / "checkpoint")
        self.emit(Phase("publishing"))
        metrics = {"validation": self.plan.get("metrics", {"accuracy": 0.75})}
        np.save(self.run / "errors.npy", np.array(self.plan.get("errors", [0.25] * 4), dtype=np.float32))
        (self.run / "probes.msgpack").write_bytes(encode(ProbeSet(VALIDATION, [[self.plan.get("parameters", 4)]])))
        self.emit(
            Done("checkpoint", "classification", "lstm", self.plan.get("parameters", 4), metrics, 10 * self.step,
                 "results.csv", self.step, "errors.npy", "probes.msgpack")
        )  # fmt: skip
        return 0

    def train(self) -> bool:
        self.resume()
        while self.step < self.plan["steps"]:
            if self.stop:
                self.emit(Stopped(self.step))
                return False
            self.one_step()
            self.hold()
        (self.run / "results.csv").write_text("step,train_loss\n")
        return True

    def hold(self) -> None:
        """Wait at this attempt's step in `holds` until the trainer is stopped, killed, or released by SIGUSR1."""
        steps = self.plan.get("holds", [])[self.attempt - 1 : self.attempt]
        while self.waits and not self.stop and steps == [self.step]:
            time.sleep(0.01)

    def one_step(self) -> None:
        time.sleep(self.plan.get("step_seconds", 0.0))
        self.step += 1
        self.weights = hashlib.sha256(f"{self.weights} {self.spec['seed']} {self.step}".encode()).hexdigest()
        total = self.plan["steps"]
        figures = {"train_loss": 1.0 / self.step}
        self.emit(
            Metrics(self.step, total, figures, self.step / total, seconds_left=1.0, trained_tokens=10 * self.step)
        )
        if self.step % self.plan.get("checkpoint_every", 10**9) == 0:
            directory = f"checkpoints/step-{self.step}"
            self.save(self.run / directory)
            self.emit(CheckpointSaved(self.step, directory, figures))
        if self.step % self.plan.get("resume_every", 3) == 0:
            write_json(self.run / "resume.json", {"step": self.step, "weights": self.weights})
        if self.step == self.plan.get("break_at"):
            self.emit(Broke("ZeroDivisionError"))
            raise SystemExit(1)
        if self.step == self.plan.get("full_at") and self.attempt <= self.plan["full_for"]:
            if self.plan["full_event"]:
                self.emit(Broke("SafetensorError", errno.ENOSPC))
            raise SystemExit(disk_errors.EXIT_CODE)
        if self.step == self.plan.get("die_at") and self.attempt <= self.plan.get("deaths", 1):
            os.kill(os.getpid(), self.plan.get("signal", signal.SIGKILL))
        if self.step == self.plan.get("diverge_at"):
            best = self.plan["best_step"]
            saved = f"checkpoints/step-{best}", {"train_loss": 1.0 / best}, best
            self.save(self.run / saved[0])
            self.emit(TrainFailed("diverged", "the loss is not a number", None, *saved))
            raise SystemExit(0)

    def resume(self) -> None:
        if (self.run / "resume.json").exists():
            point = json.loads((self.run / "resume.json").read_bytes())
            self.step, self.weights = point["step"], point["weights"]

    def save(self, directory: Path) -> None:
        partial = directory.with_name(f".{directory.name}")
        make_checkpoint(partial, seed=0)
        write_weights(partial, finite_numbers(self.weights))
        (partial / "README.md").write_text("# A fake network\n")
        if not directory.exists():
            partial.rename(directory)


def finite_numbers(weights: str) -> bytes:
    """The bytes of eight float32 numbers. One bit of each exponent is 0, so that no number is NaN or infinite."""
    return bytes(byte & 0xBF if place % 4 == 3 else byte for place, byte in enumerate(bytes.fromhex(weights)))


def watch(seconds: float) -> None:
    """Exit when renewals of the lease stop, like the real trainer."""
    end = time.monotonic() + seconds
    while (left := end - time.monotonic()) > 0:
        if select.select([0], [], [], left)[0]:
            if not os.read(0, 4096):
                break
            end = time.monotonic() + seconds
    os._exit(75)


def main() -> int:
    parser = argparse.ArgumentParser()
    parser.add_argument("run", type=Path)
    parser.add_argument("--events-fd", type=int)
    parser.add_argument("--lease-seconds", type=float)
    for option in (
        "--resume-every",
        "--memory",
        "--processor-seconds",
        "--threads",
        "--device",
        "--request-id",
        "--job-id",
        "--log-format",
        "--log-level",
    ):
        parser.add_argument(option)
    arguments = parser.parse_args()
    print(f"subject {arguments.request_id} {arguments.job_id}", file=sys.stderr, flush=True)
    print(f"processor seconds {arguments.processor_seconds}", file=sys.stderr, flush=True)
    trainer = FakeTrainer(arguments.run, arguments.events_fd)
    threading.Thread(target=watch, args=(arguments.lease_seconds,), daemon=True).start()

    def stop(*_: object) -> None:
        trainer.stop = True

    def release(*_: object) -> None:
        trainer.waits = False

    signal.signal(signal.SIGUSR1, release)
    signal.signal(signal.SIGTERM, signal.SIG_IGN if trainer.plan.get("stubborn") else stop)
    return trainer.main()


if __name__ == "__main__":
    sys.exit(main())
