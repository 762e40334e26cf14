"""How long the server takes for the console's table, and a browser for the first sight of it.

    PYTHONPATH=tests python tests/bench/console_table.py  # on a quiet machine

It fills a catalog with 1,000 adapters that are there on paper only, of which 200 have traffic, and
asks for a page of 100 and one of 1,000 rows. With playwright and Chromium it also opens two pages,
seven times each, without any cache. The CPU time is that of server and client together: it
holds on a busy machine too.
"""

import asyncio
import statistics
import tempfile
import time
from pathlib import Path

import httpx

from support import builders
from support.serving import Served, serve_echo
from veneer_adapters.catalog.entry import Arrival
from veneer_adapters.catalog.revision import Source

ADAPTERS, BUSY, ROUNDS, OPENED = 1000, 200, 30, 7
FIRST_PAINT = """new Promise(done => new PerformanceObserver(list => {
  for (const entry of list.getEntriesByName('first-contentful-paint')) done(entry.startTime);
}).observe({type: 'paint', buffered: true}))"""


async def fill(served: Served) -> None:
    assert served.parts is not None
    source = Source("https", "https://nowhere.example/")
    arrivals = [
        Arrival(f"team/variant-{n:04}", f"{n:064x}", Path("/nowhere"), builders.MANIFEST, source)
        for n in range(ADAPTERS)
    ]
    await served.parts.catalog.add_all(arrivals)
    for arrival in arrivals[:BUSY]:
        with served.parts.server.metrics.request("chat", arrival.name) as seen:
            seen.token()
            seen.completed()


async def measure(client: httpx.AsyncClient, path: str) -> None:
    took, worked = [], []
    for _ in range(ROUNDS):
        began, busy = time.perf_counter(), time.process_time()
        answer = await client.get(path)
        took.append((time.perf_counter() - began) * 1000)
        worked.append((time.process_time() - busy) * 1000)
        assert answer.status_code == 200
    print(f"{path}: {told(took)}; of CPU {told(worked)}; {len(answer.content)} B")


def told(times: list[float]) -> str:
    p95 = statistics.quantiles(times, n=20)[-1]
    return f"median {statistics.median(times):.0f} ms, p95 {p95:.0f} ms"


async def paint(url: str) -> None:
    from support.browsing import chromium, visiting

    async with chromium() as browser:
        for path in ("/console/", "/console/variants"):
            took = []
            for _ in range(OPENED):
                async with visiting(browser, url) as page:
                    await page.goto(path)
                    took.append(await page.evaluate(FIRST_PAINT))
            middle = statistics.median(took)
            print(f"{path}: first paint, median of {OPENED}: {middle:.0f} ms, of {took}")


async def main() -> None:
    with tempfile.TemporaryDirectory() as folder:
        async with serve_echo(Path(folder)) as served:
            await fill(served)
            async with httpx.AsyncClient(base_url=served.url, timeout=60) as client:
                for path in ("/console/", "/console/variants", "/console/variants?size=1000"):
                    await measure(client, path)
            await paint(served.url)


if __name__ == "__main__":
    asyncio.run(main())
