"""``python -m veneer_server.bench.peers.llama JSON``: runs llama.cpp's server until a signal."""

import json
import signal
import sys
from typing import Any


def main(asked: dict[str, Any]) -> None:
    """Serve the model ``asked["gguf"]`` on ``asked["port"]`` with ``asked["threads"]`` threads."""
    import xllamacpp

    params = xllamacpp.CommonParams()
    params.model.path = asked["gguf"]
    params.hostnames = ["127.0.0.1"]
    params.port = asked["port"]
    params.n_parallel = asked["parallel"]
    params.n_ctx = asked["context"]
    params.cpuparams.n_threads = asked["threads"]
    params.cpuparams_batch.n_threads = asked["threads"]
    params.cache_prompt = False
    params.lora_init_without_apply = True
    params.lora_adapters = [
        xllamacpp.CommonAdapterLoraInfo(path, 1.0) for path in asked["adapters"]
    ]
    server = xllamacpp.Server(params)
    print(server.listening_address, flush=True)
    signal.sigwait({signal.SIGTERM, signal.SIGINT})


if __name__ == "__main__":
    # Block the signals before the server starts its threads, so that the threads inherit this and
    # only `sigwait` gets a signal.
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM, signal.SIGINT})
    main(json.loads(sys.argv[1]))
