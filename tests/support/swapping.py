"""What is needed to tell whether swaps under load went well: two ledgers, and a look at memory."""

import re
import statistics
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import psutil

MIB = 2**20


@dataclass(frozen=True)
class Told:
    """One answer, as its client saw it; times are monotonic seconds."""

    prompt: str
    header: str
    """The value of ``x-veneer-adapter``."""
    text: str
    sent_s: float
    begun_s: float
    """When its first bytes were there."""
    ended_s: float

    @property
    def revision(self) -> int:
        """The number in the header."""
        found = re.fullmatch(r"[^@]+@(\d+)#sha256:[0-9a-f]{12}", self.header)
        assert found, self.header
        return int(found[1])


@dataclass
class Pointer:
    """Where an alias pointed, as known to who moves it: each move happened in some interval."""

    revisions: list[int] = field(default_factory=list)
    sent_s: list[float] = field(default_factory=list)
    done_s: list[float] = field(default_factory=list)

    def moved(self, revision: int, sent_s: float, done_s: float) -> None:
        """Note a move that was asked for at ``sent_s`` and answered at ``done_s``."""
        self.revisions.append(revision)
        self.sent_s.append(sent_s)
        self.done_s.append(done_s)

    def between(self, since_s: float, until_s: float) -> set[int]:
        """Return every revision it may have pointed to at some instant of the interval."""
        ends_s = [*self.done_s[1:], float("inf")]
        spans = zip(self.revisions, self.sent_s, ends_s, strict=True)
        return {
            number for number, begin_s, end_s in spans if begin_s <= until_s and end_s >= since_s
        }


class Family:
    """A server's processes: the gateway, and those of its engine."""

    def __init__(self, pid: int) -> None:
        self.gateway = psutil.Process(pid)
        self.engine = self.gateway.children(recursive=True)
        self.seen: list[dict[str, float]] = []

    def pids(self) -> set[int]:
        """Return the ids of all that run now."""
        return {p.pid for p in (self.gateway, *self.gateway.children(recursive=True))}

    def look(self) -> dict[str, float]:
        """Return, and remember, what the processes hold now: MiB, counts, and the time."""
        found = {
            "at_s": time.monotonic(),
            "gateway": own_bytes(self.gateway.pid) / MIB,
            "engine": sum(own_bytes(p.pid) for p in self.engine) / MIB,
        }
        self.seen.append(found)
        return found

    def holds(self) -> dict[str, int]:
        """Return what must come back to what it was: descriptors, and mapped shared memory."""
        everybody = (self.gateway, *self.engine)
        return {
            "fds": sum(p.num_fds() for p in everybody),
            "shm_bytes": sum(shared_bytes(p.pid) for p in everybody),
        }

    def require_flat(self, which: str, *, once_mib: float, each_minute_mib: float) -> None:
        """Fail when ``which`` grew by more over the last two thirds of the looks.

        The growth is the step from the median of the middle third to that of the last one, so
        that no single look decides; ``once_mib`` is what an allocator may take in one step.
        """
        third = len(self.seen) // 3
        middle, last = self.seen[third : 2 * third], self.seen[2 * third :]
        grown = _median(last, which) - _median(middle, which)
        minutes = (_median(last, "at_s") - _median(middle, "at_s")) / 60
        told = f"{which} grew by {grown:.1f} MiB in {minutes:.1f} minutes"
        assert grown <= once_mib + each_minute_mib * minutes, told
        print(told)


def _median(seen: Sequence[dict[str, float]], which: str) -> float:
    return statistics.median(look[which] for look in seen)


def own_bytes(pid: int) -> int:
    """Return how much memory a process has made its own, also where the kernel swapped it out.

    Pages of files do not count: the kernel takes and gives them as other programs need memory.
    """
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    fields = dict(line.split(":", 1) for line in lines)
    return sum(int(fields[name].split()[0]) * 1024 for name in ("RssAnon", "VmSwap"))


def shared_bytes(pid: int) -> int:
    """Return what it maps of /dev/shm, where other programs of the machine come and go."""
    mapped = 0
    for line in Path(f"/proc/{pid}/maps").read_text().splitlines():
        if " /dev/shm/" in line:
            begin, end = line.split(maxsplit=1)[0].split("-")
            mapped += int(end, 16) - int(begin, 16)
    return mapped
