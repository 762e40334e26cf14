"""Who is let in when many wait, and when the others should come back."""

from contextlib import ExitStack
from typing import Any

import pytest

from veneer_server.serving.admission import Admission, Overloaded, retry_after_s, sequences_of
from veneer_server.serving.fairness import Ask


@pytest.mark.parametrize(
    ("body", "count"),
    [
        ({}, 1),
        ({"n": 3}, 3),
        ({"prompt": "x", "n": 2}, 2),
        ({"prompt": ["x", "y"], "n": 2}, 4),
        ({"prompt": [1, 2, 3]}, 1),
        ({"prompt": [[1, 2], [3]]}, 2),
        ({"prompt": [], "n": "2"}, 1),
    ],
)
def test_a_request_is_as_many_sequences_as_it_wants_answers(
    body: dict[str, Any], count: int
) -> None:
    assert sequences_of(body) == count


@pytest.mark.parametrize(
    ("waiting", "ended_per_s", "seconds"),
    [(100, 10, 5), (100, 9.9, 6), (1, 1000, 1), (10_000, 1, 60), (5, 0, 60)],
)
def test_half_of_the_queue_is_gone_when_a_refused_client_comes_back(
    waiting: int, ended_per_s: float, seconds: int
) -> None:
    assert retry_after_s(waiting, ended_per_s) == seconds


def test_the_queue_takes_as_many_as_it_may_and_no_more() -> None:
    admission = Admission(max_seqs=2, max_queue=3)
    with ExitStack() as inside:
        for _ in range(5):
            inside.enter_context(admission.place(Ask()))
        with pytest.raises(Overloaded, match="3 answers wait"), admission.place(Ask()):
            raise NotImplementedError
    with admission.place(Ask()):
        pass  # everybody has left


def test_a_request_of_many_sequences_gets_places_for_all_of_them() -> None:
    admission = Admission(max_seqs=2, max_queue=1)
    with (
        admission.place(Ask(sequences=2)),
        admission.place(Ask(sequences=128)),
        pytest.raises(Overloaded, match="128 answers wait"),
        admission.place(Ask()),
    ):
        raise NotImplementedError


def test_a_refused_client_is_told_by_the_rate_at_which_answers_end() -> None:
    now_s = 0.0
    admission = Admission(max_seqs=1, max_queue=10, clock=lambda: now_s)
    for _ in range(20):
        with admission.place(Ask()):
            now_s += 0.5
    with (
        admission.place(Ask(sequences=11)),
        pytest.raises(Overloaded) as refused,
        admission.place(Ask()),
    ):
        raise NotImplementedError
    assert refused.value.retry_after_s == 3  # five of ten, two in a second


def test_an_error_gives_the_place_back() -> None:
    admission = Admission(max_seqs=1, max_queue=1)
    for _ in range(5):
        with pytest.raises(KeyError), admission.place(Ask(sequences=2)):
            raise KeyError
