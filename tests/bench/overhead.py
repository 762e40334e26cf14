"""What our process adds to vLLM's own server: same engine, same requests, side by side.

    python tests/bench/overhead.py [--repeat 3] [--prompts 64]

Peers, interleaved: vLLM's own server with our LoRA op inside the same engine (so that only the
API process differs), vLLM's own server as it comes with LoRA, and this server.
"""

import argparse
import statistics
import tempfile
from pathlib import Path

from peers import LORA, TARGETS, Peer, drive, start, veneer, vllm
from rich.console import Console
from rich.table import Table

from veneer_server.engine.vllm.embedded import ensure_checkpoint

PORT = 8377
WORKER = ["--worker-extension-cls", "veneer_server.engine.vllm.worker.VeneerWorkerExtension"]


def peers(model: Path, folder: Path) -> list[Peer]:
    tuned = [*LORA, "--lora-target-modules", *TARGETS]
    threads = {"VLLM_CPU_OMP_THREADS_BIND": "0-1"}
    return [
        vllm(
            "vllm api, veneer op",
            model,
            PORT,
            *tuned,
            environ={**threads, "VENEER_GATEWAY_PID": "1"},
        ),
        vllm(
            "vllm tuned",
            model,
            PORT,
            *tuned,
            environ={**threads, "VLLM_PLUGINS": ""},
            must_log="PunicaWrapperCPU",
        ),
        veneer("veneer", model, PORT, folder),
    ]


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--repeat", type=int, default=3, help="rounds over all peers")
    parser.add_argument("--prompts", type=int, default=64, help="requests per run")
    parser.add_argument("--concurrency", type=int, default=16)
    asked = parser.parse_args()
    model = ensure_checkpoint()
    rows: dict[str, dict[str, list[float]]] = {}
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        for turn in range(asked.repeat):
            for peer in peers(model, folder):
                measured = measure(peer, model, folder / "log", asked, seed=turn)
                for key, value in measured.items():
                    rows.setdefault(peer.name, {}).setdefault(key, []).append(value)
                Console(stderr=True).print(turn, peer.name, measured)
    Console().print(table(rows))


def measure(
    peer: Peer, model: Path, log: Path, asked: argparse.Namespace, seed: int
) -> dict[str, float]:
    with start(peer, PORT, log) as running:
        drive(running.url, model, prompts=4, concurrency=4, seed=1000)
        before = running.cpu_s()
        result = drive(
            running.url, model, prompts=asked.prompts, concurrency=asked.concurrency, seed=seed
        )
        tokens = result["total_output_tokens"]
        return {
            "tok/s": result["output_throughput"],
            "api us/token": (running.cpu_s() - before) / tokens * 1e6,
            "ttft ms": result["median_ttft_ms"],
            "itl ms": result["median_itl_ms"],
            "start s": running.start_s,
        }


def table(rows: dict[str, dict[str, list[float]]]) -> Table:
    keys = list(next(iter(rows.values())))
    shown = Table("peer", *(f"{key} median (min-max)" for key in keys))
    for name, measured in rows.items():
        cells = [
            f"{statistics.median(v):.1f} ({min(v):.1f}-{max(v):.1f})" for v in measured.values()
        ]
        shown.add_row(name, *cells)
    ours = rows["veneer"]
    for name, theirs in rows.items():
        if name != "veneer":
            ratios = [
                statistics.median(a / b for a, b in zip(ours[k], theirs[k], strict=True))
                for k in keys
            ]
            shown.add_row(f"veneer / {name}", *(f"{ratio:.2f}" for ratio in ratios))
    return shown


if __name__ == "__main__":
    main()
