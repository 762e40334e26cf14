"""What lies in requirements/: which files, from what of pyproject.toml, and whether they fit."""

import hashlib
import re
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from packaging.markers import Marker
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).resolve().parent.parent
PYTHONS = ("3.11", "3.12", "3.13")
ENGINES = ("cpu", "cuda")
TORCH_CPU = "torch-cpu"

# A CPU needs none of them. PyPI's torchvision, torchaudio and torchcodec do not match PyTorch for
# CPU and then break transformers; vLLM switches PyPI's triton off, which knows no CPU.
NOT_ON_CPU = frozenset({"torchvision", "torchaudio", "torchcodec", "triton"})
# intel-openmp's wheel for Linux asks for it, the one that uv reads does not.
UNSEEN = ("intel-cmplr-lib-ur==2024.2.1",)


class Stale(Exception):
    """A file in requirements/ is not what it should be."""


@dataclass(frozen=True)
class Lock:
    """One file: what it is made for, and what of that it leaves to other files or to nobody."""

    name: str
    extra: str = ""
    group: str = ""
    project: bool = False
    build: bool = False
    deps: bool = True
    on_top: bool = False
    apart: bool = False
    """It is an environment of its own, so its versions need not be those of other files."""
    left_out: frozenset[str] = frozenset()
    more: tuple[str, ...] = ()

    def wanted(self, project: Mapping[str, Any]) -> list[str]:
        """Return what pyproject.toml asks for in this file, and what uv would miss."""
        of = project["project"]
        found = [*self.more, *(of["dependencies"] if self.project else [])]
        found += of["optional-dependencies"][self.extra] if self.extra else []
        found += project["dependency-groups"][self.group] if self.group else []
        found += project["build-system"]["requires"] if self.build else []
        return sorted(set(found))

    def heading(self, project: Mapping[str, Any]) -> str:
        """Return the file's first line, another one for other requirements."""
        made_from = [*self.wanted(project), "without", *sorted(self.left_out)]
        digest = hashlib.sha256("\n".join(made_from).encode()).hexdigest()[:16]
        return f"# Made by `make lock` from pyproject.toml ({digest}). Change that, not this.\n"


LOCKS = (
    Lock("build", group="build", build=True),
    Lock("dev", group="dev", project=True),
    Lock("cpu", extra="cpu", project=True, left_out=NOT_ON_CPU | {"torch"}, more=UNSEEN),
    Lock("cuda", extra="cuda", project=True),
    Lock("model", group="model", deps=False),
    Lock("kernels", group="kernels", deps=False),
    Lock("bench", group="bench", on_top=True),
    Lock("train", extra="train", on_top=True),
    Lock("browser", group="browser", on_top=True),
    Lock("clients", group="clients", apart=True),
    Lock("clients-earlier", group="clients-earlier", apart=True),
)
LOCK_OF = {lock.name: lock for lock in LOCKS}
APART = {lock.name for lock in LOCKS if lock.apart}


@dataclass(frozen=True)
class Pin:
    """One version of one package, for which Pythons, and the lines it stands in."""

    name: str
    version: str
    marker: str
    hashes: int
    lines: str

    def holds(self, python: str) -> bool:
        """Whether it is for this Python, on Linux x86-64."""
        return not self.marker or Marker(self.marker).evaluate(
            {
                "python_version": python,
                "python_full_version": f"{python}.0",
                "implementation_name": "cpython",
                "platform_python_implementation": "CPython",
                "os_name": "posix",
                "sys_platform": "linux",
                "platform_system": "Linux",
                "platform_machine": "x86_64",
            }
        )


Pins = dict[str, list[Pin]]
_PIN = re.compile(r"([A-Za-z0-9][A-Za-z0-9._-]*)==([A-Za-z0-9.+!]+)(?: ; ([^\\]+?))? \\")
_HASH = re.compile(r" +--hash=sha256:[0-9a-f]{64}(?: \\)?")


def file_of(name: str) -> Path:
    """Return where the file of this name lies."""
    return ROOT / "requirements" / f"{name}.txt"


def read_project() -> dict[str, Any]:
    """Read pyproject.toml."""
    return tomllib.loads((ROOT / "pyproject.toml").read_text())


def pins_of(name: str, text: str) -> list[Pin]:
    """Read a file; ``Stale`` when it has anything in it but pins with hashes, and comments."""
    pins = []
    for block in re.split(r"(?m)^(?=[^\s#])", text)[1:]:
        lines = [line for line in block.splitlines() if line and not line.lstrip().startswith("#")]
        first = _PIN.fullmatch(lines[0])
        if not first or not lines[1:] or not all(map(_HASH.fullmatch, lines[1:])):
            raise Stale(f"requirements/{name}.txt: not a version with its hashes: {lines[0]}")
        found = canonicalize_name(first[1]), first[2], first[3] or ""
        pins.append(Pin(*found, hashes=len(lines) - 1, lines=block))
    return pins


def versions(name: str, pins: Pins, python: str) -> dict[str, str]:
    """Return each package's version in one file for one Python; ``Stale`` when it has two."""
    found: dict[str, str] = {}
    for pin in pins[name]:
        if pin.holds(python) and found.setdefault(pin.name, pin.version) != pin.version:
            raise Stale(f"requirements/{name}.txt has two versions of {pin.name}")
    return found


def check(project: Mapping[str, Any], texts: Mapping[str, str]) -> None:
    """Raise ``Stale`` unless the files belong to pyproject.toml and to each other."""
    pins = {name: pins_of(name, text) for name, text in texts.items()}
    for lock in LOCKS:
        if not texts[lock.name].startswith(lock.heading(project)):
            raise Stale(f"requirements/{lock.name}.txt was made from other requirements")
    for python in PYTHONS:
        for lock in LOCKS:
            _check_requirements(lock, lock.wanted(project), pins, python)
        for engine in ENGINES:
            _check_agreement(engine, pins, python)
    _check_torch(pins)


def _check_requirements(lock: Lock, wanted: list[str], pins: Pins, python: str) -> None:
    here = versions(lock.name, pins, python)
    if extra := sorted(lock.left_out & set(here)):
        raise Stale(f"requirements/{lock.name}.txt should not have {', '.join(extra)}")
    below = versions(ENGINES[0], pins, python) if lock.on_top else {}
    for one in map(Requirement, wanted):
        version = (below | here).get(canonicalize_name(one.name))
        if version is None or not one.specifier.contains(version, prereleases=True):
            raise Stale(f"requirements/{lock.name}.txt has no {one} for Python {python}")


def _check_agreement(engine: str, pins: Pins, python: str) -> None:
    """Files that are installed into one environment have one version of each package."""
    seen: dict[str, tuple[str, str]] = {}
    for name in sorted(set(pins) - set(ENGINES) - {TORCH_CPU} - APART | {engine}):
        for package, version in versions(name, pins, python).items():
            first, there = seen.setdefault(package, (version, name))
            if first != version:
                raise Stale(f"{package} is {first} in {there}.txt and {version} in {name}.txt")


def _check_torch(pins: Pins) -> None:
    cuda = versions("cuda", pins, PYTHONS[0])["torch"]
    if [(pin.name, pin.version) for pin in pins[TORCH_CPU]] != [("torch", f"{cuda}+cpu")]:
        raise Stale(f"requirements/{TORCH_CPU}.txt should have torch {cuda}+cpu, and that alone")
    if pins[TORCH_CPU][0].hashes != len(PYTHONS):
        raise Stale(f"requirements/{TORCH_CPU}.txt should have a hash for each Python")
