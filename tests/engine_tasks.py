"""What workers run in the tests of the engine: functions that a process of its own can import."""

from __future__ import annotations

import os
import time
from pathlib import Path

import numpy as np
import torch

from sivae import _launched
from sivae._errors import warn
from sivae._rng import numpy_generator


class Heavy(dict):
    """A payload that Dask would scatter: large, and with weak references."""


def spectrum(payload: dict) -> tuple[dict, dict]:
    """Sums whose last bits depend on the number of threads; leaves a mark for each run."""
    if "marks" in payload:
        (Path(payload["marks"]) / f"{payload['name']}-{time.time_ns()}-{os.getpid()}").touch()
    if payload.get("seconds"):
        time.sleep(payload["seconds"])
    if payload.get("wrong"):
        raise ValueError(f"no cells in {payload['name']}")
    if payload.get("warns"):
        warn("few cells")
    x = numpy_generator(payload["seed"], payload["name"]).standard_normal((300, 200)).astype(np.float32)
    product = torch.from_numpy(x) @ torch.from_numpy(x).T
    arrays = {
        "values": np.linalg.svd(x, compute_uv=False),
        "product": product.sum(0).numpy(),
        "flags": x[0] > 0,
        "count": np.array(7),
    }
    return arrays, {"pid": os.getpid() if payload.get("pid") else 0, "mean": float(x.mean()), "list": (1, 2)}


def threads(payload: dict) -> tuple[dict, dict]:
    from threadpoolctl import threadpool_info

    pools = [pool["num_threads"] for pool in threadpool_info()]
    return {"n": np.array([torch.get_num_threads(), *pools])}, {}


def texts(payload: dict) -> tuple[dict, dict]:
    return {"names": np.array(["a", "b"])}, {}


def interrupted(payload: dict) -> tuple[dict, dict]:
    raise KeyboardInterrupt


def dies_once(payload: dict) -> tuple[dict, dict]:
    """Kill this process, the first time or (without a mark) every time."""
    if payload.get("dies"):
        mark = Path(payload["mark"])
        if payload["dies"] == "always" or not mark.exists():
            mark.touch()
            os.kill(os.getpid(), 9)
    return spectrum(payload)


def stuck(payload: dict) -> tuple[dict, dict]:
    if payload.get("stuck"):
        time.sleep(60)
    return {"x": np.arange(3)}, {}


def launched(payload: dict) -> tuple[dict, dict]:
    """What a launcher seems to have said."""
    left = [name for name in ("LOCAL_RANK", "MASTER_PORT") if name in os.environ]
    return {}, {"world": _launched.world(), "rank": _launched.rank(), "left": left}
