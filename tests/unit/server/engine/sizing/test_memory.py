"""How much memory this process may take, on machines and in control groups that are folders here.

The rows are what Linux, Docker and systemd show; the tree is made under a temporary folder.
"""

from collections.abc import Mapping
from pathlib import Path

import pytest

from veneer_server.engine.sizing.memory import available_bytes

GIB = 2**30
MACHINE = 16 * GIB
NOT_LIMITED = str(2**63 - 4096)
"""What the first version of control groups says where no limit was set."""


def machine(root: Path, files: Mapping[str, str | int]) -> Path:
    """Make a machine with 16 GiB free and these other files."""
    for name, text in {"proc/meminfo": f"MemAvailable: {MACHINE // 1024} kB", **files}.items():
        file = root / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(f"{text}\n")
    return root


def second(folder: str, limit: int | str, used: int = 0, cached: int = 0) -> dict[str, str | int]:
    """A group of version 2."""
    at = f"sys/fs/cgroup/{folder}".rstrip("/")
    stat = f"anon 5\ninactive_file {cached}\nactive_file 7"
    return {
        f"{at}/memory.max": limit,
        f"{at}/memory.current": used,
        f"{at}/memory.stat": stat,
    }


def first(folder: str, limit: int | str, used: int = 0, cached: int = 0) -> dict[str, str | int]:
    """A group of version 1."""
    at = f"sys/fs/cgroup/memory/{folder}".rstrip("/")
    return {
        f"{at}/memory.limit_in_bytes": limit,
        f"{at}/memory.usage_in_bytes": used,
        f"{at}/memory.stat": f"inactive_file 9\ntotal_inactive_file {cached}",
    }


IN = "proc/self/cgroup"
FIRST = "7:cpu,cpuacct:/\n5:memory:"
MACHINES = {
    "no control groups": ({}, MACHINE),
    "a container with a limit": (
        {IN: "0::/", **second("", 4 * GIB, 1 * GIB)},
        3 * GIB,
    ),
    "a service that is held back before its limit": (
        {IN: "0::/", **second("", 8 * GIB, 1 * GIB), "sys/fs/cgroup/memory.high": 5 * GIB},
        4 * GIB,
    ),
    "a group above the top that is seen": (
        {IN: "0::/../../other", **second("", 4 * GIB, 1 * GIB)},
        3 * GIB,
    ),
    "a group that was removed": ({IN: "0::/gone (deleted)", **second("", "max")}, MACHINE),
    "what is only cached is free": (
        {IN: "0::/", **second("", 4 * GIB, 3 * GIB, cached=2 * GIB)},
        3 * GIB,
    ),
    "a group without a limit": ({IN: "0::/", **second("", "max", 1 * GIB)}, MACHINE),
    "a service in a slice with less": (
        {
            IN: "0::/user.slice/veneer.service",
            **second("user.slice", 6 * GIB, 4 * GIB),
            **second("user.slice/veneer.service", 5 * GIB, 1 * GIB),
        },
        2 * GIB,
    ),
    "a limit beyond the machine": ({IN: "0::/", **second("", 64 * GIB, 1 * GIB)}, MACHINE),
    "a group that took more than its limit": ({IN: "0::/", **second("", 1 * GIB, 2 * GIB)}, 0),
    "version 1, with a limit": (
        {IN: f"{FIRST}/", **first("", 4 * GIB, 2 * GIB, cached=1 * GIB)},
        3 * GIB,
    ),
    "version 1, without a limit": ({IN: f"{FIRST}/", **first("", NOT_LIMITED, 2 * GIB)}, MACHINE),
    "version 1, a name that only the host knows": (
        {IN: f"{FIRST}/docker/3f2a", **first("", 2 * GIB)},
        2 * GIB,
    ),
    "version 1 with an empty version 2 beside it": (
        {IN: f"{FIRST}/\n0::/", **first("", 2 * GIB)},
        2 * GIB,
    ),
}


@pytest.mark.parametrize("name", MACHINES)
def test_memory_is_the_machines_or_what_the_closest_limit_leaves(tmp_path: Path, name: str) -> None:
    files, left = MACHINES[name]
    assert available_bytes(machine(tmp_path, files)) == left


def test_on_this_machine_it_is_more_than_nothing_and_less_than_the_machine() -> None:
    total_kib = int(Path("/proc/meminfo").read_text().splitlines()[0].split()[1])
    assert 0 < available_bytes() <= total_kib * 1024
