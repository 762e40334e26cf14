"""Starts vLLM's processes for a base model, with vLLM's own code for it or with Transformers'."""

import logging
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from vllm import envs
from vllm.engine.arg_utils import AsyncEngineArgs
from vllm.usage.usage_lib import UsageContext
from vllm.v1.engine import utils
from vllm.v1.engine.async_llm import AsyncLLM

from veneer_server.engine.base import EngineNotStarted
from veneer_server.engine.stages import Stage
from veneer_server.engine.vllm.bases.causes import Cause, last_logged
from veneer_server.engine.vllm.bases.explaining import explain, explain_without_lora, lacks_lora
from veneer_server.engine.vllm.bases.families import choose_parsers
from veneer_server.engine.vllm.bases.reading import read_config, read_template
from veneer_server.engine.vllm.options import EngineOptions, begins_worker_early
from veneer_server.engine.vllm.processes import EngineProcesses, StartFailed
from veneer_server.engine.vllm.startup.spare import taking_spare
from veneer_server.engine.vllm.startup.spawning import spawning

logger = logging.getLogger(__name__)

_ASKED_OFTEN = "VLLM_COMPUTE_NANS_IN_LOGITS"


def with_parsers(options: EngineOptions) -> EngineOptions:
    """Return ``options`` with the parsers of the base model's family where none are chosen.

    Reads a few small files of the model; of one that is not here yet, it downloads them.
    """
    given = options.args.get("chat_template", options.chat_template)
    template = _text_of(given) if given else read_template(options.model)
    found = choose_parsers(read_config(options.model), template)
    tools, reasoning = options.tool_call_parser, options.reasoning_parser
    if tools is None and "tool_call_parser" not in options.args:
        tools = _say("tool_call_parser", found.tools, found.family)
    if reasoning is None and "reasoning_parser" not in options.args:
        reasoning = _say("reasoning_parser", found.reasoning, found.family)
    return replace(options, tool_call_parser=tools, reasoning_parser=reasoning)


def _say(name: str, parser: str | None, family: str | None) -> str | None:
    if parser is not None:
        logger.info("%s is %s, as models of the family %s need it", name, parser, family)
    return parser


def _text_of(template: Any) -> str:
    # As vLLM takes it: the path of a file, or the template itself.
    path = Path(str(template))
    try:
        return path.read_text(encoding="utf-8") if path.is_file() else str(template)
    except OSError:
        return str(template)


async def start_processes(
    fields: Mapping[str, Any],
    record: Path | None,
    on_stage: Callable[[Stage, float], None] = lambda _stage, _at_s: None,
) -> EngineProcesses:
    """Return the processes of an engine with the arguments ``fields``.

    ``on_stage`` gets the stages that they report.

    A base model for which vLLM's own code has no LoRA is started once more with the code of
    Transformers, unless ``fields`` choose the code.

    Raises:
        EngineNotStarted: vLLM refuses the model or an argument, or dies meanwhile.
    """
    try:
        return await EngineProcesses.start(lambda: _start_client(fields), record, on_stage)
    except StartFailed as failed:
        own = failed.cause
        if not lacks_lora(own) or "model_impl" in fields:
            raise EngineNotStarted(explain(own)) from failed
    logger.warning(
        "vLLM's own code for this base model has no LoRA; Transformers' code computes it instead"
    )
    other = {**fields, "model_impl": "transformers"}
    try:
        return await EngineProcesses.start(lambda: _start_client(other), record, on_stage)
    except StartFailed as failed:
        raise EngineNotStarted(explain_without_lora(own, failed.cause)) from failed


def ask_environment_once() -> None:
    """Keep what vLLM asks the environment for at each token.

    To ask takes longer than all that it then counts.
    """
    setattr(envs, _ASKED_OFTEN, getattr(envs, _ASKED_OFTEN))


def _start_client(fields: Mapping[str, Any]) -> AsyncLLM:
    ask_environment_once()
    with last_logged() as logged:
        try:
            config = AsyncEngineArgs(**fields).create_engine_config(UsageContext.API_SERVER)
        except Exception as error:
            # vLLM looks at a model in a process of its own, and only logs what that process says.
            cause = logged[-1] if logged else Cause.of(error, reading=True)
            raise StartFailed(cause) from error
    allowed = config.model_config.max_model_len
    spare_worker = begins_worker_early(fields)
    with spawning(spare_worker=spare_worker), taking_spare(utils):
        client = AsyncLLM.from_vllm_config(config)
    if client.model_config.max_model_len < allowed:
        logger.warning(
            "the KV cache holds %d tokens of context, and the model could have %d; a larger"
            " engine.kv_cache_gib or fewer adapter slots would allow more",
            *(client.model_config.max_model_len, allowed),
        )
    return client
