"""Make the files in requirements/ again from pyproject.toml, or see whether they fit it.

    python scripts/lock.py             versions stay where they can
    python scripts/lock.py --upgrade   the newest versions that fit
    python scripts/lock.py --check     change nothing; needs no network

Each file pins one version of each package, with its hashes, for Linux x86-64 and every Python that
we take. They are installed with ``--no-deps --require-hashes --only-binary :all:``.
"""

import argparse
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from lock_files import (
    APART,
    ENGINES,
    LOCK_OF,
    LOCKS,
    NOT_ON_CPU,
    PYTHONS,
    TORCH_CPU,
    Lock,
    Stale,
    check,
    file_of,
    pins_of,
    read_project,
)

TORCH_INDEX = "https://download.pytorch.org/whl/cpu"
GLIBC = "x86_64-manylinux_2_36"  # Debian 12, the Dockerfile's base


def run(*command: str, said: str = "") -> None:
    """Run a tool of this virtual environment; uv without what its variables would change."""
    mine = {name: value for name, value in os.environ.items() if not name.startswith("UV_")}
    mine["PATH"] = f"{Path(sys.executable).parent}:{mine['PATH']}"
    subprocess.run(command, input=said, text=True, check=True, env=mine, stdout=subprocess.DEVNULL)


def fetch_torch(folder: str) -> None:
    """Fetch PyTorch for CPU, of which uv reads what it needs; as scripts/install does."""
    pip = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--dest", folder]
    pip += ["--require-hashes", "--requirement", str(file_of(TORCH_CPU))]
    try:
        run(*pip)
    except subprocess.CalledProcessError:
        run(*pip, "--index-url", TORCH_INDEX)


def resolve(requirements: Iterable[str], seed: str, *options: str) -> str:
    """Let uv resolve them; what ``seed`` pins stays where it can."""
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder, "out.txt")
        out.write_text(seed)
        uv = ["uv", "pip", "compile", "-", "--quiet", "--no-config", "--output-file", str(out)]
        uv += ["--universal", "--fork-strategy", "fewest", "--python-version", PYTHONS[0]]
        uv += ["--generate-hashes", "--no-header", "--annotation-style", "line", *options]
        run(*uv, said="\n".join(requirements))
        return out.read_text()


def ours(name: str, text: str, without: Iterable[str]) -> str:
    """Keep what is for Linux x86-64 and our Pythons, and of a marker what tells those apart."""
    kept = ""
    for pin in pins_of(name, text):
        on = [python for python in PYTHONS if pin.holds(python)]
        if on and pin.name not in without:
            for_some = f" ; python_version in '{' '.join(on)}'" if len(on) < len(PYTHONS) else ""
            kept += pin.lines.replace(f" ; {pin.marker} \\", f"{for_some} \\", 1)
    return kept


def resolve_together(project: Mapping[str, Any], seed: str, links: list[str]) -> dict[str, str]:
    """Resolve all files of an engine at once. The engines bound different packages: the last
    round finds what suits both."""
    solved = {}
    for engine in ("cuda", "cpu", "cuda"):
        other = set(ENGINES) - {engine} | APART
        locks = [lock for lock in LOCKS if lock.deps and lock.name not in other]
        wanted = sorted({one for lock in locks for one in lock.wanted(project)})
        seed = solved[engine] = resolve(wanted, seed, *(links if engine == "cpu" else []))
    return solved


def make(project: Mapping[str, Any], old: Mapping[str, str], links: list[str]) -> dict[str, str]:
    """Return the text of every file; what the ``old`` ones pin stays where it can."""
    together = "".join(text for name, text in old.items() if name not in APART)
    solved = resolve_together(project, together, links)
    texts = {TORCH_CPU: file_of(TORCH_CPU).read_text()}
    for lock in LOCKS:
        if lock.apart:
            text = resolve(lock.wanted(project), old[lock.name])
            texts[lock.name] = lock.heading(project) + ours(lock.name, text, lock.left_out)
            continue
        engine = "cuda" if lock.name == "cuda" else "cpu"
        options = [] if lock.deps else ["--no-deps"]
        options += links if engine == "cpu" else []
        below = LOCK_OF["cpu"].wanted(project) if lock.on_top else []
        text = resolve([*lock.wanted(project), *below], solved[engine], *options)
        texts[lock.name] = lock.heading(project) + ours(lock.name, text, without(lock, texts))
    return texts


def without(lock: Lock, texts: Mapping[str, str]) -> set[str]:
    """Return what a file leaves out; one on top of an engine, all that comes with that."""
    if not lock.on_top:
        return set(lock.left_out)
    return {pin.name for pin in pins_of("cpu", texts["cpu"])} | NOT_ON_CPU | {"torch"}


def prove_wheels(name: str) -> None:
    """Fail unless every pin has a wheel for each Python, one of those whose hashes we have."""
    uv = ["uv", "pip", "install", "--quiet", "--no-config", "--dry-run", "--no-deps"]
    uv += ["--require-hashes", "--only-binary", ":all:", "--python-platform", GLIBC]
    for python in PYTHONS:
        with tempfile.TemporaryDirectory() as target:
            run(*uv, "--python-version", python, "--target", target, "-r", str(file_of(name)))


def make_all(upgrade: bool) -> None:
    """Write every file, once they all fit."""
    names = [lock.name for lock in LOCKS]
    old = {name: "" if upgrade else read_or_nothing(name) for name in names}
    with tempfile.TemporaryDirectory() as folder:
        fetch_torch(folder)
        texts = make(read_project(), old, ["--find-links", folder])
    check(read_project(), texts)
    for name, text in texts.items():
        file_of(name).write_text(text)
    for name in names:
        prove_wheels(name)


def check_all() -> None:
    """Exit with a sentence when a file is not what it should be."""
    try:
        check(read_project(), {name: read_or_nothing(name) for name in [*LOCK_OF, TORCH_CPU]})
    except Stale as stale:
        sys.exit(f"{stale}. Run `make lock` and commit requirements/.")


def read_or_nothing(name: str) -> str:
    """Return a file's text, or nothing where there is no such file."""
    return file_of(name).read_text() if file_of(name).is_file() else ""


def main() -> None:
    """Do what the command line says."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--check", action="store_true", help="change nothing")
    parser.add_argument("--upgrade", action="store_true", help="take the newest versions that fit")
    asked = parser.parse_args()
    if asked.check:
        check_all()
        return
    try:
        make_all(asked.upgrade)
    except (Stale, subprocess.CalledProcessError) as error:
        sys.exit(f"requirements/ could not be made: {error}")


if __name__ == "__main__":
    main()
