"""What the doctor found out about an adapter, for people and for programs."""

import json
from dataclasses import asdict, dataclass

from veneer_adapters.artifact.manifest import Manifest


@dataclass(frozen=True, slots=True)
class Problem:
    """One reason why the adapter does not load."""

    reason: str
    """A stable code, as in the tree of ``errors``."""
    message: str
    more: int = 0
    """How many further modules or fields have the same problem."""


@dataclass(frozen=True, slots=True)
class Facts:
    """What the files say, as far as they could be read."""

    rank: int | None
    alpha: float | None
    scaling: float | None
    """The largest factor any module's product is multiplied with."""
    use_rslora: bool | None
    target_modules: tuple[str, ...]
    modules: int
    """Modules with both matrices."""
    matched: int | None
    """Those of them the base has; None when there is no base to compare with."""
    base_modules: int | None
    dtype: str
    size_bytes: int
    base_name: str | None
    """What the adapter says it was trained on."""


@dataclass(frozen=True, slots=True)
class Base:
    """What it was compared with."""

    name: str
    dtype: str
    max_rank: int
    fingerprint: str | None


@dataclass(frozen=True, slots=True)
class Cost:
    """Memory the adapter takes while it is loaded."""

    device_slot_bytes: int | None
    """One device slot, whatever is in it: all modules of the base at the server's largest rank."""
    host_copy_bytes: int
    """This adapter in a host slot: its own modules at its own ranks."""


@dataclass(frozen=True, slots=True)
class Report:
    """The whole diagnosis."""

    loads: bool
    problems: tuple[Problem, ...]
    """The first is the one a server would name."""
    warnings: tuple[str, ...]
    ignored: tuple[str, ...]
    """What is in the files and would have no effect."""
    facts: Facts
    base: Base
    cost: Cost
    advice: tuple[str, ...]
    fixable: tuple[str, ...]
    """What ``--fix`` would try."""

    @property
    def reason(self) -> str | None:
        """The code a server would refuse it with; None when it loads."""
        return self.problems[0].reason if self.problems else None

    def to_json(self) -> str:
        """Return the report for programs."""
        return json.dumps({"reason": self.reason, **asdict(self)}, indent=2)


@dataclass(frozen=True, slots=True)
class Repaired:
    """A repaired copy that loads."""

    changes: tuple[str, ...]
    """One sentence each."""
    error: float | None
    """The largest relative error of any change; None when all of them are exact."""
    manifest: Manifest
