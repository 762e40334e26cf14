"""What a name costs with many adapters registered: each kind of name, memory, and the start.

    python tests/bench/resolving.py [--count 10000]

Time of ``Catalog.resolve`` alone, and with the parsing of the text before it. The
adapters are rows in a SQLite in /tmp; no file of theirs exists.
"""

import argparse
import asyncio
import random
import statistics
import sys
import tempfile
import time
import tracemalloc
from collections.abc import Callable, Sequence
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))

import structlog

from support.builders import FOLDER, MANIFEST
from veneer_adapters.catalog.alias import Target
from veneer_adapters.catalog.catalog import Arrival, Catalog
from veneer_adapters.catalog.database import Database
from veneer_adapters.catalog.proof import Effect
from veneer_adapters.catalog.splitting import Caller
from veneer_adapters.errors import AdapterError
from veneer_adapters.names import parse_model

BASES = {"base"}
EFFECT = Effect(2, 1.0, finite=True, repeats=False)


def digest(index: int, number: int) -> str:
    return f"{index * 10 + number:08x}" + "0" * 56


async def fill(catalog: Catalog, names: Sequence[str]) -> float:
    """Give each name two revisions, the first live; return the seconds both commits took."""
    began_s = time.perf_counter()
    for number in (1, 2):
        arrivals = [
            Arrival(name, digest(i, number), Path("/nowhere"), MANIFEST, FOLDER)
            for i, name in enumerate(names)
        ]
        await catalog.add_all(arrivals)
    return time.perf_counter() - began_s


async def split(catalog: Catalog, name: str) -> None:
    """Split ``live`` of ``name`` between both its revisions, the same user always on one."""
    for revision in catalog.revisions(name):
        await catalog.prove(revision, EFFECT)
    await catalog.move(name, "live", (Target(1, 90), Target(2, 10)), sticky="user")


def each_us(act: Callable[[str], object], texts: Sequence[str]) -> list[float]:
    """Return the microseconds of each call, without the clock's own."""
    clock = time.perf_counter_ns
    idle = statistics.median(-clock() + clock() for _ in range(1000))
    spent = []
    for text in texts:
        began = clock()
        act(text)
        spent.append((clock() - began - idle) / 1000)
    return spent


def tell(what: str, spent: Sequence[float]) -> None:
    p99 = statistics.quantiles(spent, n=100)[98]
    sys.stdout.write(f"| {what} | {statistics.median(spent):.2f} | {p99:.2f} |\n")


def miss(catalog: Catalog, text: str) -> None:
    try:
        catalog.resolve(parse_model(text, BASES))  # type: ignore[arg-type]
    except AdapterError:
        return


async def run(folder: Path, count: int) -> None:
    names = [f"team{i % 100}/adapter-{i}" for i in range(count)]
    database = await Database.open(folder / "catalog.db")
    try:
        catalog = await Catalog.open(database, Path)
        seconds = await fill(catalog, names)
        for name in names[:50]:
            await split(catalog, name)
        sys.stdout.write(f"{count} adapters, {2 * count} revisions: {seconds:.1f} s to write\n")
        measure(catalog, names)
        await reopen(database, count)
    finally:
        await database.close()


def measure(catalog: Catalog, names: Sequence[str]) -> None:
    chance = random.Random(0)  # noqa: S311 - repeatable on purpose
    asked = [chance.randrange(50, len(names)) for _ in range(50_000)]
    caller = Caller(user="somebody", draw=0.5)
    kinds = {
        "name": [names[i] for i in asked],
        "name@2": [f"{names[i]}@2" for i in asked],
        "name@sha256:...": [f"{names[i]}@sha256:{digest(i, 2)}" for i in asked],
        "name, split and sticky": [names[i % 50] for i in asked],
    }
    sys.stdout.write("\n| what | median us | p99 us |\n|---|---|---|\n")
    for what, texts in kinds.items():
        selectors = {text: parse_model(text, BASES) for text in texts}

        def resolve(text: str, known: dict = selectors) -> object:  # type: ignore[type-arg]
            return catalog.resolve(known[text], caller)

        def parse_too(text: str) -> object:
            return catalog.resolve(parse_model(text, BASES), caller)  # type: ignore[arg-type]

        each_us(resolve, texts[:5000])
        tell(what, each_us(resolve, texts))
        tell(f"{what}, parsed too", each_us(parse_too, texts))
    tell("a name there is not", each_us(lambda text: miss(catalog, text), ["adaptor-77"] * 50))


async def reopen(database: Database, count: int) -> None:
    began_s = time.perf_counter()
    await Catalog.open(database, Path)
    opened_s = time.perf_counter() - began_s
    tracemalloc.start()
    catalog = await Catalog.open(database, Path)
    used, peak = tracemalloc.get_traced_memory()
    sys.stdout.write(
        f"\nopen: {opened_s:.2f} s; kept {used / 2**20:.1f} MiB ({used / count / 1024:.1f} KiB an"
        f" adapter), {peak / 2**20:.1f} MiB while reading; {len(catalog.adapters())} listed\n"
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--count", type=int, default=10_000)
    asked = parser.parse_args()
    structlog.configure(processors=[lambda *_: (_ for _ in ()).throw(structlog.DropEvent)])
    with tempfile.TemporaryDirectory() as name:
        asyncio.run(run(Path(name), asked.count))


if __name__ == "__main__":
    main()
