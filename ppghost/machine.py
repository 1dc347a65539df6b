"""This computer: how many processors a process may use, and which CPU they are. Imports nothing of ours."""

from __future__ import annotations

import functools
import os
import platform
from pathlib import Path

_LISTING = Path("/proc/cpuinfo")


def usable_processors() -> int:
    """Return how many processors this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


@functools.cache
def cpu_facts() -> tuple[str, frozenset[str]]:
    """Return the CPU's name and what it can do; no flags where the system does not tell them in a file."""
    try:
        lines = _LISTING.read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        return platform.processor() or platform.machine(), frozenset()
    facts = {key.strip(): value.strip() for key, _, value in (line.partition(":") for line in lines)}
    flags = facts.get("flags") or facts.get("Features") or ""
    return facts.get("model name", platform.machine()), frozenset(flags.split())


def cpu_flags() -> frozenset[str]:
    """Return the names of what this CPU can do, as Linux writes them; empty where it cannot be told."""
    return cpu_facts()[1]
