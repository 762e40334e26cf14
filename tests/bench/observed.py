"""A plan beside what really happened: cold starts, loads from disk, room for tokens.

    python tests/bench/observed.py [--seconds 120] [--pictures docs/images]

A real server with fewer slots than adapters gets skewed traffic; ``veneer plan``'s figures
stand beside those of /metrics. With ``--pictures`` a Prometheus watches, and the previews of
the dashboards are drawn from it (needs `prometheus` and matplotlib).
"""

import argparse
import asyncio
import json
import random
import re
import subprocess
import sys
import tempfile
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))

import httpx

from support import builders
from support.scraping import prometheus
from support.serving import Served, start_process
from veneer_server.commands.planning import cold_share, zipf
from veneer_server.engine.sizing.shapes import Shape
from veneer_server.engine.vllm.embedded import ensure_checkpoint

COUNT, RANK, SKEW, CLIENTS = 24, 8, 1.0, 3
DEVICE, HOST, KV_GIB = 6, 13, 1
NAMES = [f"a{index:02}" for index in range(COUNT)]
PREVIEW = Path(__file__).parents[2] / "deploy" / "grafana" / "preview.py"


def write_adapters(folder: Path) -> None:
    """Write random adapters of small effect on two modules of each layer."""
    modules = {
        f"model.layers.{layer}.self_attn.{name}": (576, out)
        for layer in range(30)
        for name, out in (("q_proj", 576), ("v_proj", 192))
    }
    for seed, name in enumerate(NAMES):
        tensors = builders.tensors(modules, rank=RANK, dtype="BF16", seed=seed)
        builders.write(
            folder / name, weights=builders.safetensors(tensors), r=RANK, lora_alpha=0.01
        )


async def ask_on(served: Served, until_s: float, chance: random.Random) -> None:
    """Be one client that asks again as soon as it has its answer."""
    async with httpx.AsyncClient(base_url=served.url, timeout=120) as client:
        while time.monotonic() < until_s:
            [name] = chance.choices(NAMES, zipf(COUNT, SKEW))
            body = {
                "model": name,
                "messages": [{"role": "user", "content": "What does a lighthouse do?"}],
                "max_tokens": 8,
                "stream": True,
            }
            answer = await client.post("/v1/chat/completions", json=body)
            answer.raise_for_status()


async def use(served: Served, seconds: float) -> None:
    until_s = time.monotonic() + seconds
    async with asyncio.TaskGroup() as clients:
        for seed in range(CLIENTS):
            chance = random.Random(seed)  # noqa: S311 - repeatable on purpose
            clients.create_task(ask_on(served, until_s, chance))


def total(page: str, pattern: str) -> float:
    return sum(float(value) for value in re.findall(rf"^{pattern} (\S+)$", page, re.MULTILINE))


def compare(page: str) -> str:
    """Return the table of what was planned and what was counted."""
    shape = Shape.of(json.loads((ensure_checkpoint() / "config.json").read_text()))
    shares = zipf(COUNT, SKEW)
    asked = total(page, r'veneer_requests_total{adapter="a\d+"[^}]*}')
    cold = total(page, r'veneer_adapter_cold_starts_total{adapter="a\d+"}')
    disk = total(page, r'veneer_adapter_loads_total{outcome="loaded",source="disk"}')
    size = re.search(r'block_size="(\d+)".*num_gpu_blocks="(\d+)"', page)
    tokens = int(size[1]) * int(size[2]) if size else 0
    planned_disk = cold_share(shares, HOST - 1)
    return (
        f"{asked:.0f} requests, {COUNT} adapters, skew {SKEW}\n\n"
        "| figure | planned | measured |\n|---|---|---|\n"
        f"| cold starts, {DEVICE} device slots | {cold_share(shares, DEVICE):.1%} "
        f"| {cold / asked:.1%} |\n"
        f"| loads from disk, {HOST} host slots | {planned_disk:.1%} | {disk / asked:.1%} |\n"
        f"| tokens in the KV cache | {shape.kv_tokens(KV_GIB * 2**30)} | {tokens} |\n"
    )


async def run(folder: Path, seconds: float, pictures: Path | None) -> None:
    write_adapters(folder / "my-adapters")
    environ = {
        "VENEER_ADAPTERS__DEVICE_SLOTS": str(DEVICE),
        "VENEER_ADAPTERS__HOST_SLOTS": str(HOST),
        "VENEER_ADAPTERS__MAX_RANK": str(RANK),
        "VENEER_LIMITS__MAX_SEQS": "4",
    }
    with start_process(folder, environ=environ, kv_cache_gib=KV_GIB) as served:
        if pictures is None:
            await use(served, seconds)
        else:
            async with prometheus(served, folder) as client:
                await use(served, seconds)
                command = [sys.executable, str(PREVIEW), str(client.base_url).rstrip("/")]
                command += [str(pictures), "--seconds", str(seconds)]
                await asyncio.to_thread(subprocess.run, command, check=True)
        async with httpx.AsyncClient(base_url=served.url) as client:
            sys.stdout.write(compare((await client.get("/metrics")).text))


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--seconds", type=float, default=120)
    parser.add_argument("--pictures", type=Path, default=None)
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        asyncio.run(run(Path(name), asked.seconds, asked.pictures))


if __name__ == "__main__":
    main()
