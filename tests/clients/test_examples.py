"""Every example, in the environment of its library, against the real engine."""

import shutil
from pathlib import Path

import pytest

from clients import environments
from clients.running import World
from support.examples import FOLDER, PRINTED, run

pytestmark = [pytest.mark.clients, pytest.mark.engine, pytest.mark.timeout(300)]


@pytest.mark.parametrize("name", PRINTED)
def test_an_example_runs_as_it_is(name: str, real: World, tmp_path: Path) -> None:
    run(_command(name, tmp_path), real.url, name)


def _command(name: str, folder: Path) -> list[str]:
    if name.endswith(".sh"):
        return ["sh", str(FOLDER / name)]
    if name.endswith(".py"):
        return [str(environments.python("current")), str(FOLDER / name)]
    # Node looks for packages beside the file.
    (folder / "node_modules").symlink_to(environments.folder("node") / "node_modules")
    return [str(environments.node()), shutil.copy(FOLDER / name, folder)]
