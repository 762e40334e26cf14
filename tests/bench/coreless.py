"""A server around an engine core that computes nothing: ``coreless.py veneer|vllm MODEL PORT N``.

N is the number of ``server.workers``.

All that vLLM does in the API's process is vLLM's own: it reads requests, detokenises and counts.
Only the core is not there: at each step one token for each request comes, and the next step begins
when all tokens of the last one were taken. So no token is merged with the next, and what the API's
process costs can be seen at any speed. What the core does here instead of being read from a socket
is part of that: about 1 us a token.
"""

import asyncio
import os
import socket
import sys
import tempfile
from argparse import Namespace
from collections.abc import Callable, Iterable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

os.environ.update(VLLM_LOGGING_LEVEL="ERROR", VLLM_NO_USAGE_STATS="1", HF_HUB_OFFLINE="1")
sys.path.insert(0, str(Path(__file__).parents[1]))

import uvloop
from vllm.engine.arg_utils import AsyncEngineArgs
from vllm.usage.usage_lib import UsageContext
from vllm.v1.engine import EngineCoreOutput, EngineCoreOutputs, FinishReason
from vllm.v1.engine.async_llm import AsyncLLM
from vllm.v1.engine.core_client import EngineCoreClient
from vllm.v1.metrics.stats import PrefillStats, SchedulerStats

NAME, LENGTH = "base", 2048


class Core:
    """Answers every request with tokens of words, one at each step."""

    engine_ranks_managed = (0,)
    resources = SimpleNamespace(engine_dead=False)

    def __init__(self) -> None:
        self._left: dict[str, list[int]] = {}
        self._asked = asyncio.Event()
        self.are_taken: Callable[[], bool] = lambda: True

    async def get_output_async(self) -> EngineCoreOutputs:
        await self._asked.wait()
        await asyncio.sleep(0.0005)  # as a socket, it lets the loop look for other work
        while not self.are_taken():
            await asyncio.sleep(0)
        outputs = [self._next(key, state) for key, state in self._left.items()]
        self._left = {key: state for key, state in self._left.items() if state[0]}
        if not self._left:
            self._asked.clear()
        return EngineCoreOutputs(outputs=outputs, scheduler_stats=SchedulerStats())

    def _next(self, key: str, state: list[int]) -> EngineCoreOutput:
        state[0] -= 1
        state[1] += 1
        first = PrefillStats(num_prompt_tokens=16) if state[1] == 1 else None
        end = None if state[0] else FinishReason.LENGTH
        token = 1000 + state[1] * 37 % 400
        return EngineCoreOutput(key, [token], finish_reason=end, prefill_stats=first)

    async def add_request_async(self, request: Any) -> None:
        self._left[request.request_id] = [request.sampling_params.max_tokens, 0]
        self._asked.set()

    async def abort_requests_async(self, keys: Iterable[str]) -> None:
        for key in keys:
            self._left.pop(key, None)

    async def get_supported_tasks_async(self) -> tuple[str, ...]:
        return ("generate",)

    def shutdown(self, timeout: float | None = None) -> None:
        self._left.clear()


def client(model: str, core: Core) -> AsyncLLM:
    """Return vLLM's client of ``core``."""
    EngineCoreClient.make_async_mp_client = staticmethod(lambda **_: core)
    args = AsyncEngineArgs(
        model=model, served_model_name=NAME, max_model_len=LENGTH, max_num_seqs=512
    )
    made = AsyncLLM.from_vllm_config(args.create_engine_config(UsageContext.API_SERVER))
    states = made.output_processor.request_states
    core.are_taken = lambda: all(
        state.queue is None or state.queue.output is None for state in states.values()
    )
    return made


async def vllm(model: str, core: Core, port: int, _workers: int) -> None:
    """Serve as vLLM's own server does."""
    from vllm.entrypoints.launchers.api_server.entry import build_and_serve
    from vllm.entrypoints.launchers.cli_args import make_arg_parser
    from vllm.utils.argparse_utils import FlexibleArgumentParser

    flags = ["--model", model, "--served-model-name", NAME, "--port", str(port)]
    args: Namespace = make_arg_parser(FlexibleArgumentParser()).parse_args(flags)
    args.disable_uvicorn_access_log = True
    listener = socket.create_server(("127.0.0.1", port))
    await (await build_and_serve(client(model, core), f"http://127.0.0.1:{port}", listener, args))


async def veneer(model: str, core: Core, port: int, count: int) -> None:
    """Serve as ``veneer serve`` does, without adapters."""
    from support.beginning import begin_state
    from veneer_adapters.artifact.manifest import BaseFacts
    from veneer_server.api.listener import bind
    from veneer_server.app import running, start_workers, to_listener
    from veneer_server.engine.base import ModelFacts
    from veneer_server.engine.vllm.engine import VllmEngine
    from veneer_server.engine.vllm.openai import OpenAIHandlers
    from veneer_server.engine.vllm.starting import ask_environment_once
    from veneer_server.settings import Settings

    ask_environment_once()
    handlers = OpenAIHandlers(
        (made := client(model, core)),
        name=NAME,
        path=model,
        chat_template=None,
        tool_call_parser="hermes",
        reasoning_parser="",
    )
    handlers.warm_up()
    engine = VllmEngine(
        SimpleNamespace(client=made, stop=made.shutdown, kill=made.shutdown),  # type: ignore[arg-type]
        handlers,
        model=ModelFacts(NAME, NAME, LENGTH),
        facts=BaseFacts(name=NAME, modules={}, max_rank=16),
        op="none",
        kernels=None,
    )
    with tempfile.TemporaryDirectory() as folder, bind("127.0.0.1", port) as listener:
        flags = {
            "adapters": {"dir": f"{folder}/adapters"},
            "state": {"dir": f"{folder}/state"},
            "limits": {"max_seqs": 512},
            "server": {"workers": count},
        }
        settings = Settings.load(environ={}, flags=flags)
        await begin_state(settings.state)
        async with running(settings, engine=engine) as parts:
            server = to_listener(parts.server, lambda: settings, start_workers(parts))
            listener.listen()
            await server.serve(sockets=[listener])


def main() -> None:
    kind, model, port, workers = sys.argv[1:]
    serve = {"veneer": veneer, "vllm": vllm}[kind]

    async def run() -> None:
        await serve(model, Core(), int(port), int(workers))

    uvloop.run(run())


if __name__ == "__main__":
    main()
