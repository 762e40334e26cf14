"""The base model with the adapter that is trained on it."""

from typing import Any

import torch
from peft import LoraConfig, get_peft_model
from transformers import AutoModelForCausalLM

from veneer_server.training.child.failures import TrainingFailed
from veneer_server.training.child.starting import config_of, take_over
from veneer_server.training.job import Job


def load(job: Job) -> Any:
    """Return PEFT's model of the job; its weights are those that the seed or the start gives.

    Raises:
        TrainingFailed: the folder holds no base model, or has none of the modules to train, or the
            adapter from which the job goes on cannot be used.
    """
    torch.manual_seed(job.seed)
    base = _load_base(job)
    base.config.use_cache = False
    config = lora_config(job) if job.start is None else config_of(job, job.start)
    try:
        model = get_peft_model(base, config)
    except ValueError as error:
        raise TrainingFailed("invalid_hyperparameters", f"The adapter: {error}") from error
    if job.start is not None:
        take_over(trained(model), job.start)
    return model.to(job.means.device)


def lora_config(job: Job) -> LoraConfig:
    """Return PEFT's description of the job's adapter."""
    return LoraConfig(
        r=job.lora.r,
        lora_alpha=job.lora.alpha,
        lora_dropout=job.lora.dropout,
        target_modules=sorted(job.lora.target_modules),
        task_type="CAUSAL_LM",
    )


def computing(job: Job) -> Any:
    """Return the block in which a loss is computed with the job's precision."""
    kind = job.means.device.partition(":")[0]
    # In bf16 a step takes a third of the time on a CPU that has instructions for it.
    return torch.autocast(kind, torch.bfloat16, enabled=job.means.precision == "bf16")


def trained(model: Any) -> dict[str, Any]:
    """Return the weights that are trained, by name."""
    return {name: weight for name, weight in model.named_parameters() if weight.requires_grad}


def _load_base(job: Job) -> Any:
    half = job.means.device != "cpu" and job.means.precision == "bf16"
    dtype = torch.bfloat16 if half else torch.float32
    try:
        return AutoModelForCausalLM.from_pretrained(job.base, dtype=dtype, local_files_only=True)
    except (OSError, ValueError) as error:
        raise TrainingFailed("base_unusable", "The base model cannot be read.") from error
