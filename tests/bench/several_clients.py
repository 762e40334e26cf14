"""What several clients of one vLLM engine core can do, tried: the assumptions of docs/adr/0036.

    python tests/bench/several_clients.py

One process launches a core of the two-layer model with addresses for three clients and is client
0. Two processes of its own are clients 1 and 2. Each line says what was tried and what came of it.
"""

import asyncio
import json
import multiprocessing
import os
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

os.environ.update(VLLM_LOGGING_LEVEL="ERROR", VLLM_NO_USAGE_STATS="1", HF_HUB_OFFLINE="1")
sys.path.insert(0, str(Path(__file__).parents[1]))

from vllm.engine.arg_utils import AsyncEngineArgs
from vllm.lora.request import LoRARequest
from vllm.sampling_params import RequestOutputKind, SamplingParams
from vllm.usage.usage_lib import UsageContext
from vllm.v1.engine.async_llm import AsyncLLM
from vllm.v1.engine.utils import EngineZmqAddresses, launch_core_engines
from vllm.v1.executor import Executor

from support import tiny

CLIENTS = 3
TOKENS = 24


def config(model: str) -> Any:
    """Return the configuration that all clients share."""
    return AsyncEngineArgs(
        model=model,
        served_model_name="base",
        dtype="float32",
        max_model_len=2048,
        max_num_seqs=16,
        kv_cache_memory_bytes=256 << 20,
        enable_lora=True,
        max_loras=2,
        max_lora_rank=16,
        enforce_eager=True,
    ).create_engine_config(UsageContext.API_SERVER)


def attach(vllm_config: Any, folder: str, index: int) -> AsyncLLM:
    """Return client ``index`` of the core that listens in ``folder``."""
    names = {
        "input_address": f"ipc://{folder}/in{index}",
        "output_address": f"ipc://{folder}/out{index}",
    }
    return AsyncLLM.from_vllm_config(
        vllm_config, client_addresses=names, client_count=CLIENTS, client_index=index
    )


async def answer(client: AsyncLLM, name: str, adapter: LoRARequest | None, most: int) -> list[int]:
    """Return the tokens of one greedy answer; ``name`` is the request's id."""
    params = SamplingParams(
        temperature=0, max_tokens=most, ignore_eos=True, output_kind=RequestOutputKind.DELTA
    )
    found: list[int] = []
    async for output in client.generate("Once upon a time", params, name, lora_request=adapter):
        found += output.outputs[0].token_ids
    return found


def worker(model: str, folder: str, index: int, pipe: Any) -> None:
    """Be client ``index``: attach, then answer what comes through ``pipe``."""

    async def run() -> None:
        began = time.monotonic()
        client = attach(config(model), folder, index)
        pipe.send(("attached", round(time.monotonic() - began, 1)))
        while (asked := await asyncio.to_thread(pipe.recv)) is not None:
            name, adapter, most = asked
            request = adapter and LoRARequest(*adapter)
            work = asyncio.create_task(answer(client, name, request, most))
            if most > TOKENS:
                await asyncio.sleep(0)
                while not client.output_processor.request_states:
                    await asyncio.sleep(0.01)
                while not any(
                    state.detokenizer.num_output_tokens()
                    for state in client.output_processor.request_states.values()
                ):
                    await asyncio.sleep(0.01)
                pipe.send(("running", list(client.output_processor.request_states)))
                continue
            pipe.send(("tokens", await work))

    asyncio.run(run())


def begin(model: str, folder: str, index: int) -> tuple[Any, Any]:
    """Return a process that becomes client ``index``, and the pipe to it."""
    ours, theirs = multiprocessing.get_context("spawn").Pipe()
    process = multiprocessing.get_context("spawn").Process(
        target=worker, args=(model, folder, index, theirs), daemon=True
    )
    process.start()
    return process, ours


def heard(pipe: Any, within_s: float = 120) -> Any:
    """Return what came through ``pipe``; None if nothing came in time."""
    return pipe.recv() if pipe.poll(within_s) else None


def tell(what: str, found: Any) -> None:
    print(f"- {what}: {json.dumps(found)}", flush=True)


async def tried(  # noqa: PLR0915 - a list of what is tried, in order
    model: str, folder: str, adapter: tuple[str, int, str], client: AsyncLLM
) -> None:
    """Try everything and tell."""
    loaded = LoRARequest(*adapter)
    base = await answer(client, "base-0", None, TOKENS)
    tell("client 0 adds an adapter", await client.add_lora(loaded))
    with_it = await answer(client, "adapter-0", loaded, TOKENS)
    tell("with it client 0's answer differs", with_it != base)

    async def ask(pipe: Any, *what: Any) -> Any:
        pipe.send(what)
        return await asyncio.to_thread(heard, pipe)

    first, to_first = begin(model, folder, 1)
    tell("client 1 attaches to the running core", await asyncio.to_thread(heard, to_first))
    tell("its base is client 0's", await ask(to_first, "b1", None, TOKENS) == ("tokens", base))
    found = await ask(to_first, "a1", adapter, TOKENS)
    tell("what client 0 loaded holds for client 1's requests", found == ("tokens", with_it))
    nowhere = (adapter[0], adapter[1], "/nowhere")
    found = await ask(to_first, "a2", nowhere, TOKENS)
    tell("client 1 needs no files for it", found == ("tokens", with_it))

    _, running = await ask(to_first, "long", None, 1900)
    beside = asyncio.create_task(answer(client, "beside", None, 400))
    await asyncio.sleep(0.2)
    first.kill()
    await asyncio.to_thread(first.join)
    tell("killed while it streams: signal", first.exitcode)
    tell("client 0's stream beside it is whole", len(await beside) == 400)
    tell("the core lives", not client.errored)
    # What still runs there shows in the gauge of whoever gets the scheduler's figures.
    tell("the core still has its requests (aborted by client 0 now)", running)
    await client.engine_core.abort_requests_async(running)
    tell("client 0 is answered after that", await answer(client, "after", None, TOKENS) == base)

    again, to_again = begin(model, folder, 1)
    tell("the same index attaches again", await asyncio.to_thread(heard, to_again, 45))
    again.kill()
    second, to_second = begin(model, folder, 2)
    tell("an index that nobody had attaches", await asyncio.to_thread(heard, to_second))
    found = await ask(to_second, "a3", adapter, TOKENS)
    tell("its answer with the adapter is right", found == ("tokens", with_it))
    second.kill()


async def main() -> None:
    with tempfile.TemporaryDirectory(prefix="clients-") as place:
        model = str(tiny.model(Path(place) / "model"))
        path = str(tiny.adapter(Path(place) / "adapter"))
        vllm_config = config(model)
        addresses = EngineZmqAddresses(
            inputs=[f"ipc://{place}/in{index}" for index in range(CLIENTS)],
            outputs=[f"ipc://{place}/out{index}" for index in range(CLIENTS)],
        )
        executor = Executor.get_class(vllm_config)
        began = time.monotonic()
        with launch_core_engines(vllm_config, executor, log_stats=True, addresses=addresses) as up:
            pass
        tell("the core is up, before any client attached; seconds", time.monotonic() - began)
        client = attach(vllm_config, place, 0)
        try:
            await tried(model, place, ("pirate", 1, path), client)
        finally:
            client.shutdown(timeout=0)
            up.engine_manager.shutdown(timeout=1)


if __name__ == "__main__":
    asyncio.run(main())
