"""The base model, and the engine that runs it."""

from typing import Any, Literal

from pydantic import Field

from veneer_server.settings.section import Section

EMBEDDED = "embedded"
"""The value of ``model.path`` that means the packaged SmolLM2-135M-Instruct."""


class ModelSettings(Section):
    """The base model."""

    path: str = Field(
        default=EMBEDDED,
        description="Local folder or Hugging Face id; 'embedded' is SmolLM2-135M-Instruct.",
    )
    name: str | None = Field(
        default=None, min_length=1, description="Model id clients use; by default the folder's."
    )
    name_required: bool = Field(
        default=False,
        description="Refuse a request that names no model; by default the base answers it.",
    )
    dtype: Literal["auto", "bfloat16", "float16", "float32"] = Field(
        default="auto", description="Precision of weights and activations."
    )
    max_len: int | None = Field(
        default=None, ge=16, description="Longest prompt plus answer in tokens."
    )


class EngineSettings(Section):
    """The engine."""

    kind: Literal["vllm", "echo"] = Field(
        default="vllm", description="'echo' answers without a model, for development."
    )
    args: dict[str, Any] = Field(
        default_factory=dict, description="Any field of vLLM's AsyncEngineArgs, and parser options."
    )
    kv_cache_gib: float | None = Field(
        default=None, gt=0, description="Memory for the KV cache, in GiB; on a GPU, of each one."
    )
    lora_op: Literal["auto", "vllm"] = Field(
        default="auto",
        description="On CUDA: 'auto' tries Veneer's kernels at the start, 'vllm' never does.",
    )
    stall_timeout_s: float = Field(
        default=60.0,
        gt=0,
        description="An engine that is silent for this long is started again, in seconds.",
    )
    start_timeout_s: float = Field(
        default=1800.0,
        gt=0,
        description="Longest time an engine may take to start, in seconds.",
    )
    restart_wait_s: float = Field(
        default=0.0,
        ge=0,
        description="How long a request waits for an engine that is started again, in seconds.",
    )
