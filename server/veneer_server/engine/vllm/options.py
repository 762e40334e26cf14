"""The arguments and variables with which vLLM starts: defaults that nobody should need to know.

Rule: this file decides and starts nothing. ``engine_fields`` returns the arguments for
``AsyncEngineArgs``. ``environment`` returns the variables that must be set before the first
engine process is spawned.
"""

import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from math import ceil
from pathlib import Path
from typing import Any

from veneer_server.engine.vllm.rendering.lanes import THREADS

TARGET_MODULES = (
    "q_proj",
    "k_proj",
    "v_proj",
    "o_proj",
    "gate_proj",
    "up_proj",
    "down_proj",
)
"""Modules that an adapter may change. lm_head is not one of them, because its LoRA path would run
for every sampled token."""

STEP_TOKENS = 256
"""Most tokens that a step computes on a CPU, where every stream waits for the step to end; vLLM's
own default is 2048. tests/bench/LOG.md has the figures."""
PROMPT_TOKENS = 128
"""Most tokens of one prompt in such a step, while other requests run."""
MAX_KV_BYTES = 4 * 2**30
MAX_STOP_STRINGS = 64
"""As many as the API takes."""
EXTENSION = "veneer_server.engine.vllm.inside.worker.VeneerWorkerExtension"
EXECUTOR = "veneer_server.engine.vllm.inside.executor.PatientExecutor"
PARSER_OPTIONS = frozenset(
    {"chat_template", "chat_template_content_format", "tool_call_parser", "tool_strict_level"}
)
"""Keys of ``engine.args`` that belong to vLLM's API layer, not to ``AsyncEngineArgs``."""


@dataclass(frozen=True, slots=True, kw_only=True)
class EngineOptions:
    """Everything that the vLLM engine needs to start."""

    model: str
    """A folder, or an id of the Hugging Face Hub."""
    name: str
    """The id that clients use for the base model."""
    root: str
    """Where the model comes from, as clients see it."""
    dtype: str = "auto"
    max_len: int | None = None
    kv_cache_bytes: int | None = None
    """None: on a CPU, a quarter of the memory that is free now, at most ``MAX_KV_BYTES``."""
    device_slots: int = 32
    host_slots: int = 64
    max_rank: int = 64
    max_seqs: int = 32
    chat_template: Path | None = None
    tool_call_parser: str | None = None
    record: Path | None = None
    """Where to write down what the engine leaves behind when the gateway is killed."""
    args: Mapping[str, Any] = field(default_factory=dict)
    """The operator's own arguments (``engine.args``); they win over everything above."""


def engine_fields(options: EngineOptions, *, on_cpu: bool, available_bytes: int) -> dict[str, Any]:
    """Return the fields for ``AsyncEngineArgs``; ``available_bytes`` is the memory free now."""
    fields: dict[str, Any] = {
        "model": options.model,
        "served_model_name": [options.name],
        "dtype": options.dtype,
        "max_model_len": options.max_len,
        "max_num_seqs": options.max_seqs,
        "enable_lora": True,
        "max_loras": options.device_slots,
        "max_cpu_loras": options.host_slots,
        "max_lora_rank": options.max_rank,
        "lora_target_modules": list(TARGET_MODULES),
        "worker_extension_cls": EXTENSION,
        "enable_log_requests": False,
        # One for all requests: vLLM would choose by the request, and then use the first choice.
        "structured_outputs_config": {"backend": "guidance"},
        "renderer_num_workers": THREADS,  # vLLM makes a tokenizer for each
    }
    own = {key: value for key, value in options.args.items() if key not in PARSER_OPTIONS}
    if on_cpu:
        # vLLM refuses steps with fewer tokens than sequences.
        most_seqs = own.get("max_num_seqs", options.max_seqs)
        fields["max_num_batched_tokens"] = max(STEP_TOKENS, most_seqs)
        fields["long_prefill_token_threshold"] = PROMPT_TOKENS
        # With LoRA vLLM compiles nothing on a CPU; without this field it would not even use its
        # fused ops.
        fields["enforce_eager"] = True
        fields["distributed_executor_backend"] = EXECUTOR
        fields["kv_cache_memory_bytes"] = options.kv_cache_bytes or min(
            MAX_KV_BYTES, available_bytes // 4
        )
    return fields | own


def environment(
    environ: Mapping[str, str], cpus: set[int], pid: int, start_timeout_s: float
) -> dict[str, str]:
    """Return the variables to set before the engine is spawned.

    vLLM's variables that ``environ`` already has are left out, so they stay as they are. ``cpus``
    are the CPUs that this process may use; ``pid`` is the process id of the gateway.
    """
    wanted = {
        "VLLM_NO_USAGE_STATS": "1",
        "DO_NOT_TRACK": "1",
        "VLLM_CPU_OMP_THREADS_BIND": ",".join(str(cpu) for cpu in sorted(cpus)),
        # Seconds that vLLM waits for its worker, although the worker ends only after a signal.
        "VLLM_WORKER_SHUTDOWN_TIMEOUT_SECONDS": "1",
        # vLLM's own bound on a part of its start: ours, which is for all of it, comes first.
        "VLLM_ENGINE_READY_TIMEOUT_S": str(ceil(start_timeout_s) + 1),
        # vLLM's warnings are about choices of this file. Its processes must only write to stderr.
        "VLLM_LOGGING_LEVEL": "ERROR",
        "VLLM_LOGGING_STREAM": "ext://sys.stderr",
        # vLLM's own bound is OpenAI's four; Anthropic's clients and editors send more.
        "VLLM_MAX_STOP_STRINGS": str(MAX_STOP_STRINGS),
        # Python's own tracker complains of what a killed engine had, which we have removed.
        "PYTHONWARNINGS": "ignore::FutureWarning,ignore:resource_tracker:UserWarning",
    }
    missing = {key: value for key, value in wanted.items() if key not in environ}
    return missing | {"VENEER_GATEWAY_PID": str(pid)}


def available_memory_bytes() -> int:
    """Return the bytes that can be allocated without swapping; cgroup limits do not count.

    Source: ``MemAvailable`` in Linux's /proc/meminfo.
    """
    for line in Path("/proc/meminfo").read_text().splitlines():
        if line.startswith("MemAvailable:"):
            return int(line.split()[1]) * 1024
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_AVPHYS_PAGES")
