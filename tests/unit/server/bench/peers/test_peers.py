"""What must be equal on both sides is equal, and nobody measures our plugin as vLLM's own."""

import json
from dataclasses import replace
from pathlib import Path

import pytest

from veneer_server.bench.peers.peers import MAX_SEQS, Name, Peer, Rig, peer
from veneer_server.bench.peers.running import child_environ
from veneer_server.settings import Settings

RIG = Rig(
    model=Path("/models/some"),
    port=8377,
    folder=Path("/bench/rig"),
    threads=(0, 1),
    gguf=Path("/bench/q4/model.gguf"),
    max_rank=32,
    device_slots=7,
    host_slots=9,
    dtype="float32",
    lora_dtype="bfloat16",
)
VLLM = [Name.DEFAULT, Name.TUNED, Name.PLAIN, Name.DEFAULT_64]
OURS = [name for name in Name if name.is_ours]


def flag(of: Peer, name: str) -> str | None:
    words = list(of.command)
    return words[words.index(name) + 1] if name in words else None


@pytest.mark.parametrize("name", VLLM)
def test_vllm_never_runs_our_plugin(name: Name) -> None:
    assert peer(name, RIG).environ["VLLM_PLUGINS"] == ""


@pytest.mark.parametrize("name", [Name.DEFAULT, Name.TUNED, Name.DEFAULT_64])
def test_the_log_of_vllm_must_show_its_own_op(name: Name) -> None:
    assert peer(name, RIG).must_log == "PunicaWrapperCPU"


@pytest.mark.parametrize("theirs", VLLM)
@pytest.mark.parametrize("ours", OURS)
def test_weights_precision_sequences_and_cache_are_the_same_on_both_sides(
    ours: Name, theirs: Name
) -> None:
    stock, veneer = peer(theirs, RIG), peer(ours, RIG)
    settings = Settings.load(environ=veneer.environ)
    assert flag(stock, "--model") == flag(veneer, "--model") == "/models/some"
    assert flag(stock, "--dtype") == settings.model.dtype == "float32"
    assert flag(stock, "--max-num-seqs") == str(settings.limits.max_seqs) == str(MAX_SEQS)
    assert settings.engine.kv_cache_gib is not None
    assert flag(stock, "--kv-cache-memory-bytes") == str(int(settings.engine.kv_cache_gib * 2**30))
    assert "--no-enable-prefix-caching" in stock.command
    assert settings.engine.args["enable_prefix_caching"] is False


@pytest.mark.parametrize("name", [Name.DEFAULT, Name.TUNED, Name.DEFAULT_64])
def test_rank_slots_and_their_dtype_are_the_same_on_both_sides(name: Name) -> None:
    stock = peer(name, RIG)
    settings = Settings.load(environ=peer(Name.VENEER, RIG).environ)
    adapters = settings.adapters
    assert flag(stock, "--max-lora-rank") == str(adapters.max_rank) == "32"
    assert flag(stock, "--lora-dtype") == settings.engine.args["lora_dtype"] == "bfloat16"
    assert flag(stock, "--max-loras") == str(adapters.device_slots) == "7"
    assert flag(stock, "--max-cpu-loras") == str(adapters.host_slots) == "9"


def test_only_the_tuned_vllm_is_tuned() -> None:
    tuned, default = peer(Name.TUNED, RIG), peer(Name.DEFAULT, RIG)
    assert tuned.environ["VLLM_CPU_OMP_THREADS_BIND"] == "0,1"
    assert flag(tuned, "--lora-target-modules") == "q_proj"
    assert "VLLM_CPU_OMP_THREADS_BIND" not in default.environ
    assert "--lora-target-modules" not in default.command


def test_the_ceiling_has_no_lora() -> None:
    assert not [word for word in peer(Name.PLAIN, RIG).command if "lora" in word]


def test_llama_computes_on_as_many_threads_as_there_are_cpus() -> None:
    assert '"threads": 2' in peer(Name.LLAMA_Q4, RIG).command[-1]
    assert '"threads": 3' in peer(Name.LLAMA_Q4, replace(RIG, threads=(0, 1, 2))).command[-1]


def test_the_program_of_llama_is_told_what_its_package_is_told() -> None:
    program = peer(Name.LLAMA_Q4, replace(RIG, llama_server=Path("/built/llama-server")))
    packaged = json.loads(peer(Name.LLAMA_Q4, RIG).command[-1])
    assert program.command[0] == "/built/llama-server"
    flags = {"--model": "gguf", "--port": "port", "--threads": "threads", "--ctx-size": "context"}
    told = {key: flag(program, name) for name, key in flags.items()}
    assert told == {key: str(packaged[key]) for key in told}
    assert flag(program, "--parallel") == str(packaged["parallel"])
    assert "--no-cache-prompt" in program.command


def test_settings_of_the_user_reach_no_peer() -> None:
    environ = {"PATH": "/bin", "VENEER_SERVER__API_KEY": "k", "VLLM_CPU_OMP_THREADS_BIND": "0"}
    made = child_environ(environ, peer(Name.DEFAULT, RIG))
    assert made["PATH"] == "/bin"
    assert made["VLLM_PLUGINS"] == ""
    assert not {"VENEER_SERVER__API_KEY", "VLLM_CPU_OMP_THREADS_BIND"} & made.keys()
