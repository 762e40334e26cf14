"""Throughput with 0, 1, 8 and 32 adapters on every peer: goals G2, G3, G4 and G11, as ratios.

    python tests/bench/goals.py [--repeat 3] [--rank 16] [--prompts 64] [--tokens 128]

Peers are started one at a time, interleaved, with the same weights, slots and limits. Each
serves the same random prompts at concurrency 32; a warm-up comes first. Goals G1, G5-G10 and
G12 are not measured here yet.
"""

import argparse
import statistics
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))

from peers import LORA, TARGETS, Peer, drive, start, veneer, vllm
from rich.console import Console
from rich.table import Table

import builders
from veneer_server.engine.vllm.embedded import ensure_checkpoint

PORT = 8378
COUNTS = (0, 1, 8, 32)
LAYERS, HIDDEN, KV, FFN = 30, 576, 192, 1536
SIZES = {
    "self_attn.q_proj": (HIDDEN, HIDDEN),
    "self_attn.k_proj": (HIDDEN, KV),
    "self_attn.v_proj": (HIDDEN, KV),
    "self_attn.o_proj": (HIDDEN, HIDDEN),
    "mlp.gate_proj": (HIDDEN, FFN),
    "mlp.up_proj": (HIDDEN, FFN),
    "mlp.down_proj": (FFN, HIDDEN),
}
Rows = dict[str, dict[str, list[float]]]


def write_adapters(folder: Path, rank: int) -> list[str]:
    """Write 32 random adapters on all seven modules; return their names."""
    modules = {
        f"model.layers.{layer}.{name}": size
        for layer in range(LAYERS)
        for name, size in SIZES.items()
    }
    names = [f"a{index}" for index in range(max(COUNTS))]
    for index, name in enumerate(names):
        weights = builders.safetensors(
            builders.tensors(modules, rank=rank, dtype="BF16", seed=index)
        )
        targets = [name.split(".")[1] for name in SIZES]
        # A small alpha: random weights at full strength would only make noise.
        builders.write(
            folder / name, weights=weights, r=rank, lora_alpha=0.01, target_modules=targets
        )
    return names


def peers(model: Path, folder: Path, names: list[str]) -> list[Peer]:
    modules = ["--lora-modules", *(f"{name}={folder / 'adapters' / name}" for name in names)]
    lora = [*LORA, *modules]
    stock = {"environ": {"VLLM_PLUGINS": ""}, "must_log": "PunicaWrapperCPU"}
    tuned = {"VLLM_PLUGINS": "", "VLLM_CPU_OMP_THREADS_BIND": "0-1"}
    return [
        vllm("vllm default", model, PORT, *lora, **stock),
        vllm(
            "vllm tuned",
            model,
            PORT,
            *lora,
            "--lora-target-modules",
            *TARGETS,
            environ=tuned,
            must_log="PunicaWrapperCPU",
        ),
        vllm("vllm without lora", model, PORT, environ={"VLLM_PLUGINS": ""}),
        veneer("veneer", model, PORT, folder),
    ]


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--repeat", type=int, default=3, help="rounds over all peers")
    parser.add_argument("--rank", type=int, default=16)
    parser.add_argument("--prompts", type=int, default=64, help="requests per measurement")
    parser.add_argument("--tokens", type=int, default=128, help="tokens per answer")
    asked = parser.parse_args()
    model = ensure_checkpoint()
    rows: Rows = {}
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        names = write_adapters(folder / "adapters", asked.rank)
        for turn in range(asked.repeat):
            for peer in peers(model, folder, names):
                found = measure(peer, model, folder / "log", names, asked, turn)
                Console(stderr=True).print(f"round {turn + 1}: {peer.name}", found)
                for key, value in found.items():
                    rows.setdefault(peer.name, {}).setdefault(key, []).append(value)
    Console().print(throughput_table(rows), verdict_table(rows, asked.rank))


def measure(
    peer: Peer, model: Path, log: Path, names: list[str], asked: argparse.Namespace, turn: int
) -> Mapping[str, float]:
    found: dict[str, float] = {}
    with start(peer, PORT, log) as running:
        found["start s"] = running.start_s
        for count in COUNTS:
            if count and peer.name == "vllm without lora":
                continue
            more = {"lora_modules": names[:count]} if count else {}
            shared = {"concurrency": 32, "random_output_len": asked.tokens, **more}
            drive(running.url, model, prompts=max(count, 8), seed=900 + turn, **shared)
            result = drive(running.url, model, prompts=asked.prompts, seed=turn, **shared)
            found[f"{count} adapters"] = result["output_throughput"]
    return found


def throughput_table(rows: Rows) -> Table:
    keys = ["start s", *(f"{count} adapters" for count in COUNTS)]
    shown = Table("peer", *keys, title="output tok/s at concurrency 32, median (min-max)")
    for name, found in rows.items():
        shown.add_row(name, *(_spread(found.get(key, [])) for key in keys))
    return shown


def _spread(values: list[float]) -> str:
    if not values:
        return ""
    return f"{statistics.median(values):.1f} ({min(values):.1f}-{max(values):.1f})"


GOALS = {8: {1: 0.90, 8: 0.75, 32: 0.50}, 16: {1: 0.88, 8: 0.65, 32: 0.40}}
"""G3: own adapter tok/s over own base tok/s, by rank and number of adapters."""


def verdict_table(rows: Rows, rank: int) -> Table:
    ours = rows["veneer"]

    def ratio(above: list[float], below: list[float]) -> float:
        return statistics.median(a / b for a, b in zip(above, below, strict=True))

    shown = Table("goal", "ratio", "wanted", "verdict", title=f"rank {rank}")
    lines = [
        (
            "G2 8 adapters, ours / default",
            ratio(ours["8 adapters"], rows["vllm default"]["8 adapters"]),
            3.0,
        ),
        (
            "G2 8 adapters, ours / tuned",
            ratio(ours["8 adapters"], rows["vllm tuned"]["8 adapters"]),
            2.0,
        ),
        *(
            (
                f"G3 {count} adapters / base, ours",
                ratio(ours[f"{count} adapters"], ours["0 adapters"]),
                wanted,
            )
            for count, wanted in GOALS.get(rank, {}).items()
        ),
        (
            "G4 base, ours / without lora",
            ratio(ours["0 adapters"], rows["vllm without lora"]["0 adapters"]),
            0.95,
        ),
    ]
    for goal, found, wanted in lines:
        shown.add_row(goal, f"{found:.2f}", f">= {wanted}", "met" if found >= wanted else "MISSED")
    start_ratio = ratio(ours["start s"], rows["vllm default"]["start s"])
    shown.add_row(
        "G11 start, ours / default",
        f"{start_ratio:.2f}",
        "<= 1.0",
        "met" if start_ratio <= 1 else "MISSED",
    )
    return shown


if __name__ == "__main__":
    main()
