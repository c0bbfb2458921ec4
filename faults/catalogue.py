"""Every fault, in the order of the table."""

from __future__ import annotations

from collections.abc import Sequence

from faults import (
    clock,
    crash,
    descriptors,
    endings,
    flood,
    half_open,
    herd,
    log_files,
    patterns,
    powercut,
    processes,
    rare,
    redis_log,
    replay,
    resets,
    rude,
    runs,
    seam,
    selectors,
    slow_link,
    soak,
    storage,
    stuck,
    tokens,
)
from faults.scenario import Fault

FILES = (
    clock,
    crash,
    descriptors,
    endings,
    flood,
    half_open,
    herd,
    log_files,
    patterns,
    powercut,
    processes,
    rare,
    redis_log,
    replay,
    resets,
    rude,
    runs,
    seam,
    selectors,
    slow_link,
    soak,
    storage,
    stuck,
    tokens,
)

ALL: Sequence[Fault] = sorted((fault for file in FILES for fault in file.FAULTS), key=lambda f: int(f.id[1:]))
