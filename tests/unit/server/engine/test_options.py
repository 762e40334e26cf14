"""What the engine is started with, and in which environment."""

from typing import Any

import pytest

from veneer_server.api.official.bounds import BOUNDS
from veneer_server.engine.vllm.options import (
    EXTENSION,
    STEP_TOKENS,
    ArgumentRefused,
    EngineOptions,
    begins_worker_early,
    engine_fields,
    environment,
)

GIB = 2**30


def fields(*, on_cpu: bool = True, **given: Any) -> dict[str, Any]:
    options = EngineOptions(model="/model", name="base", root="Org/Base", **given)
    return engine_fields(options, on_cpu=on_cpu)


@pytest.mark.parametrize("on_cpu", [True, False])
def test_a_kv_cache_size_that_was_asked_for_is_taken(*, on_cpu: bool) -> None:
    assert fields(on_cpu=on_cpu, kv_cache_bytes=9 * GIB)["kv_cache_memory_bytes"] == 9 * GIB


def test_on_a_gpu_vllm_sizes_its_own_kv_cache() -> None:
    assert "kv_cache_memory_bytes" not in fields(on_cpu=False)


@pytest.mark.parametrize(("asked", "given"), [(None, -1), (4096, 4096)])
def test_the_context_shrinks_to_the_kv_cache_unless_it_was_set(
    asked: int | None, given: int
) -> None:
    assert fields(max_len=asked)["max_model_len"] == given


def test_an_argument_that_mixes_adapters_up_is_refused_with_the_reason() -> None:
    with pytest.raises(ArgumentRefused, match="last slot would get the base model's answers"):
        fields(args={"specialize_active_lora": True})
    assert fields(args={"specialize_active_lora": False})["specialize_active_lora"] is False


def test_slots_ranks_sequences_and_dtypes_reach_the_engine() -> None:
    found = fields(
        device_slots=3, host_slots=5, max_rank=16, max_seqs=7, dtype="float32", lora_dtype="half"
    )
    names = ("max_loras", "max_cpu_loras", "max_lora_rank", "max_num_seqs", "dtype", "lora_dtype")
    assert [found[name] for name in names] == [3, 5, 16, 7, "float32", "half"]
    assert found["enable_lora"] is True


def test_an_argument_that_leaves_a_dtype_open_does_not_undo_the_choice() -> None:
    left_open = {"dtype": "auto", "lora_dtype": "auto"}
    found = fields(dtype="float32", lora_dtype="bfloat16", args=left_open)
    assert (found["dtype"], found["lora_dtype"]) == ("float32", "bfloat16")
    found = fields(dtype="float32", args={"dtype": "half", "lora_dtype": "float16"})
    assert (found["dtype"], found["lora_dtype"]) == ("half", "float16")


def test_by_default_every_running_sequence_can_have_its_own_adapter() -> None:
    # Otherwise vLLM's scheduler passes requests for an adapter without a slot for ever.
    found = fields()
    assert found["max_loras"] >= found["max_num_seqs"]


def test_the_worker_gets_our_rpcs_and_the_model_decides_what_adapters_change() -> None:
    found = fields()
    assert found["worker_extension_cls"] == EXTENSION
    assert "lora_target_modules" not in found


def test_prompts_are_never_logged() -> None:
    assert fields()["enable_log_requests"] is False


def test_the_operators_own_arguments_win() -> None:
    found = fields(args={"max_loras": 2, "block_size": 32})
    assert (found["max_loras"], found["block_size"]) == (2, 32)


def test_on_a_gpu_compiled_models_are_kept_apart_by_the_lora_op() -> None:
    assert "additional_config" not in fields()
    kept = [fields(on_cpu=False, lora_op=op)["additional_config"] for op in ("auto", "vllm")]
    assert kept[0] != kept[1]
    own = fields(on_cpu=False, args={"additional_config": {"a": 1}})["additional_config"]
    assert own == {"a": 1, "veneer_lora_op": "auto"}


def test_options_of_the_api_layer_do_not_reach_the_engine() -> None:
    found = fields(args={"tool_call_parser": "hermes", "chat_template": "/t.jinja"})
    assert not {"tool_call_parser", "chat_template"} & found.keys()


@pytest.mark.parametrize(
    "args",
    [
        {"numa_bind": True},
        {"data_parallel_size": 2},
        {"distributed_executor_backend": "mp"},
        {"distributed_executor_backend": "uni"},
    ],
)
def test_a_worker_is_begun_early_only_where_ours_starts_it_by_itself(args: dict[str, Any]) -> None:
    assert begins_worker_early(fields())
    assert not begins_worker_early(fields(args=args))
    assert not begins_worker_early(fields(on_cpu=False))


def test_the_engine_computes_on_every_cpu_it_may_use() -> None:
    assert environment({}, {3, 0, 1}, 7, 60.0)["VLLM_CPU_OMP_THREADS_BIND"] == "0,1,3"


def test_what_the_operator_set_in_the_environment_stays() -> None:
    given = {"VLLM_CPU_OMP_THREADS_BIND": "0", "VLLM_LOGGING_LEVEL": "DEBUG"}
    assert not given.keys() & environment(given, {0, 1}, 7, 60.0).keys()


def test_the_engine_learns_whose_it_is_even_when_the_variable_was_inherited() -> None:
    assert environment({"VENEER_GATEWAY_PID": "6"}, {0}, 7, 60.0)["VENEER_GATEWAY_PID"] == "7"


def test_the_engine_is_never_forked_because_a_fork_does_not_load_its_plugins() -> None:
    given = {"VLLM_WORKER_MULTIPROC_METHOD": "fork"}
    assert environment(given, {0}, 7, 60.0)["VLLM_WORKER_MULTIPROC_METHOD"] == "spawn"


def test_vllm_takes_as_many_stop_strings_as_the_api() -> None:
    found = int(environment({}, {0}, 7, 60.0)["VLLM_MAX_STOP_STRINGS"])
    assert BOUNDS["stop"].items == BOUNDS["stop_sequences"].items == found


def test_attention_on_a_cpu_does_not_depend_on_who_else_is_served_unless_asked_for() -> None:
    assert environment({}, {0}, 7, 60.0)["VLLM_CPU_ATTN_SPLIT_KV"] == "0"
    assert "VLLM_CPU_ATTN_SPLIT_KV" not in environment({"VLLM_CPU_ATTN_SPLIT_KV": "1"}, {0}, 7, 1)


def test_the_kernel_for_adapters_has_as_many_threads_as_the_base() -> None:
    assert environment({}, {0, 1, 5}, 7, 60.0)["NUMBA_NUM_THREADS"] == "3"
    # How many the base has then, only vLLM knows: one computes adapters unless it is said here too.
    given = {"VLLM_CPU_OMP_THREADS_BIND": "0-7|8-15"}
    assert "NUMBA_NUM_THREADS" not in environment(given, {0, 1, 5}, 7, 60.0)


def test_what_is_compiled_is_kept_in_the_cache_folder() -> None:
    found = environment({"XDG_CACHE_HOME": "/c", "TRITON_CACHE_DIR": "/mine"}, {0}, 7, 60.0)
    assert found["VLLM_CACHE_ROOT"] == "/c/veneer/vllm"
    assert found["TORCHINDUCTOR_CACHE_DIR"] == "/c/veneer/inductor"
    assert "TRITON_CACHE_DIR" not in found


def test_usage_statistics_are_off_unless_asked_for() -> None:
    assert environment({}, {0}, 7, 60.0)["VLLM_NO_USAGE_STATS"] == "1"


def test_on_a_cpu_the_engine_runs_eagerly_and_its_core_does_not_spin() -> None:
    found = fields()
    assert found["enforce_eager"] is True
    assert found["distributed_executor_backend"].endswith(".PatientExecutor")
    assert found["scheduler_cls"].endswith(".WorkBoundScheduler")


def test_off_a_cpu_vllm_compiles_and_runs_as_it_does() -> None:
    found = fields(on_cpu=False)
    assert not found.keys() & {
        *("enforce_eager", "distributed_executor_backend"),
        *("max_num_batched_tokens", "long_prefill_token_threshold", "scheduler_cls"),
    }


def test_on_a_cpu_a_step_is_small_so_that_streams_do_not_wait_for_long_prompts() -> None:
    found = fields()
    assert found["long_prefill_token_threshold"] < found["max_num_batched_tokens"] == STEP_TOKENS


@pytest.mark.parametrize(
    "given", [{"max_seqs": 1000}, {"args": {"max_num_seqs": 1000}}], ids=["setting", "argument"]
)
def test_a_step_has_room_for_every_sequence(given: dict[str, Any]) -> None:
    assert fields(**given)["max_num_batched_tokens"] == 1000


def test_vllm_gives_up_no_sooner_than_the_start_as_a_whole() -> None:
    assert environment({}, {0}, 7, 899.5)["VLLM_ENGINE_READY_TIMEOUT_S"] == "901"
