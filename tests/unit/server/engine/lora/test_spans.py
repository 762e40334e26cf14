"""Where the weights of a module go in vLLM's layers."""

import pytest

from veneer_server.engine.vllm.lora.spans import Span, name_spans, split_layer

QKV = Span("attn.qkv", 0, (8, 4, 4), 16)


@pytest.mark.parametrize(
    ("parts", "widths", "known", "taken"),
    [
        (["q", "k", "v"], (8, 4, 4), {}, {"q": (0, (8,)), "k": (1, (4,)), "v": (2, (4,))}),
        (["qkv"], (8, 4, 4), {}, {"qkv": (0, (8, 4, 4))}),
        (["dense"], (8,), {}, {"dense": (0, (8,))}),
        (["qkv", "z"], (8, 4, 4, 6), {"qkv": 16, "z": 6}, {"qkv": (0, (8, 4, 4)), "z": (3, (6,))}),
        (["qkv", "z"], (8, 4, 4, 6), {"qkv": 16}, {}),
        (["qkv", "z"], (8, 4, 4, 6), {"qkv": 15, "z": 7}, {}),
        (["a", "b"], (8, 4, 4), {"a": 8, "b": 4}, {}),
    ],
    ids=["one each", "all in one", "one slice", "some together", "unknown", "misfit", "left over"],
)
def test_a_layer_is_split_into_its_modules(
    parts: list[str],
    widths: tuple[int, ...],
    known: dict[str, int],
    taken: dict[str, tuple[int, tuple[int, ...]]],
) -> None:
    found = split_layer("layer", parts, 16, widths, known)
    assert {name: (span.first, span.widths) for name, span in found.items()} == taken
    assert all(span.layer == "layer" and span.inputs == 16 for span in found.values())


def test_a_module_goes_by_the_name_that_peft_gives_it() -> None:
    found = name_spans(
        {"model.qkv": QKV}, {"gpt.qkv": (16, 16)}, lambda n: n.replace("gpt", "model")
    )
    assert found == {"gpt.qkv": QKV}


@pytest.mark.parametrize("shape", [(16, 8), (8, 16)])
def test_a_module_of_another_shape_is_left_out(shape: tuple[int, int]) -> None:
    assert name_spans({"qkv": QKV}, {"qkv": shape}, lambda name: name) == {}


def test_two_modules_for_one_place_are_left_out() -> None:
    trained = {"one": (16, 16), "other": (16, 16)}
    assert name_spans({"qkv": QKV}, trained, lambda _: "qkv") == {}


def test_a_module_that_the_engine_has_no_name_for_is_left_out() -> None:
    assert name_spans({"qkv": QKV}, {"qkv": (16, 16)}, lambda _: None) == {}


def test_without_the_transformers_model_only_names_that_need_no_change_count() -> None:
    spans = {"qkv": QKV, "inner.qkv": QKV}
    assert name_spans(spans, None, lambda name: name.removeprefix("inner.")) == {"qkv": QKV}
