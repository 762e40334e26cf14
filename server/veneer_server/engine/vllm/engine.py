"""vLLM's AsyncLLM as an engine: start it, answer, load and unload adapters, stop it."""

import asyncio
import logging
import os
import sys
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any, Self

from vllm.lora.request import LoRARequest
from vllm.platforms import current_platform
from vllm.v1.engine.async_llm import AsyncLLM
from vllm.v1.engine.exceptions import EngineDeadError

from veneer_adapters.artifact.manifest import BaseFacts
from veneer_adapters.catalog.proof import Effect
from veneer_adapters.errors import LoadFailed
from veneer_server.engine.base import (
    Answer,
    Call,
    EngineLost,
    EngineNotStarted,
    EngineUnavailable,
    Frames,
    ModelFacts,
)
from veneer_server.engine.stages import Stage, Stages
from veneer_server.engine.vllm.bases.causes import Cause, last_logged
from veneer_server.engine.vllm.bases.explaining import explain
from veneer_server.engine.vllm.bases.folder import require_fitting, require_usable
from veneer_server.engine.vllm.bases.reading import missing_architectures
from veneer_server.engine.vllm.effect import measure_effect
from veneer_server.engine.vllm.keeping import drop_lora_gauge, forget_tokenizers
from veneer_server.engine.vllm.loading import forget_idle_layers, load_adapter, prepare_slots
from veneer_server.engine.vllm.openai import OpenAIHandlers
from veneer_server.engine.vllm.options import EngineOptions, engine_fields
from veneer_server.engine.vllm.processes import EngineProcesses
from veneer_server.engine.vllm.rendering.rows import RowRenderer
from veneer_server.engine.vllm.starting import start_processes, with_parsers
from veneer_server.engine.vllm.startup.kernels import require_right_kernels
from veneer_server.engine.vllm.startup.warming import warm_up

logger = logging.getLogger(__name__)

EXACT_CPU_OP = "PunicaWrapperVeneer"
"""The only LoRA implementation that may serve on a CPU: vLLM's own mixes up adapters."""


class WrongLoraOp(EngineNotStarted):
    """The worker runs a LoRA implementation that gives requests the adapters of other requests."""


class VllmEngine:
    """One vLLM engine with LoRA on; see ``engine.base.Engine`` for what each method promises."""

    def __init__(
        self,
        processes: EngineProcesses,
        handlers: OpenAIHandlers,
        *,
        model: ModelFacts,
        facts: BaseFacts,
        op: str,
        kernels: str | None,
    ) -> None:
        self._processes = processes
        self._client = processes.client
        self._handlers = handlers
        self._model = model
        self._facts = facts
        self._op = op
        self._kernels = kernels
        self._outputs = _count_outputs(self._client)
        self._requests: dict[int, LoRARequest] = {}

    @classmethod
    async def start(cls, options: EngineOptions, stages: Stages | None = None) -> Self:
        """Return an engine that can serve and has served every kind of request.

        This takes tens of seconds.

        ``stages`` follow how far it is.

        Raises:
            WrongLoraOp: the worker would mix up adapters.
            WrongLoraKernels: it would apply them wrongly.
            EngineNotStarted: vLLM refuses the model or an argument, or dies meanwhile.
        """
        on_cpu = current_platform.is_cpu()
        fields = engine_fields(options, on_cpu=on_cpu)
        stages = stages or Stages()
        tokenizer = fields.get("tokenizer")
        await asyncio.to_thread(require_usable, options.model, tokenizer=tokenizer)
        options = await asyncio.to_thread(with_parsers, options)
        if options.reasoning_parser:
            fields["reasoning_parser"] = options.reasoning_parser
        if named := await asyncio.to_thread(missing_architectures, options.model):
            fields.setdefault("hf_overrides", {"architectures": named})
        stages.begin(Stage.ENGINE)
        processes = await start_processes(fields, options.record, stages.begin)
        with last_logged():  # also what vLLM says of an engine that is ended here
            try:
                engine = await cls._around(processes, options, on_cpu=on_cpu)
                await asyncio.to_thread(require_fitting, options.model, engine.facts.modules)
                stages.begin(Stage.WARM_UP)
                await asyncio.to_thread(engine._handlers.warm_up)
                await warm_up(engine, on_cpu=on_cpu)
            except BaseException as error:
                cause = processes.cause()
                await asyncio.to_thread(processes.kill)
                if isinstance(error, Exception) and not isinstance(error, EngineNotStarted):
                    raise EngineNotStarted(explain(cause or Cause.of(error))) from error
                raise
        processes.note_started()
        return engine

    @classmethod
    async def _around(
        cls, processes: EngineProcesses, options: EngineOptions, *, on_cpu: bool
    ) -> Self:
        client = processes.client
        drop_lora_gauge(client)
        [op, *_] = await client.collective_rpc("veneer_lora_op")
        if on_cpu and op != EXACT_CPU_OP:
            raise WrongLoraOp(_explain_wrong_op(op))
        require_right_kernels(await client.collective_rpc("veneer_kernel_fault"))
        [kernels, *_] = await client.collective_rpc("veneer_lora_kernels")
        if kernels is not None:
            logger.info("%s", kernels)  # the worker shows nothing but errors
        _tell_unsteady(await client.collective_rpc("veneer_least_rows"))
        filled = await prepare_slots(client, on_cpu=on_cpu)
        if on_cpu:
            await forget_idle_layers(client)
        else:
            logger.info("%s", filled)
        [modules, *_] = await client.collective_rpc("veneer_adaptable_modules")
        handlers = OpenAIHandlers(
            client,
            name=options.name,
            path=options.model,
            chat_template=_to_text(options.args.get("chat_template", options.chat_template)),
            content_format=options.args.get("chat_template_content_format", "auto"),
            tool_call_parser=options.args.get("tool_call_parser", options.tool_call_parser),
            tool_strict_level=options.args.get("tool_strict_level", "auto"),
            reasoning_parser=client.vllm_config.structured_outputs_config.reasoning_parser,
        )
        model = ModelFacts(options.name, options.root, client.model_config.max_model_len)
        dtype = str(client.model_config.dtype).removeprefix("torch.")
        kept = str(client.vllm_config.lora_config.lora_dtype).removeprefix("torch.")
        facts = BaseFacts(
            name=options.root,
            modules={name: (int(i), int(o)) for name, (i, o) in modules.items()},
            max_rank=client.vllm_config.lora_config.max_lora_rank,
            dtype=dtype,
            lora_dtype=None if kept == dtype else kept,
        )
        return cls(processes, handlers, model=model, facts=facts, op=op, kernels=kernels)

    @property
    def model(self) -> ModelFacts:
        """Return what clients may know about the base model."""
        return self._model

    @property
    def facts(self) -> BaseFacts:
        """Return the facts of the base model that an adapter must match."""
        return self._facts

    @property
    def rows(self) -> RowRenderer:
        """Return what reads rows of training files as requests are read."""
        return self._handlers.rows

    def lora_op(self) -> str:
        """Return the name of the class that applies adapters in the worker."""
        return self._op

    def lora_kernels(self) -> str | None:
        """Return which kernels serve on CUDA and the figures that chose them; None on a CPU."""
        return self._kernels

    async def respond(self, call: Call) -> Answer | Frames:
        """Answer ``call`` with vLLM's own handler for its endpoint."""
        if self._client.errored:
            raise EngineUnavailable("The engine is not running.")
        return await self._handlers.respond(call)

    async def load_adapter(self, engine_id: int, engine_name: str, path: Path) -> None:
        """Load the adapter into a host slot and a device slot; then requests may name it."""
        request = LoRARequest(lora_name=engine_name, lora_int_id=engine_id, lora_path=str(path))
        await self._load(request)
        self._requests[engine_id] = self._handlers.models.lora_requests[engine_name] = request

    async def activate_adapter(self, engine_id: int) -> None:
        """Copy the adapter from its host slot into a device slot."""
        await self._load(self._requests[engine_id])

    async def _load(self, request: LoRARequest) -> None:
        try:
            await load_adapter(self._client, request)
        except EngineDeadError as error:
            raise _lost() from error

    async def deactivate_adapter(self, engine_id: int) -> None:
        """Free the adapter's device slot."""
        await self._ask("veneer_deactivate_adapter", engine_id)

    async def unload_adapter(self, engine_id: int) -> None:
        """Free both slots of the adapter, and forget its name."""
        request = self._requests.pop(engine_id, None)
        if request is not None:
            self._handlers.models.lora_requests.pop(request.lora_name, None)
        await self._ask("veneer_unload_adapter", engine_id)

    async def measure_effect(self, engine_id: int, engine_name: str) -> Effect:
        """Answer one prompt with the adapter and without it, and compare the answers."""
        request = self._requests.get(engine_id)
        if request is None or request.lora_name != engine_name:
            raise LoadFailed("The adapter is not loaded, so its effect cannot be measured.")
        try:
            return await measure_effect(self._client, request)
        except EngineDeadError as error:
            raise _lost() from error

    async def wait_until_able(self) -> None:
        """Return while the engine process lives."""
        await self.check_health()

    async def ping(self) -> None:
        """Return when the engine core and every worker have answered, between two steps."""
        await self._client.collective_rpc("veneer_ping")

    def progress(self) -> tuple[int, int]:
        """Return how many outputs have come from the engine, and how many requests run."""
        return self._outputs(), self._client.get_num_unfinished_requests()

    def kill(self) -> None:
        """End the engine's processes at once and remove what they leave."""
        self._processes.kill()
        forget_tokenizers()

    async def check_health(self) -> None:
        """Return if the engine's process lives."""
        if self._client.errored:
            raise EngineUnavailable("The engine is not running.")

    async def counts(self) -> Mapping[str, int]:
        """Return the worker's counters of steps, and of steps that mixed adapters."""
        [counts, *_] = await self._client.collective_rpc("veneer_mix_counts")
        return dict(counts)

    async def resident(self) -> Mapping[str, list[int]]:
        """Return the engine ids in ``host`` and in ``device`` slots, as the worker sees them."""
        [found, *_] = await self._client.collective_rpc("veneer_adapters")
        return dict(found)

    def stop(self) -> None:
        """End the engine's processes."""
        self._processes.stop()

    async def _ask(self, method: str, *args: Any) -> None:
        try:
            await self._client.collective_rpc(method, args=args)
        except EngineDeadError as error:
            raise _lost() from error


def _lost() -> EngineLost:
    return EngineLost("The engine stopped while it loaded or unloaded an adapter.")


def _count_outputs(client: AsyncLLM) -> Callable[[], int]:
    """Return what tells how often the engine core has sent something, which it does each step."""
    receive = client.engine_core.get_output_async
    sent = 0

    async def counted() -> Any:
        nonlocal sent
        outputs = await receive()
        sent += 1
        return outputs

    client.engine_core.get_output_async = counted
    return lambda: sent


def _tell_unsteady(found: Iterable[Mapping[str, int | None]]) -> None:
    unsteady = ([name for name, least in rows.items() if least is None] for rows in found)
    for layers in filter(None, unsteady):
        logger.warning(
            "in this dtype %d layers of the base round a request otherwise when others run beside"
            " it (%s, ...); model.dtype: float32 does not",
            *(len(layers), layers[0]),
        )
        return


def _to_text(template: Any) -> str | None:
    return None if template is None else str(template)


def _explain_wrong_op(op: str) -> str:
    causes = [
        f"{name}={os.environ[name]!r} is set"
        for name in ("VLLM_TARGET_DEVICE", "VLLM_PLUGINS")
        if name in os.environ
    ]
    why = " and ".join(causes) or f"'pip show veneer' in {sys.prefix} may show why"
    return (
        f"vLLM did not load Veneer's plugin ({why}). It would apply adapters with {op}, which on a "
        "CPU gives requests the adapters of other requests."
    )
