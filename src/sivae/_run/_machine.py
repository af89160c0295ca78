"""What the last bits of a run depend on beside its data and options: machine, threads, device, versions."""

from __future__ import annotations

import os
import platform
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any, Final

from sivae import _launched

PACKAGES: Final = (
    "sivae-tools", "torch", "accelerate", "anndata", "numpy", "scipy", "pandas", "h5py", "scanpy", "safetensors",
    "matplotlib", "graspologic-native", "jinja2",
)  # fmt: skip
"""Those that a file of a run depends on."""


def conditions(accelerator: str) -> dict[str, Any]:
    """Machine, threads, device and processes, as they are now."""
    import torch

    return {
        "platform": platform.platform(),
        "processor": _processor(),
        "cores": os.cpu_count(),
        "threads": torch.get_num_threads(),
        "device": _device(accelerator),
        "processes": _launched.world(),
    }


def versions() -> dict[str, str]:
    """Versions of Python and of the packages; what is not installed is left out."""
    found = {"python": platform.python_version()}
    for package in PACKAGES:
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            continue
    return found


def _processor() -> str:
    """The model of the processor, where the system tells."""
    try:
        for line in Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace").splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    except OSError:
        pass
    return platform.processor() or platform.machine()


def _device(accelerator: str) -> str:
    """Where the model is trained."""
    import torch

    if accelerator == "cpu":
        return "cpu"
    if torch.cuda.is_available():
        return f"cuda, {torch.cuda.get_device_name(0)}"
    return "mps" if torch.backends.mps.is_available() else "cpu"
