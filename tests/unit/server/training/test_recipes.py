"""Which examples are in which step, what "auto" means, how fast is learned, what events say."""

import json
from pathlib import Path

import pytest

from veneer_server.training.child.batches import batch_at, epoch_batches
from veneer_server.training.events import EventLog, read_events
from veneer_server.training.recipes import base_rate, rate_at, resolve, steps

LENGTHS = [(n * 37) % 50 + 1 for n in range(101)]


@pytest.mark.parametrize("epoch", [0, 1, 7])
@pytest.mark.parametrize("size", [1, 4, 8, 200])
def test_every_example_is_once_in_each_epoch(size: int, epoch: int) -> None:
    batches = epoch_batches(epoch, LENGTHS, size, seed=1)
    assert sorted(index for batch in batches for index in batch) == list(range(101))
    assert len(batches) == steps(101, size)
    assert max(map(len, batches)) <= size


def test_the_order_depends_on_the_seed_and_the_epoch_alone() -> None:
    assert epoch_batches(2, LENGTHS, 8, 1) == epoch_batches(2, LENGTHS, 8, 1)
    assert epoch_batches(2, LENGTHS, 8, 1) != epoch_batches(3, LENGTHS, 8, 1)
    assert epoch_batches(2, LENGTHS, 8, 1) != epoch_batches(2, LENGTHS, 8, 2)


def test_steps_go_through_the_epochs_one_after_the_other() -> None:
    found = [batch_at(step, LENGTHS, 8, 1) for step in range(26)]
    assert found == [*epoch_batches(0, LENGTHS, 8, 1), *epoch_batches(1, LENGTHS, 8, 1)]


def test_a_batch_has_examples_of_similar_length() -> None:
    batches = epoch_batches(0, LENGTHS, 8, seed=1)
    padded = sum(max(LENGTHS[index] for index in batch) * len(batch) for batch in batches)
    assert padded < 1.3 * sum(LENGTHS)


@pytest.mark.parametrize(
    ("examples", "epochs", "size"), [(5, 10, 1), (10, 10, 2), (112, 6, 8), (5000, 1, 8)]
)
def test_auto_gives_numbers_for_files_of_every_size(examples: int, epochs: int, size: int) -> None:
    found = resolve(examples)
    assert (found.n_epochs, found.batch_size) == (epochs, size)
    assert found.learning_rate_multiplier == 1


def test_a_number_is_taken_as_it_is() -> None:
    found = resolve(100, n_epochs=3, batch_size=2, learning_rate_multiplier=0.5)
    assert (found.n_epochs, found.batch_size, found.learning_rate_multiplier) == (3, 2, 0.5)


def test_wider_models_learn_slower() -> None:
    assert base_rate(576) == 1e-3
    assert base_rate(4096) == pytest.approx(2.08e-4, rel=0.01)
    assert base_rate(64) == 2e-3
    assert base_rate(100_000) == 5e-5


@pytest.mark.parametrize("total", [1, 2, 12, 80])
def test_the_rate_rises_to_its_peak_and_falls_towards_zero(total: int) -> None:
    rates = [rate_at(step, total, 1.0) for step in range(total)]
    peak = rates.index(max(rates))
    assert rates[: peak + 1] == sorted(rates[: peak + 1])
    assert rates[peak:] == sorted(rates[peak:], reverse=True)
    assert all(0 < rate <= 1 for rate in rates)
    assert max(rates) == 1


def test_events_are_read_on_from_where_a_reader_was(tmp_path: Path) -> None:
    path = tmp_path / "events.jsonl"
    assert read_events(path) == ([], 0)
    log = EventLog(path)
    log.say("one")
    first, offset = read_events(path)
    log.measure("two", {"step": 2})
    second, _ = read_events(path, offset)
    assert [event["message"] for event in (*first, *second)] == ["one", "two"]
    assert (second[0]["type"], second[0]["data"]) == ("metrics", {"step": 2})
    assert (first[0]["type"], first[0]["level"]) == ("message", "info")


def test_half_a_line_that_a_killed_trainer_left_is_never_read(tmp_path: Path) -> None:
    path = tmp_path / "events.jsonl"
    path.write_text(json.dumps({"message": "one"}) + '\n{"mess')
    assert [event["message"] for event in read_events(path)[0]] == ["one"]
    EventLog(path).say("two")
    assert [event["message"] for event in read_events(path)[0]] == ["one", "two"]
