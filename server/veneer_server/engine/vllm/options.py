"""The arguments and variables with which vLLM starts: defaults that nobody should need to know.

Rule: this file decides and starts nothing. ``engine_fields`` returns the arguments for
``AsyncEngineArgs``. ``environment`` returns the variables that must be set before the first
engine process is spawned.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from math import ceil
from pathlib import Path
from typing import Any

from veneer_server.engine.base import EngineNotStarted
from veneer_server.engine.vllm.rendering.lanes import THREADS

STEP_TOKENS = 256
"""Most tokens that a step computes on a CPU, where every stream waits for the step to end; vLLM's
own default is 2048. tests/bench/LOG.md has the figures."""
PROMPT_TOKENS = 128
"""Most tokens of one prompt in such a step, while other requests run."""
MAX_STOP_STRINGS = 64
"""As many as the API takes."""
EXTENSION = "veneer_server.engine.vllm.inside.worker.VeneerWorkerExtension"
EXECUTOR = "veneer_server.engine.vllm.inside.executor.PatientExecutor"
SCHEDULER = "veneer_server.engine.vllm.inside.scheduler_cpu.WorkBoundScheduler"
_CACHES = {
    "VLLM_CACHE_ROOT": "vllm",
    "TRITON_CACHE_DIR": "triton",
    "TORCHINDUCTOR_CACHE_DIR": "inductor",
    "VENEER_LORA_CACHE": "lora",
}
"""Variables that say where compiled code and figures of kernels are kept between starts, and the
folder in our cache."""
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
    lora_dtype: str = "auto"
    """Of the adapters' weights in their slots; ``auto``: as ``dtype``."""
    max_len: int | None = None
    """None: what the model allows, or as much of it as the KV cache holds."""
    kv_cache_bytes: int | None = None
    """None: the rest of what vLLM may use of a GPU; a CPU needs a number."""
    device_slots: int = 32
    host_slots: int = 64
    max_rank: int = 64
    max_seqs: int = 32
    lora_op: str = "auto"
    """On CUDA: ``auto`` lets the card decide, ``vllm`` leaves LoRA to vLLM."""
    chat_template: Path | None = None
    tool_call_parser: str | None = None
    reasoning_parser: str | None = None
    record: Path | None = None
    """Where to write down what the engine leaves behind when the gateway is killed."""
    args: Mapping[str, Any] = field(default_factory=dict)
    """The operator's own arguments (``engine.args``); they win over everything above."""


class ArgumentRefused(EngineNotStarted):
    """``engine.args`` asks for something with which requests would get wrong answers."""


def engine_fields(options: EngineOptions, *, on_cpu: bool) -> dict[str, Any]:
    """Return the fields for ``AsyncEngineArgs``.

    Raises:
        ArgumentRefused: an argument of the operator's would make answers wrong.
    """
    fields: dict[str, Any] = {
        "model": options.model,
        "served_model_name": [options.name],
        "dtype": options.dtype,
        # -1: vLLM takes less than the model allows when the KV cache holds no more.
        "max_model_len": -1 if options.max_len is None else options.max_len,
        "max_num_seqs": options.max_seqs,
        "runner": "generate",  # else vLLM would start an encoder, and fail in its own way
        "enable_lora": True,
        "max_loras": options.device_slots,
        "max_cpu_loras": options.host_slots,
        "max_lora_rank": options.max_rank,
        "lora_dtype": options.lora_dtype,
        "worker_extension_cls": EXTENSION,
        "enable_log_requests": False,
        # One for all requests: vLLM would choose by the request, and then use the first choice.
        "structured_outputs_config": {"backend": "guidance"},
        "renderer_num_workers": THREADS,  # vLLM makes a tokenizer for each
    }
    if options.kv_cache_bytes is not None:
        fields["kv_cache_memory_bytes"] = options.kv_cache_bytes
    own = {key: value for key, value in options.args.items() if key not in PARSER_OPTIONS}
    for name in ("dtype", "lora_dtype"):
        if own.get(name) == "auto":
            del own[name]  # it leaves the choice to us, and ``options`` has what was chosen
    _refuse_wrong(own)
    if on_cpu:
        # vLLM refuses steps with fewer tokens than sequences.
        most_seqs = own.get("max_num_seqs", options.max_seqs)
        fields["max_num_batched_tokens"] = max(STEP_TOKENS, most_seqs)
        fields["long_prefill_token_threshold"] = PROMPT_TOKENS
        fields["scheduler_cls"] = SCHEDULER
        # With LoRA vLLM compiles nothing on a CPU; without this field it would not even use its
        # fused ops.
        fields["enforce_eager"] = True
        fields["distributed_executor_backend"] = EXECUTOR
    else:
        # vLLM keeps compiled models by its configuration, and they differ by the op.
        chosen = {**own.get("additional_config", {}), "veneer_lora_op": options.lora_op}
        own["additional_config"] = chosen
    return fields | own


def begins_worker_early(fields: Mapping[str, Any]) -> bool:
    """Return whether an engine core with these ``fields`` may begin its worker early.

    With ``numa_bind`` vLLM spawns the worker by another program, which binds it; and there must be
    one engine core only.
    """
    ours = fields.get("distributed_executor_backend") == EXECUTOR
    return ours and not fields.get("numa_bind") and fields.get("data_parallel_size", 1) == 1


def _refuse_wrong(args: Mapping[str, Any]) -> None:
    if args.get("specialize_active_lora"):
        raise ArgumentRefused(
            "engine.args.specialize_active_lora cannot be used: with requests for the base in the"
            " batch vLLM 0.32 counts one adapter too few, so requests for the adapter in the last"
            " slot would get the base model's answers. Leave it out."
        )


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
        # Split by how much the whole batch has to read, attention would round an answer otherwise
        # when others run beside it.
        "VLLM_CPU_ATTN_SPLIT_KV": "0",
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
    if "VLLM_CPU_OMP_THREADS_BIND" not in environ:
        # numba counts the CPUs of the thread that imports it, and vLLM ties that one to a CPU.
        wanted["NUMBA_NUM_THREADS"] = str(len(cpus))
    cache = Path(environ.get("XDG_CACHE_HOME") or "~/.cache").expanduser() / "veneer"
    wanted |= {name: str(cache / folder) for name, folder in _CACHES.items()}
    missing = {key: value for key, value in wanted.items() if key not in environ}
    # A forked engine would believe that it had loaded its plugins, of which Veneer is one. That is
    # what vLLM does on CUDA unless told otherwise.
    ours = {"VENEER_GATEWAY_PID": str(pid), "VLLM_WORKER_MULTIPROC_METHOD": "spawn"}
    return missing | ours
