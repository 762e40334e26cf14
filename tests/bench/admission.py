"""What admission costs a request, in microseconds of CPU: its key, its limits, its fair place.

    python tests/bench/admission.py [--keys 1000] [--waiting 500]

Each part is timed alone, as ``serving.requests`` uses it, without HTTP and without an engine. The
limits are those of the key, its tenant and the server, of requests, tokens and requests at the same
time, in memory. The place is timed with nobody waiting, and with so many requests of fifty tenants
in the queue.
"""

import argparse
import asyncio
import sys
import tempfile
import time
from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))

from veneer_adapters.catalog.database import Database
from veneer_server.conversations.keeping import MIGRATIONS
from veneer_server.engine.base import Endpoint
from veneer_server.serving.admission import Admission
from veneer_server.serving.fairness import Ask
from veneer_server.serving.spending import Spending
from veneer_server.telemetry.observation import Observation
from veneer_server.tenancy.authenticating import identify, require
from veneer_server.tenancy.failures import Failures
from veneer_server.tenancy.keyring import Keyring
from veneer_server.tenancy.limits import Limits
from veneer_server.tenancy.principals import Principal, default_patterns
from veneer_server.tenancy.quotas.memory import MemoryStore
from veneer_server.tenancy.quotas.quotas import Quotas
from veneer_server.tenancy.scopes import DEFAULT_SCOPES, Scope

PLENTY = Limits(10**9, 10**12, 10**6)
TENANTS, SEQUENCES, TIMES, ROUNDS = 50, 32, 2000, 5
BODY = {
    "messages": [{"role": "user", "content": "What is a lighthouse for? " * 20}],
    "max_tokens": 64,
}


async def us_each(act: Callable[[int], Awaitable[None]], times: int = TIMES) -> float:
    """Return the best mean of ``ROUNDS`` runs in CPU time; the others were disturbed."""
    best = float("inf")
    for _ in range(ROUNDS):
        began = time.process_time_ns()
        for number in range(times):
            await act(number)
        best = min(best, (time.process_time_ns() - began) / times / 1000)
    return best


async def make_keys(keyring: Keyring, count: int) -> list[str]:
    texts = []
    for number in range(count):
        tenant = f"t{number % TENANTS}"
        _, text = await keyring.create(
            tenant=tenant,
            name="",
            scopes=DEFAULT_SCOPES,
            patterns=default_patterns(tenant),
            expires=None,
            limits=PLENTY,
        )
        texts.append(text)
    return texts


def spending(limited: bool) -> Spending:
    limits = PLENTY if limited else Limits()
    return Spending(
        Quotas(MemoryStore(), of_everybody=lambda: limits, of_tenant=lambda _: limits), context=8192
    )


async def spend(held: Spending, who: Principal, seen: Observation) -> None:
    async with held.request(who, Endpoint.CHAT, BODY) as place:
        place.seen = seen


async def take_turn(admission: Admission, number: int) -> None:
    with admission.place(Ask(f"t{number % TENANTS}", f"a{number % 200}")) as place:
        await place.turn()
        place.tokens = 128
        await asyncio.sleep(0)


async def take_turns(waiting: int) -> float:
    """Return the CPU time of one request when as many as ``waiting`` others always wait."""
    admission, each, best = Admission(SEQUENCES, 10_000), 10, float("inf")

    async def work(worker: int) -> None:
        for number in range(each):
            await take_turn(admission, worker * each + number)

    workers = waiting + SEQUENCES
    for _ in range(ROUNDS):
        began = time.process_time_ns()
        await asyncio.gather(*(work(worker) for worker in range(workers)))
        best = min(best, (time.process_time_ns() - began) / (workers * each) / 1000)
    return best


async def measure(texts: Sequence[str], keyring: Keyring, waiting: int) -> dict[str, float]:
    failures = Failures(60)

    async def check(number: int) -> None:
        text = texts[number % len(texts)]
        require(identify(text, "10.0.0.1", None, keyring, failures), Scope.INFER)

    who = identify(texts[0], "10.0.0.1", None, keyring, failures)
    free, limited = spending(limited=False), spending(limited=True)
    seen = Observation(0.0, time.monotonic, first=float, next_=float)
    seen.used(120, 64)
    seen.completed()
    idle = Admission(SEQUENCES, 10_000)
    return {
        f"the key, one of {len(texts)}": await us_each(check),
        "no limits": await us_each(lambda _: spend(free, Principal(tenant="t0"), seen)),
        "nine limits": await us_each(lambda _: spend(limited, who, seen)),
        "the place, nobody waits": await us_each(lambda n: take_turn(idle, n)),
        f"the place, {waiting} wait": await take_turns(waiting),
    }


async def run(folder: Path, keys: int, waiting: int) -> None:
    database = await Database.open(folder / "catalog.db", further=(MIGRATIONS,))
    try:
        keyring = Keyring(database, has_other_admin=True)
        found = await measure(await make_keys(keyring, keys), keyring, waiting)
    finally:
        await database.close()
    for what, us in found.items():
        sys.stdout.write(f"| {what} | {us:.1f} |\n")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--keys", type=int, default=1000)
    parser.add_argument("--waiting", type=int, default=500)
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        asyncio.run(run(Path(name), asked.keys, asked.waiting))


if __name__ == "__main__":
    main()
