"""What is said of an engine that did not start."""

from typing import Any

import pytest

from veneer_server.engine.vllm.bases.causes import Cause
from veneer_server.engine.vllm.bases.explaining import (
    explain,
    explain_without_lora,
    lacks_lora,
)
from veneer_server.engine.vllm.startup.int8_cpu import LACK

CAUSES = [
    (("ValueError", "Cannot auto-fit max_model_len: not enough GPU memory available to serve even a"
      " single token. Try increasing `gpu_memory_utilization`."), "KV cache of a single token"),
    (("AssertionError", "No supported LoRA modules found in GPT2Model."), "plain linear layers"),
    (("ValueError", "StablelmForCausalLM does not support LoRA."), "another base model"),
    (("ValueError", "Model architectures ['X'] are not supported for now."), "neither vLLM nor"),
    (("RuntimeError", "Cannot find any model weights with `/m`"), "download it whole"),
    (("SafetensorError", "Error while deserializing header: header too large"), "damaged"),
    (("KeyError", "'model.layers.9.mlp.x'"), "do not fit its config.json"),
    (("RuntimeError", "start (0) + length (9) exceeds dimension size (8)."), "do not fit its"),
    (("OSError", "Can't load tokenizer for '/m'."), "tokenizer"),
    (("ValueError", "requires you to execute the configuration file"), "trust_remote_code: true"),
    (("OSError", "no/where is not a local folder and is not valid"), "check model.path"),
    (("ValueError", "1 validation error for ModelConfig\n  Value error, The dtype is odd [type="),
     "The dtype is odd"),
    (("ValueError", "Embedding models do not support `--runner generate`. Use `--runner pooling`."),
     "writes no text"),
    (("ValueError", "max_model_len must be a positive integer, got int: -1."), "`model.max_len`"),
    (("ValueError", "Unknown quantization method: bitsandbytes. Must be one of ['awq']."),
     "serve the same model unquantised"),
    (("ValueError", "torch.float32 is not supported for quantization method x."), "`model.dtype`"),
    (("ValueError", "Unsupported quantization config: bits=4, sym=False"), "quantised in a way"),
    (("RuntimeError", "_C::static_scaled_fp8_quant() expected at most 0 argument(s) but"),
     "no kernel for this base model on this machine"),
    (("ValueError", "Failed to find a kernel that can implement the ScaledMM linear layer. Reasons:"
      f" \n ZentorchInt8: requires it. \n CPUInt8ScaledMMLinearKernel: {LACK}"),
     "quantised to int8 with its inputs"),
    (("AttributeError", "'_OpNamespace' '_C' object has no attribute 'cpu_gemm_wna16'"),
     "no kernel for this base model on this machine"),
    (("StrictDataclassFieldValidationError", "Validation error for field 'hidden_size': an int"),
     "config.json"),
    (("AttributeError", "'list' object has no attribute 'to_dict'", True), "config.json"),
    (("ValueError", "To serve at least one request, 3 GiB is needed."), "3 GiB is needed."),
]  # fmt: skip


@pytest.mark.parametrize(("cause", "said"), CAUSES)
def test_a_cause_is_told_with_what_to_do(cause: tuple[Any, ...], said: str) -> None:
    assert said in explain(Cause(*cause))


@pytest.mark.parametrize("cause", [c for c, _ in CAUSES])
def test_what_is_said_is_one_line_without_hints_at_a_traceback(cause: tuple[Any, ...]) -> None:
    said = explain(Cause(*cause))
    assert "\n" not in said
    assert said.endswith(".")


@pytest.mark.parametrize(
    "message", ["Engine core initialization failed. See root cause above. Failed: {}", ""]
)
def test_an_error_that_says_nothing_is_told_by_its_kind(message: str) -> None:
    said = explain(Cause("RuntimeError", message))
    assert "root cause" not in said
    assert "RuntimeError" in said


def test_a_blunder_of_the_engine_itself_is_not_called_one_of_the_model() -> None:
    assert "config.json" not in explain(Cause("AttributeError", "'NoneType' has no attribute 'x'"))


def test_an_error_with_gaps_is_told_with_what_fills_them() -> None:
    cause = Cause.of(ValueError("The quantization method %s is deprecated. Bypass it.", "fp_quant"))
    assert "The quantization method fp_quant is deprecated" in explain(cause)


def test_an_error_with_gaps_that_nothing_fits_is_told_as_it_is() -> None:
    assert "%s and %s" in Cause.of(ValueError("%s and %s", "one")).message


def test_a_base_that_neither_code_serves_is_told_with_both_reasons() -> None:
    own = Cause("ValueError", "GPT2LMHeadModel does not support LoRA.")
    other = Cause("ValueError", "Following weights were not initialized: {'c_attn'}")
    said = explain_without_lora(own, other)
    assert "GPT2LMHeadModel does not support LoRA; Following weights" in said
    assert said.endswith("serve another base model.")


def test_a_package_that_is_missing_is_named() -> None:
    said = explain(Cause("ModuleNotFoundError", "No module named 'torchvision'"))
    assert "`torchvision`" in said


def test_a_process_that_ended_without_a_word_is_told_as_that() -> None:
    assert "ended by itself" in explain(Cause("RuntimeError", "cancelled"))
    failed = "WorkerProc initialization failed due to an exception in a background process."
    assert "ended by itself" in explain(Cause("Exception", f"{failed} See stack trace for root."))


def test_a_long_error_is_cut() -> None:
    assert len(explain(Cause("ValueError", "word " * 5000))) < 600


def test_only_a_model_whose_code_has_no_lora_is_tried_with_other_code() -> None:
    assert lacks_lora(Cause("ValueError", "X does not support LoRA."))
    assert not lacks_lora(Cause("AssertionError", "No supported LoRA modules found in X."))
