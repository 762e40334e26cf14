"""Alias moves: how soon the new revision answers; and what the first use after a start costs.

    python tests/bench/moves.py [--times 30]

A real server with nothing else to do; prompts of a few words, streamed. *Warm*: another alias
keeps both revisions in the engine. *Cold*: the one nobody means was unloaded and must be loaded.
"""

import argparse
import json
import statistics
import sys
import tempfile
import time
from collections.abc import Iterable
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))

import httpx

from support import builders
from support.serving import start_process
from veneer_adapters.store.store import Store

SIZES = {
    "self_attn.q_proj": (576, 576),
    "self_attn.k_proj": (576, 192),
    "self_attn.v_proj": (576, 192),
    "self_attn.o_proj": (576, 576),
    "mlp.gate_proj": (576, 1536),
    "mlp.up_proj": (576, 1536),
    "mlp.down_proj": (1536, 576),
}
MODULES = {f"model.layers.{i}.{name}": size for i in range(30) for name, size in SIZES.items()}
TARGETS = sorted(name.rpartition(".")[2] for name in SIZES)
RANK = 16


def write(folder: Path, seed: int) -> Path:
    """Write a faint random adapter of rank 16 on all seven modules."""
    weights = builders.safetensors(builders.tensors(MODULES, rank=RANK, dtype="BF16", seed=seed))
    return builders.write(folder, weights=weights, r=RANK, lora_alpha=0.01, target_modules=TARGETS)


class Client:
    """One client of an otherwise idle server."""

    def __init__(self, url: str) -> None:
        self._http = httpx.Client(base_url=url, timeout=60)

    def call(self, method: str, path: str, **body: object) -> float:
        """Return the milliseconds of an admin call."""
        began_s = time.perf_counter()
        self._http.request(method, f"/v1/adapters{path}", json=body).raise_for_status()
        return (time.perf_counter() - began_s) * 1000

    def first_token(self, revision: int) -> float:
        """Return the milliseconds to the first token of ``live``, answered by ``revision``."""
        body = {
            "model": "swapped",
            "prompt": "Hello there.",
            "max_tokens": 1,
            "temperature": 0,
            "stream": True,
        }
        began_s = time.perf_counter()
        with self._http.stream("POST", "/v1/completions", json=body) as answer:
            assert answer.headers["x-veneer-adapter"].startswith(f"swapped@{revision}#")
            for line in answer.iter_lines():
                if line.startswith("data: {"):
                    assert json.loads(line.removeprefix("data: "))["choices"][0]["finish_reason"]
                    return (time.perf_counter() - began_s) * 1000
        raise AssertionError("no token")

    def move(self, revision: int) -> tuple[float, float]:
        """Return the milliseconds of the move, and of it and the first answer after it."""
        moved = self.call("PUT", "/swapped/aliases/live", revision=revision)
        return moved, moved + self.first_token(revision)


def tell(what: str, ms: Iterable[float]) -> None:
    kept = sorted(ms)
    figures = (statistics.median(kept), kept[0], kept[-1])
    told = " | ".join(f"{figure:.1f}" for figure in figures)
    sys.stdout.write(f"| {what} | {told} | {len(kept)} |\n")


def run(folder: Path, times: int) -> None:
    deep = folder / "my-adapters" / ".incoming"
    sources = {number: str(write(deep / str(number), number)) for number in (1, 2)}
    with start_process(folder) as served:
        client = Client(served.url)
        client.call("POST", "", name="swapped", source=sources[1])
        client.call("POST", "/swapped/revisions", source=sources[2])
        for alias, number in (("one", 1), ("two", 2), ("live", 1)):
            client.call("PUT", f"/swapped/aliases/{alias}", revision=number)
        sys.stdout.write("| ms | median | least | most | times |\n|---|---|---|---|---|\n")
        measure(client, "warm", times)
        for alias in ("one", "two"):
            client.call("DELETE", f"/swapped/aliases/{alias}")
        measure(client, "cold", times)
    with start_process(folder) as served:
        client = Client(served.url)
        live = 2 - (times - 1) % 2
        firsts = [client.first_token(live) for _ in range(2)]
        sys.stdout.write(f"\nafter a restart: {firsts[0]:.0f} ms, the next {firsts[1]:.0f} ms\n")
    hash_once(folder)


def measure(client: Client, what: str, times: int) -> None:
    for number in (2, 1):
        client.move(number)
    still = [client.first_token(1) for _ in range(times)]
    both = [client.move(2 - index % 2) for index in range(times)]
    tell(f"{what}: first token without a move", still)
    tell(f"{what}: the move", (moved for moved, _ in both))
    tell(f"{what}: the move and the first token after it", (total for _, total in both))


def hash_once(folder: Path) -> None:
    """Tell what ``Store.check`` costs at the first use after a start."""
    store = Store(folder / "state" / "store")
    stored = folder / "state" / "store" / "sha256"
    for path in sorted(stored.glob("??/*")):
        mib = sum(file.stat().st_size for file in path.iterdir()) / 2**20
        spent = []
        for _ in range(2):
            began_s = time.perf_counter()
            assert store.check(path.name)
            spent.append((time.perf_counter() - began_s) * 1000)
        sys.stdout.write(f"check of {mib:.1f} MiB: {spent[0]:.1f} ms, again {spent[1]:.3f} ms\n")


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--times", type=int, default=30)
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as name:
        run(Path(name), asked.times)


if __name__ == "__main__":
    main()
