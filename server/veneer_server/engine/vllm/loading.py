"""The gateway's side of a load: begin it in every worker, then ask until all have completed it."""

import asyncio
import os
from collections.abc import Iterable
from typing import Any, Protocol

from vllm.inputs import TokensPrompt
from vllm.lora.request import LoRARequest
from vllm.sampling_params import RequestOutputKind, SamplingParams

from veneer_adapters.errors import LoadFailed

_POLL_S = 0.002
"""Seconds between two questions to an idle engine; a load takes 5 to 50 times as long. A busy
engine answers between two steps, so it is asked once a step."""

_WATCHED = "watched-layers"
"""The name of the request whose steps show which layers run."""
_STEPS = 2
"""One for its prompt, and one for the next token."""


class Workers(Protocol):
    """The part of ``AsyncLLM`` that loading needs."""

    async def collective_rpc(self, method: str, *, args: tuple[Any, ...] = ()) -> list[Any]:
        """Return what ``method`` returned in each worker."""


async def prepare_slots(workers: Workers, *, on_cpu: bool) -> str:
    """Make every worker ready for loads; call it once, so that the first load need not wait.

    Return a sentence that says what fills the slots.
    """
    cpus = sorted(os.sched_getaffinity(0)) if on_cpu else []
    told = await workers.collective_rpc("veneer_prepare_slots", args=(cpus,))
    return " ".join(sorted(set(told)))


async def forget_idle_layers(client: Any) -> None:
    """Make every worker refuse adapters of layers that a prompt's or an answer's step leaves out.

    ``client`` is vLLM's ``AsyncLLM``, which answers one request for that.
    """
    await client.collective_rpc("veneer_watch_layers")
    sampling = SamplingParams(
        max_tokens=_STEPS,
        ignore_eos=True,
        detokenize=False,
        output_kind=RequestOutputKind.FINAL_ONLY,
    )
    prompt = TokensPrompt(prompt_token_ids=[1, 1, 1], cache_salt=_WATCHED)
    async for _ in client.generate(prompt, sampling, _WATCHED):
        pass
    await client.collective_rpc("veneer_forget_idle_layers", args=(_STEPS,))


async def load_adapter(workers: Workers, request: LoRARequest) -> None:
    """Load an adapter; return when steps may use it. Steps go on meanwhile.

    Raises:
        LoadFailed: a worker could not load it. Other workers may hold it, so the caller must
            unload it.
    """
    engine_id = request.lora_int_id
    args = (engine_id, request.lora_name, request.lora_path)
    _require_success(await workers.collective_rpc("veneer_begin_load", args=args))
    while True:
        finished = await workers.collective_rpc("veneer_finish_load", args=(engine_id,))
        _require_success(finished)
        if all(finished):
            return
        await asyncio.sleep(_POLL_S)


def _require_success(answers: Iterable[Any]) -> None:
    for answer in answers:
        if isinstance(answer, str):
            raise LoadFailed(f"The engine could not load the adapter: {answer}")
