"""What the clients are told, and how llama.cpp's adapters are named."""

import itertools
from pathlib import Path

from veneer_server.bench.clients.bench_serve import Work, flags
from veneer_server.bench.peers.adapters import Shape, random_tensors
from veneer_server.bench.peers.gguf_files import _tensor_name

WORK = Work(prompts=9, concurrency=3, tokens_in=5, tokens_out=7, seed=11)


def told(work: Work) -> list[str]:
    return flags(work, "http://127.0.0.1:1", Path("/model"))


def test_the_base_is_asked_without_adapters_greedily_and_to_full_length() -> None:
    words = told(WORK)
    pairs = dict(itertools.pairwise(words))
    assert pairs["--random-input-len"] == "5"
    assert pairs["--random-output-len"] == "7"
    assert pairs["--max-concurrency"] == "3"
    assert pairs["--seed"] == "11"
    assert pairs["--temperature"] == "0"
    assert "--ignore-eos" in words
    assert "--lora-modules" not in words


def test_adapters_are_asked_for_in_turn() -> None:
    words = told(Work(9, 3, 5, 7, 11, ("a0", "a1", "a0")))
    at = words.index("--lora-modules")
    assert words[at - 2 : at + 4] == [
        *("--lora-assignment", "round-robin"),
        *("--lora-modules", "a0", "a1", "a0"),
    ]


def test_no_request_is_sent_that_is_not_counted() -> None:
    words = told(WORK)
    assert words[words.index("--ready-check-timeout-sec") + 1] == "0"


def test_llama_cpp_gets_the_names_it_knows() -> None:
    shape = Shape(2, {"self_attn.o_proj": (4, 4), "mlp.down_proj": (8, 4)})
    assert [_tensor_name(name) for name, _ in random_tensors(shape, 2, 1.0, 0)][-3:] == [
        "blk.1.attn_output.weight.lora_b",
        "blk.1.ffn_down.weight.lora_a",
        "blk.1.ffn_down.weight.lora_b",
    ]
