"""What the doctor found out about an adapter, for people and for programs."""

import json
from dataclasses import asdict, dataclass

from veneer_adapters.artifact.compression import Compression
from veneer_adapters.artifact.manifest import Manifest


@dataclass(frozen=True, slots=True)
class Problem:
    """One reason why the adapter does not load."""

    reason: str
    """A stable code, as in ``errors``."""
    message: str
    more: int = 0
    """How many further modules or fields have the same problem."""


@dataclass(frozen=True, slots=True)
class Facts:
    """What the files say, as far as they could be read."""

    rank: int | None
    alpha: float | None
    scaling: float | None
    """The largest factor by which the product of any module is multiplied."""
    use_rslora: bool | None
    target_modules: tuple[str, ...]
    modules: int
    """How many modules have both matrices."""
    matched: int | None
    """How many of them the base has; None when there is no base to compare with."""
    base_modules: int | None
    dtype: str
    size_bytes: int
    base_name: str | None
    """The base model that the adapter says it was trained on."""


@dataclass(frozen=True, slots=True)
class Base:
    """The base model that the adapter was compared with."""

    name: str
    dtype: str
    max_rank: int
    fingerprint: str | None


@dataclass(frozen=True, slots=True)
class Cost:
    """The memory that the adapter takes while it is loaded."""

    device_slot_bytes: int | None
    """One device slot, whatever is in it: all modules of the base at the largest rank of the
    server."""
    host_copy_bytes: int
    """This adapter in a host slot: its own modules at their own ranks."""


@dataclass(frozen=True, slots=True)
class Report:
    """The whole diagnosis."""

    loads: bool
    problems: tuple[Problem, ...]
    """The first one is what a server would report."""
    warnings: tuple[str, ...]
    ignored: tuple[str, ...]
    """What is in the files but would have no effect."""
    facts: Facts
    base: Base
    cost: Cost
    advice: tuple[str, ...]
    fixable: tuple[str, ...]
    """What ``--fix`` would try."""
    compression: Compression | None = None
    """What it loses because the slots have a lower rank; None when it is served as it is."""

    @property
    def reason(self) -> str | None:
        """The code with which a server would refuse the adapter; None when it loads."""
        return self.problems[0].reason if self.problems else None

    def to_json(self) -> str:
        """Return the report as JSON."""
        return json.dumps({"reason": self.reason, **asdict(self)}, indent=2)


@dataclass(frozen=True, slots=True)
class Repaired:
    """A repaired copy that loads."""

    changes: tuple[str, ...]
    """One sentence each."""
    error: float | None
    """The largest relative error of any change; None when all changes are exact."""
    manifest: Manifest
