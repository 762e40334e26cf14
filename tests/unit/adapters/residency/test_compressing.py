"""A revision above the slots' rank is loaded from a copy that can be lost and made again."""

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from support import builders, storing
from veneer_adapters import errors
from veneer_adapters.artifact.checks import verify
from veneer_adapters.artifact.compression import Compression, compress
from veneer_adapters.artifact.manifest import BaseFacts
from veneer_adapters.catalog.revision import Revision
from veneer_adapters.residency.compressing import Compressing
from veneer_adapters.store.store import Store


class Rig:
    """A store with one revision of rank 4, and slots of rank 2."""

    def __init__(self, tmp_path: Path) -> None:
        self.root = tmp_path
        self.facts = replace(builders.FACTS, max_rank=2, compress=0.9)
        self.made = 0
        self.opened: list[Compressing] = []
        self.start()
        digest, path = storing.put(self.store, builders.write(tmp_path / "source"))
        self.revision = Revision("a", 1, digest, path, builders.MANIFEST, 0)

    def start(self) -> None:
        """Do what a restart does."""
        self.store = Store(self.root / "store")
        folder = self.root / "copies"
        self.compressing = Compressing(folder, self.store, self.compress, lambda: self.facts)
        self.opened.append(self.compressing)

    def compress(self, folder: Path, out: Path, facts: BaseFacts) -> Compression:
        self.made += 1
        return compress(folder, out, facts)


@pytest.fixture
def rig(tmp_path: Path) -> Iterator[Rig]:
    rig = Rig(tmp_path)
    yield rig
    for opened in rig.opened:
        opened.close()


async def test_the_copy_fits_and_the_revision_keeps_its_content(rig: Rig) -> None:
    weights = await rig.compressing.weights_of(rig.revision)
    assert weights.path != rig.revision.path
    assert verify(weights.path, replace(rig.facts, compress=None)).rank == 2
    assert verify(rig.revision.path, builders.FACTS).rank == 4
    assert weights.error is not None
    assert 0 < weights.error < 0.9
    assert rig.compressing.error_of(rig.revision) == weights.error


async def test_a_copy_is_made_once_and_found_again_after_a_restart(rig: Rig) -> None:
    first = await rig.compressing.weights_of(rig.revision)
    assert await rig.compressing.weights_of(rig.revision) == first
    rig.start()
    assert rig.compressing.error_of(rig.revision) == first.error
    assert await rig.compressing.weights_of(rig.revision) == first
    assert rig.made == 1


async def test_slots_of_another_rank_get_another_copy(rig: Rig) -> None:
    first = await rig.compressing.weights_of(rig.revision)
    rig.facts = replace(rig.facts, max_rank=1, compress=0.99)
    rig.start()
    assert rig.compressing.error_of(rig.revision) is None
    second = await rig.compressing.weights_of(rig.revision)
    assert (second.error or 0) > (first.error or 0)
    assert verify(second.path, replace(rig.facts, compress=None)).rank == 1


async def test_slots_that_are_high_enough_get_the_revision_itself(rig: Rig) -> None:
    await rig.compressing.weights_of(rig.revision)
    rig.facts = replace(rig.facts, max_rank=8)
    weights = await rig.compressing.weights_of(rig.revision)
    assert (weights.path, weights.error) == (rig.revision.path, None)
    assert rig.compressing.error_of(rig.revision) is None


@pytest.mark.parametrize("allowed", [None, 1e-3], ids=["no longer at all", "no longer so much"])
async def test_what_may_no_longer_be_lost_is_refused(rig: Rig, allowed: float | None) -> None:
    await rig.compressing.weights_of(rig.revision)
    rig.facts = replace(rig.facts, compress=allowed)
    with pytest.raises(errors.RankTooLarge, match="adapters"):
        await rig.compressing.weights_of(rig.revision)
    assert rig.compressing.error_of(rig.revision) is None


async def test_a_damaged_copy_is_never_loaded_but_made_again(rig: Rig) -> None:
    first = await rig.compressing.weights_of(rig.revision)
    file = first.path / "adapter_model.safetensors"
    good = file.read_bytes()
    file.chmod(0o644)
    file.write_bytes(good[:-1] + b"\xff")
    rig.start()
    assert await rig.compressing.weights_of(rig.revision) == first
    assert (rig.made, file.read_bytes()) == (2, good)


async def test_an_index_that_cannot_be_read_costs_one_more_copy(rig: Rig) -> None:
    await rig.compressing.weights_of(rig.revision)
    (rig.root / "copies" / f"{rig.revision.digest}.json").write_text("{")
    rig.start()
    await rig.compressing.weights_of(rig.revision)
    assert rig.made == 2


async def test_a_copy_is_needed_as_long_as_its_original_is(rig: Rig) -> None:
    copy = (await rig.compressing.weights_of(rig.revision)).path.name
    assert rig.compressing.also({rig.revision.digest}) == {rig.revision.digest, copy}
    assert rig.compressing.also({"f" * 64}) == {"f" * 64}


async def test_nothing_is_left_of_a_copy_that_could_not_be_made(rig: Rig) -> None:
    rig.facts = replace(rig.facts, compress=1e-3)
    with pytest.raises(errors.RankTooLarge):
        await rig.compressing.weights_of(rig.revision)
    assert list((rig.root / "store" / "tmp").iterdir()) == []


def test_two_copies_of_one_revision_are_the_same_content(tmp_path: Path) -> None:
    folder, facts = builders.write(tmp_path / "in"), replace(builders.FACTS, max_rank=2)
    made = []
    for out in (tmp_path / "a", tmp_path / "b"):
        out.mkdir()
        compress(folder, out, replace(facts, compress=0.9))
        made.append([file.read_bytes() for file in sorted(out.iterdir())])
    assert made[0] == made[1]
