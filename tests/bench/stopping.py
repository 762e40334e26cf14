"""How long a server takes to end after its drain deadline, when everything around it is stalled?

    python tests/bench/stopping.py [--rounds 5] [--readers 8]

A real server on the two-layer model streams to readers that never read, one adapter is being loaded
and the engine's processes are stopped (SIGSTOP) when the server gets SIGTERM. Each round is a
server of its own; the figure is how many seconds after the drain deadline it has ended.
"""

import argparse
import json
import os
import signal
import socket
import sys
import tempfile
import threading
import time
from contextlib import suppress
from pathlib import Path
from statistics import median

sys.path.insert(0, str(Path(__file__).parents[1]))

import httpx
import psutil

from support import tiny
from support.serving import Served, start_process

DRAIN_S = 2.0
FULL_S = 1.0
"""Until the buffers of a socket that nobody reads are full."""


def stall_reader(port: int) -> socket.socket:
    """Ask for a long stream, and read nothing of it."""
    body = json.dumps(
        {
            "model": "tiny",
            "messages": [{"role": "user", "content": "Count."}],
            "stream": True,
            "max_tokens": 4000,
            "ignore_eos": True,
            "logprobs": True,
            "top_logprobs": 20,
        }
    ).encode()
    head = f"POST /v1/chat/completions HTTP/1.1\r\nHost: x\r\nContent-Length: {len(body)}\r\n\r\n"
    reader = socket.socket()
    reader.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1024)
    reader.connect(("127.0.0.1", port))
    reader.sendall(head.encode() + body)
    return reader


def ask_for(url: str, adapter: str) -> None:
    with suppress(httpx.HTTPError):
        httpx.post(f"{url}/v1/completions", json={"model": adapter, "prompt": "a"}, timeout=60)


def end(served: Served, readers: int) -> float:
    """Return the seconds from the deadline to the end of the server."""
    assert served.process is not None
    port = int(served.url.rpartition(":")[2])
    kept = [stall_reader(port) for _ in range(readers)]
    time.sleep(FULL_S)
    family = psutil.Process(served.process.pid).children(recursive=True)
    for process in family:
        if "VLLM" in process.name():
            process.suspend()
    threading.Thread(target=ask_for, args=(served.url, "one"), daemon=True).start()
    time.sleep(FULL_S)
    os.kill(served.process.pid, signal.SIGTERM)
    began_s = time.monotonic()
    assert served.process.wait(timeout=60) == 0
    took_s = time.monotonic() - began_s
    for reader in kept:
        reader.close()
    return took_s - DRAIN_S


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--readers", type=int, default=8)
    asked = parser.parse_args()
    found = []
    for _ in range(asked.rounds):
        with tempfile.TemporaryDirectory() as name:
            folder = Path(name)
            tiny.adapter(folder / "my-adapters" / "one")
            environ = {
                "VENEER_MODEL__PATH": str(tiny.model(folder / "tiny")),
                "VENEER_SERVER__DRAIN_TIMEOUT_S": str(DRAIN_S),
                "VENEER_ADAPTERS__DEVICE_SLOTS": "4",
                "VENEER_ADAPTERS__HOST_SLOTS": "8",
            }
            with start_process(folder, environ=environ) as served:
                found.append(end(served, asked.readers))
        print(f"ended {found[-1]:.2f} s after the deadline", flush=True)
    print(f"median {median(found):.2f} s, longest {max(found):.2f} s")


if __name__ == "__main__":
    main()
