"""How long 1000 adapters take from their folders to the list, and what the engine hears of it.

    python tests/bench/registering.py [--count 1000] [--rank 4] [--modules 14] [--engine echo]

Real files appear in the watched folder of a real server, all at once. Loads and proofs are
counted by its own metrics; there must be none.
"""

import argparse
import re
import shutil
import sys
import tempfile
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))

import httpx
import psutil

from support import builders
from support.serving import Served, start_process

DEADLINE_S = 300
KINDS = {"q_proj": (576, 576), "v_proj": (576, 192)}


def write_adapters(folder: Path, count: int, rank: int, modules: int) -> float:
    """Write ``count`` different adapters that fit the embedded model; return MiB of one."""
    places = [f"model.layers.{layer}.self_attn.{kind}" for layer in range(30) for kind in KINDS]
    sizes = {place: KINDS[place.rpartition(".")[2]] for place in places[:modules]}
    for index in range(count):
        weights = builders.safetensors(builders.tensors(sizes, rank=rank, dtype="BF16", seed=index))
        builders.write(folder / f"a{index:04}", weights=weights, r=rank, lora_alpha=rank)
    return len(weights) / 2**20


def listed(client: httpx.Client) -> int:
    """Return how many adapters have something live."""
    found, query = 0, {"limit": "1000"}
    while True:
        page = client.get("/v1/adapters", params=query).json()
        found += sum(adapter["live"] is not None for adapter in page["data"])
        if not page["has_more"]:
            return found
        query["after"] = page["next"]


def until_listed(client: httpx.Client, count: int) -> float:
    """Return the seconds until ``count`` adapters are live."""
    began_s = time.monotonic()
    while listed(client) < count:
        if time.monotonic() - began_s > DEADLINE_S:
            raise TimeoutError
        time.sleep(0.5)
    return time.monotonic() - began_s


def engine_calls(client: httpx.Client) -> float:
    """Return how many loads and proofs there have been."""
    page = client.get("/metrics").text
    loads = re.findall(r"^veneer_adapter_loads_total\{.*\} (\S+)$", page, re.M)
    proofs = re.findall(r'^veneer_adapter_\w+_count\{.*stage="prove".*\} (\S+)$', page, re.M)
    return sum(map(float, loads + proofs))


def run(folder: Path, count: int, rank: int, modules: int, engine: str) -> None:
    mib = write_adapters(folder / "made", count, rank, modules)
    with start_process(folder, flags=["--engine", engine]) as served:
        tell(served, folder, count, f"{count} of rank {rank} and {mib:.2f} MiB, {engine}")
    began_s = time.monotonic()
    with start_process(folder, flags=["--engine", engine]) as served:
        with httpx.Client(base_url=served.url) as client:
            assert listed(client) == count
        sys.stdout.write(f"  started again with them in {time.monotonic() - began_s:.1f} s\n")


def tell(served: Served, folder: Path, count: int, what: str) -> None:
    assert served.process is not None
    gateway = psutil.Process(served.process.pid)
    with httpx.Client(base_url=served.url, timeout=60) as client:
        before = gateway.cpu_times()
        served.adapters.mkdir(exist_ok=True)
        for made in sorted((folder / "made").iterdir()):
            made.rename(served.adapters / made.name)
        seconds = until_listed(client, count)
        after = gateway.cpu_times()
        user, system = after.user - before.user, after.system - before.system
        sys.stdout.write(
            f"{what}: {seconds:.1f} s, {user:.1f} s user, {system:.1f} s system;"
            f" {engine_calls(client):.0f} loads and proofs\n"
        )


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--count", type=int, default=1000)
    parser.add_argument("--rank", type=int, default=4)
    parser.add_argument("--modules", type=int, default=14)
    parser.add_argument("--engine", choices=("echo", "vllm"), default="echo")
    asked = parser.parse_args()
    folder = Path(tempfile.mkdtemp())
    try:
        run(folder, asked.count, asked.rank, asked.modules, asked.engine)
    finally:
        for path in folder.rglob("*"):
            if path.is_dir() and not path.is_symlink():
                path.chmod(0o755)
        shutil.rmtree(folder)


if __name__ == "__main__":
    main()
