"""A Zipf mix, made by repeating names."""

from collections import Counter

from veneer_server.bench.goals.scale import zipf


def test_the_nth_adapter_is_asked_for_about_n_times_less_than_the_first() -> None:
    count = Counter(zipf(["a", "b", "c", "d"], 2500))
    assert abs(count["a"] / count["b"] - 2) < 0.05
    assert abs(count["a"] / count["d"] - 4) < 0.05


def test_the_popular_ones_are_spread_over_the_whole_mix() -> None:
    mix = zipf(["a", "b", "c", "d"], 100)
    assert all("a" in mix[start : start + 5] for start in range(0, 100, 5))
