"""``python -m soak``: run a soak and say whether everything held."""

import argparse
import asyncio
import json
import math
import os
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from itertools import groupby, pairwise
from pathlib import Path
from statistics import median

from soak import checks, ledger
from soak.changes import Changes
from soak.clients import Clients
from soak.nemesis import Nemesis
from soak.world import World, left_in_shared_memory, publish
from support import disks

_Look = Mapping[str, float]

_QUIET_S = 5
_DISK_BYTES = 128 << 20
_GATEWAY_MIB_A_MINUTE = 0.5
_ONCE_MIB = 16
"""What an allocator may take in one step, whatever the length of the run."""
_SHOWN = 20


def main() -> int:
    """Run it; return 0 if nothing was violated."""
    parser = argparse.ArgumentParser(prog="soak", description=sys.modules["soak"].__doc__)
    parser.add_argument("--looks", type=Path, help="a file for what was seen each second")
    parser.add_argument("--minutes", type=float, default=5, help="how long clients ask")
    parser.add_argument("--every", type=float, default=60, help="seconds between two faults")
    parser.add_argument("--clients", type=int, default=6)
    parser.add_argument("--adapters", type=int, default=12)
    parser.add_argument("--seed", type=int, default=1)
    asked = parser.parse_args()
    own_disk = disks.may_mount()
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="soak")))
        if own_disk:
            stack.enter_context(disks.mounted(folder / "state", _DISK_BYTES))
        else:
            print("this process may not mount, so no disk is filled", flush=True)
        return asyncio.run(_soak(asked, World(folder, asked.adapters, own_disk=own_disk)))


async def _soak(asked: argparse.Namespace, world: World) -> int:
    segments = set(os.listdir("/dev/shm"))  # noqa: S108 - looked at, not written
    print("starting the server and publishing the adapters", flush=True)
    await asyncio.to_thread(world.start)
    golden = await asyncio.to_thread(publish, world)
    clients = Clients(world, asked.clients, asked.seed)
    changes, nemesis = Changes(world, asked.seed), Nemesis(world)
    looks: list[_Look] = []
    print(f"{asked.minutes:g} minutes of {asked.clients} clients begin", flush=True)
    async with asyncio.TaskGroup() as group:
        group.create_task(clients.run())
        group.create_task(changes.run(clients.stopping))
        group.create_task(nemesis.run(clients.stopping, asked.every))
        group.create_task(_watch(world, looks, clients.stopping))
        await asyncio.sleep(asked.minutes * 60)
        clients.stopping.set()
    await asyncio.sleep(_QUIET_S)
    code = await asyncio.to_thread(world.stop)
    if asked.looks:
        asked.looks.write_text("".join(f"{json.dumps(look)}\n" for look in looks))
    violations = [
        *checks.honest_ends(clients.records, nemesis.troubles),
        *checks.right_weights(clients.records, golden),
        *checks.right_revisions(clients.records, changes.pointers),
        *checks.one_line_each(clients.records, world.lives),
        *checks.counters_equal(clients.records, world.lives),
        *changes.violations,
        *([] if code == 0 else [f"the server ended with {code}"]),
        *(f"the shared memory {name} is left" for name in left_in_shared_memory(segments)),
        *_report_growth(_longest(looks, [life.since_s for life in world.lives])),
    ]
    _report(clients, changes, world, violations)
    return 1 if violations else 0


async def _watch(world: World, looks: list[_Look], stopping: asyncio.Event) -> None:
    stop = asyncio.ensure_future(stopping.wait())
    while not (await asyncio.wait({stop}, timeout=1))[0]:
        try:
            looks.append(await asyncio.to_thread(world.look))
        except (LookupError, OSError, RuntimeError) as error:
            print(f"    no look: {error}", flush=True)  # between two gateways
        except Exception as error:
            if type(error).__module__ != "psutil":
                raise


def _longest(looks: Sequence[_Look], starts: list[float]) -> list[_Look]:
    """Return what was seen of the gateway that was looked at the most.

    A gateway that has just started grows until each path has been taken once, so one that a fault
    ends after two minutes tells nothing.
    """
    lives = [
        [look for look in looks if start < look["at_s"] <= end]
        for start, end in pairwise([*starts, math.inf])
    ]
    return max(lives, key=len)


def _report_growth(life: list[_Look]) -> list[str]:
    """Print how much a gateway and its longest engine grew; return what is too much."""
    engines = [list(looks) for _, looks in groupby(life, key=lambda look: look["engine"])]
    violations = []
    for what in ("gateway MiB", "gateway fds", "gateway threads", "engine MiB"):
        seen = max(engines, key=len) if what.startswith("engine") else life
        third = len(seen) // 3
        if third < 5:
            continue
        grown = median(x[what] for x in seen[-third:]) - median(x[what] for x in seen[third:-third])
        minutes = (seen[-1]["at_s"] - seen[0]["at_s"]) / 180
        print(f"  {what}: {grown:+.1f} in {minutes:.1f} minutes, {seen[-1][what]:.0f} at the end")
        allowed = _ONCE_MIB + _GATEWAY_MIB_A_MINUTE * minutes
        if what == "gateway MiB" and grown > allowed:
            violations.append(f"the gateway grew by {grown:.1f} MiB in {minutes:.1f} minutes")
    return violations


def _report(clients: Clients, changes: Changes, world: World, violations: list[str]) -> None:
    took_s = max(r.ended_s for r in clients.records) - min(r.sent_s for r in clients.records)
    print(
        f"{len(clients.records)} requests in {took_s / 60:.1f} minutes, {len(world.lives)} gateways"
    )
    for what, count in ledger.tally(clients.records).items():
        print(f"  {count:6} {what}")
    print(f"{changes.moved} moves of an alias, {changes.refused} refused or uncertain")
    print(f"{len(violations)} violations")
    for violation in violations[:_SHOWN]:
        print(f"  {violation}")


if __name__ == "__main__":
    began = time.monotonic()
    code = main()
    print(f"took {(time.monotonic() - began) / 60:.1f} minutes")
    sys.exit(code)
