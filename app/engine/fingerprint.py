"""Identifies the kind of machine for which measurements are valid: processor, threads, device and torch version."""

from __future__ import annotations

import hashlib
import platform
from pathlib import Path

import torch

from app.engine import openvino_body

RELEASE = 2  # increase this when the measured modes or workloads change
CPUINFO = Path("/proc/cpuinfo")
FIELDS = ("model name", "flags", "CPU part", "Features")  # of the first processor; x86 and ARM use different names


def fingerprint(device: torch.device, threads: int) -> str:
    """Return 16 hexadecimal digits that identify the processor, thread count, GPU (if used) and torch version."""
    parts = [str(RELEASE), platform.machine(), platform.processor(), *_processor(), str(threads), torch.__version__]
    if version := openvino_body.version():
        parts.append(f"openvino {version}")
    if device.type == "cuda":
        parts.append(torch.cuda.get_device_name(device))
    return hashlib.sha256("\n".join(parts).encode()).hexdigest()[:16]


def _processor() -> list[str]:
    try:
        first = CPUINFO.read_text(encoding="utf-8", errors="replace").split("\n\n")[0]
    except OSError:
        return []
    return [line for line in first.splitlines() if line.partition(":")[0].strip() in FIELDS]
