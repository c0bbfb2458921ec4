"""Every fault, in the order of the table."""

from __future__ import annotations

from collections.abc import Sequence

from faults import (
    clock,
    crash,
    descriptors,
    drained,
    endings,
    flood,
    half_open,
    herd,
    log_files,
    patterns,
    postgres_log,
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
    transactions,
)
from faults.scenario import Fault

FILES = (
    clock,
    crash,
    descriptors,
    drained,
    endings,
    flood,
    half_open,
    herd,
    log_files,
    patterns,
    postgres_log,
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
    transactions,
)

ALL: Sequence[Fault] = sorted((fault for file in FILES for fault in file.FAULTS), key=lambda f: int(f.id[1:]))
