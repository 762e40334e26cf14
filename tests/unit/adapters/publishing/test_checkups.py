"""A check reads the folder that was named when it was asked for, whatever lies there later."""

import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from support import builders
from veneer_adapters.artifact.manifest import BaseFacts
from veneer_adapters.artifact.opening import Place
from veneer_adapters.catalog.revision import Source
from veneer_adapters.doctor.report import Report
from veneer_adapters.errors import MissingFile, PathNotAllowed
from veneer_adapters.publishing.checkup import Checkup
from veneer_adapters.publishing.intake import Intake
from veneer_adapters.sandbox.sandbox import Sandbox
from veneer_adapters.sources.base import Root
from veneer_adapters.store.store import Store


class Late(Sandbox):
    """Something happens between the opening of the folder and its examination."""

    def __init__(self) -> None:
        super().__init__()
        self.happens: Callable[[], object] = lambda: None

    def examine(self, folder: Place, facts: BaseFacts) -> Report:
        self.happens()
        return super().examine(folder, facts)


@pytest.fixture
def sandbox() -> Iterator[Late]:
    with Late() as late:
        yield late


@pytest.fixture
def root(tmp_path: Path) -> Root:
    (tmp_path / "adapters").mkdir()
    return Root(tmp_path / "adapters")


def checkup(tmp_path: Path, root: Root, sandbox: Sandbox) -> Checkup:
    intake = Intake(Store(tmp_path / "store"), lambda _: builders.MANIFEST, roots=[root])
    return Checkup(intake, sandbox, builders.FACTS)


def exchange(folder: Path, other: Path) -> None:
    folder.rename(folder.with_name("moved"))
    folder.symlink_to(other)


async def test_a_folder_that_is_exchanged_for_a_link_meanwhile_is_still_the_one_that_is_read(
    tmp_path: Path, root: Root, sandbox: Late
) -> None:
    outside = builders.write(tmp_path / "outside", r=2)
    folder = builders.write(root.path / "a", r=4)
    sandbox.happens = lambda: exchange(folder, outside)
    report = await checkup(tmp_path, root, sandbox).examine(Source("path", str(folder)))
    assert (report.loads, report.facts.rank) == (True, 4)


async def test_a_link_to_a_file_of_the_same_root_is_read_and_one_out_of_it_is_not(
    tmp_path: Path, root: Root, sandbox: Late
) -> None:
    real = builders.write(root.path / "real")
    linked = root.path / "linked"
    linked.mkdir()
    for file in real.iterdir():
        (linked / file.name).symlink_to(file)
    examined = checkup(tmp_path, root, sandbox)
    assert (await examined.examine(Source("path", str(linked)))).loads
    outside = shutil.move(real / "adapter_model.safetensors", tmp_path)
    (real / "adapter_model.safetensors").symlink_to(outside)
    report = await examined.examine(Source("path", str(real)))
    assert [problem.reason for problem in report.problems] == ["path_not_allowed"]


async def test_a_folder_outside_the_roots_or_of_nothing_is_not_examined(
    tmp_path: Path, root: Root, sandbox: Late
) -> None:
    examined = checkup(tmp_path, root, sandbox)
    outside = builders.write(tmp_path / "outside")
    with pytest.raises(PathNotAllowed):
        await examined.examine(Source("path", str(outside)))
    with pytest.raises(MissingFile):
        await examined.examine(Source("path", str(root.path / "nothing")))
