"""What a measurement may use: a running peer, the clients, and the adapters for the peer."""

import random
import statistics
import time
from collections.abc import Collection, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import quote

import httpx

from veneer_server.bench.clients.bench_serve import BenchServe, Work
from veneer_server.bench.clients.load import Lane, Load, Outcome, Request, send
from veneer_server.bench.peers.adapters import Shelf, place
from veneer_server.bench.peers.peers import Rig
from veneer_server.bench.peers.running import BenchFailed, Running

_POLL_S = 0.1
_LONGEST_S = 900
_COMPLETIONS = "/v1/completions"


@dataclass(frozen=True, slots=True)
class Sizes:
    """The sizes of the measurements; they are the same for every peer."""

    tokens_in: int
    tokens_out: int
    prompts: int = 32
    concurrency: int = 32
    first_tokens: int = 3
    cold: int = 5
    registered: int = 1000
    wide: int = 10_000
    """How many adapters are registered for G7."""
    called: int = 50
    """How many adapters API calls register; the time for 1000 is extrapolated."""
    streams: int = 1
    """Requests of each of the 16 streams of G12."""


FULL = Sizes(128, 128)
QUICK = Sizes(32, 32, first_tokens=2, cold=3, called=30)


@dataclass(slots=True)
class Site:
    """One peer in one round."""

    running: Running
    http: httpx.Client
    """A client for calls that no client process measures."""
    rig: Rig
    client: BenchServe
    shelf: Shelf
    sizes: Sizes
    rank: int
    turn: int
    provided: set[str] = field(default_factory=set)

    @property
    def is_ours(self) -> bool:
        """Return whether the peer is this server."""
        return self.running.peer.name.is_ours

    def provide(self, names: Sequence[str]) -> float:
        """Make ``names`` of the shelf known to the server; return the seconds that it took.

        For our server, the folders appear in the watched folder, and the time ends when all have a
        live revision. For vLLM, there is one API call for each. Known adapters are left out.
        """
        missing = [name for name in names if name not in self.provided]
        began = time.perf_counter()
        if not self.is_ours:
            for name in missing:
                self.load_call(name)
        elif missing:
            place(self.shelf.folder, self.rig.folder / "adapters", missing)
            self._until_listed(missing)
        self.provided.update(missing)
        return time.perf_counter() - began

    def load_call(self, name: str) -> float:
        """Load ``name`` with vLLM's route, which our server has too; return the seconds it took."""
        body = {"lora_name": name, "lora_path": str(self._path(name))}
        began = time.perf_counter()
        answer = self.http.post("/v1/load_lora_adapter", json=body)
        if answer.status_code != httpx.codes.OK:
            raise BenchFailed(f"{self.running.peer.name} did not load {name}: {answer.text[:300]}")
        return time.perf_counter() - began

    def unload(self, name: str) -> None:
        """Unload ``name``; the server still knows it. Only our server has this route."""
        answer = self.http.post(f"/v1/adapters/{quote(name, safe='')}/unload")
        if not answer.is_success:
            raise BenchFailed(
                f"{self.running.peer.name} did not unload {name}: {answer.text[:300]}"
            )

    def _path(self, name: str) -> Path:
        """Return the folder of ``name``; our server only loads from inside its own folders."""
        if not self.is_ours:
            return self.shelf.folder / name
        # Deeper than the watch looks, so that only the call registers it.
        deep = self.rig.folder / "adapters" / "by" / "path"
        deep.mkdir(parents=True, exist_ok=True)
        place(self.shelf.folder, deep, [name])
        return deep / name

    def until_gone(self, names: Collection[str]) -> None:
        """Return when the server lists none of ``names`` any more."""
        self._until(lambda ready: not ready & set(names))
        self.provided.difference_update(names)

    def warm_base(self) -> None:
        """Send a few short requests for the base model, many at the same time."""
        sizes = self.sizes
        work = Work(sizes.concurrency, sizes.concurrency, sizes.tokens_in, 4, 900 + self.turn)
        self.client.drive(self.running.url, work)

    def warm(self, names: Sequence[str]) -> None:
        """Send one request for each of ``names``, one after the other."""
        self.send([[completion(name, 8, 1, seed=0) for name in names]])

    def drive(self, adapters: Sequence[str], *, seed: int) -> dict[str, float]:
        """Send random prompts for ``adapters`` in turn, or for the base; return vLLM's summary."""
        sizes = self.sizes
        lengths = (sizes.tokens_in, sizes.tokens_out)
        work = Work(sizes.prompts, sizes.concurrency, *lengths, seed, tuple(adapters))
        return self.client.drive(self.running.url, work)

    def send(
        self, lanes: Sequence[Lane], background: Sequence[Lane] = (), *, strict: bool = True
    ) -> Outcome:
        """Send ``lanes`` with our own client; see ``clients.load.send``."""
        return send(Load(self.running.url, lanes, background), strict=strict)

    def _until_listed(self, names: Collection[str]) -> None:
        self._until(lambda ready: ready >= set(names))

    def _until(self, is_so: Any) -> None:
        deadline = time.monotonic() + _LONGEST_S
        while time.monotonic() < deadline:
            asked_s = time.monotonic()
            answer = self.http.get("/v1/models")
            cards = [card for card in answer.json()["data"] if card.get("adapter")]
            if is_so({card["id"] for card in cards if card["adapter"]["revision"]}):
                return
            # A list of 10,000 is work for the server too.
            time.sleep(max(_POLL_S, 5 * (time.monotonic() - asked_s)))
        raise BenchFailed(
            f"{self.running.peer.name} did not follow the changes of its folder in time."
        )


def names(prefix: str, count: int) -> list[str]:
    """Return ``count`` names of adapters that begin with ``prefix``."""
    return [f"{prefix}{index}" for index in range(count)]


def completion(model: str, tokens_in: int, tokens_out: int, *, seed: int, **more: Any) -> Request:
    """Return a request for a stream: a greedy answer of full length to a random prompt."""
    choose = random.Random(seed)  # noqa: S311 - not a secret
    body = {
        "model": model,
        "prompt": [choose.randrange(1000, 20000) for _ in range(tokens_in)],
        "max_tokens": tokens_out,
        "temperature": 0,
        "ignore_eos": True,
        "stream": True,
        "stream_options": {"include_usage": True},
        **more,
    }
    return (_COMPLETIONS, body)


def median_ms(seconds: Sequence[float]) -> float:
    """Return the median in milliseconds."""
    return statistics.median(seconds) * 1000
