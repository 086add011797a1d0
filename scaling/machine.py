"""What this machine lends to workers: cores and GPUs, found without importing torch."""

import os
import re
import socket
from math import ceil
from pathlib import Path

WORKERS_PER_GPU = 4  # small networks leave a GPU waiting for the host


def machine_name() -> str:
    """The host as part of a file's name: a home may be shared by several."""
    return re.sub(r"[^A-Za-z0-9.-]", "_", socket.gethostname())


def cores() -> int:
    """CPU cores this process may use: its affinity, or the container's quota if that is less."""
    allowed = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    try:
        quota, period = Path("/sys/fs/cgroup/cpu.max").read_text().split()
    except (OSError, ValueError):
        return allowed
    return allowed if quota == "max" else max(min(allowed, ceil(int(quota) / int(period))), 1)


def gpus() -> list[str]:
    """The NVIDIA devices that CUDA will see, as CUDA_VISIBLE_DEVICES names them."""
    visible = os.environ.get("CUDA_VISIBLE_DEVICES")
    if visible is not None:
        return [name for name in visible.split(",") if name and name != "-1"]
    return [str(number) for number in range(len(list(Path("/dev").glob("nvidia[0-9]*"))))]


def default_workers(devices: set[str], threads: int) -> tuple[int, list[str]]:
    """How many workers, and the GPUs to share among them; devices: runtime.device of all cells."""
    found = gpus() if devices & {"auto", "cuda"} else []
    workers = max(cores() // threads, 1)
    return (min(workers, WORKERS_PER_GPU * len(found)) if found else workers), found
