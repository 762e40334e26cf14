"""The machine's clock jumps: what is kept is kept, and nothing is refused for it."""

from pathlib import Path

import pytest

from support import builders
from veneer_adapters.catalog.catalog import Arrival, Catalog
from veneer_adapters.catalog.database import Database
from veneer_adapters.catalog.proof import Effect
from veneer_adapters.catalog.replays import Replay, Replays
from veneer_adapters.catalog.revision import Source
from veneer_adapters.errors import MissingFile
from veneer_adapters.names import Selector

HOUR_S = 3600.0
ASKED = Source("path", "/somewhere/a")


class Clock:
    now_s = 1_790_000_000.0

    def __call__(self) -> float:
        return self.now_s


@pytest.mark.parametrize("jump_s", [HOUR_S, -HOUR_S, -50 * 365 * 24 * HOUR_S])
async def test_d4_a_clock_that_jumps_loses_no_replay_no_name_and_no_order(
    tmp_path: Path, jump_s: float
) -> None:
    clock = Clock()
    database = await Database.open(tmp_path / "catalog.db")
    try:
        catalog = await Catalog.open(database, Path, now=clock)
        replays = Replays(database, now=clock)
        await replays.begin("key", "request")
        await replays.finish("key", "201 {}")
        catalog.fail("failed", MissingFile("There is no such folder."), ASKED)
        await publish(catalog, "1")
        clock.now_s += jump_s
        assert await replays.begin("key", "request") == Replay("request", "201 {}")
        assert catalog.knows("failed")
        await publish(catalog, "2")
        assert catalog.resolve(Selector("a", alias="live")).number == 2
        assert [move.main for move in await catalog.moves("a", "live")] == [2, 1]
        assert (await catalog.roll_back("a", "live")).main == 1
    finally:
        await database.close()


async def publish(catalog: Catalog, of: str) -> None:
    made = builders.revision("a", of)
    added = await catalog.add(Arrival("a", made.digest, made.path, made.manifest, ASKED))
    await catalog.prove(added, Effect(2, 0.5, finite=True, repeats=False))
