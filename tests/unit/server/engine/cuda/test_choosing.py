"""Which kernels serve: only measurements on this card can choose ours."""

import pytest

from veneer_server.engine.vllm.cuda.choosing import (
    Timing,
    choose,
    from_json,
    keep_vllms,
    key_of,
    say,
    to_json,
)
from veneer_server.engine.vllm.cuda.plans import Layer

FASTER = [Timing(8, 2.0, 1.0), Timing(64, 8.0, 1.3), Timing(2048, 20.0, 12.0)]


def test_ours_serve_where_they_were_faster_every_time() -> None:
    choice = choose(FASTER)
    assert (choice.small, choice.large) == (True, True)


@pytest.mark.parametrize("ours", [2.0, 2.5, float("nan")])
def test_one_slower_measurement_keeps_vllms_for_that_kind_of_batch(ours: float) -> None:
    choice = choose([*FASTER, Timing(256, 2.0, ours)])
    assert (choice.small, choice.large) == (False, True)
    choice = choose([*FASTER, Timing(8192, 2.0, ours)])
    assert (choice.small, choice.large) == (True, False)


def test_without_a_measurement_vllms_serve() -> None:
    assert (choose([]).small, choose([]).large) == (False, False)
    assert not choose(FASTER[:2]).large
    assert keep_vllms("the card's capability is 7.5").served == "vllm"


def test_the_log_names_the_kernels_and_their_figures() -> None:
    assert say(choose(FASTER[1:])) == (
        "LoRA kernels that serve: veneer; timed on this card"
        " (vLLM's / ours: 64 rows 8.00 / 1.30 ms, 2048 rows 20.00 / 12.00 ms)"
    )
    assert say(keep_vllms("why not")) == "LoRA kernels that serve: vllm; why not"


def test_a_kept_choice_is_made_again_from_its_figures() -> None:
    kept = from_json(to_json(choose(FASTER)))
    assert kept == choose(FASTER)


@pytest.mark.parametrize(
    "text",
    ["", "[]", "{}", '{"timings": []}', '{"timings": [{"rows": 8}]}', '{"small": true}', "nul"],
)
def test_what_is_no_kept_choice_is_measured_again(text: str) -> None:
    assert from_json(text) is None


def test_another_card_model_or_version_has_another_name() -> None:
    layers = [Layer(64, (64,), 16), Layer(64, (64, 32), 16)]
    facts = {"card": "A", "slots": 8, "triton": "3.7"}
    known = key_of(facts, layers)
    assert known == key_of(dict(reversed(facts.items())), layers[::-1])
    others = [key_of(facts | change, layers) for change in ({"card": "B"}, {"slots": 9})]
    others += [key_of(facts, layers[:1]), key_of(facts, [layers[0], Layer(64, (64, 32), 8)])]
    assert len({known, *others}) == 5
