"""The curve of losses in a terminal."""

from veneer_server.commands.client.curves import chart, points_of, spark


def test_a_curve_that_falls_has_columns_that_fall() -> None:
    lines = chart([(step, 8.0 / step) for step in range(1, 9)], width=8, height=4)
    assert lines[0] == "   8.000 ┤█"
    assert lines[-2:] == ["   0.000 └────────", "    step  1      8"]
    heights = [
        sum(at < len(line) and line[at] != " " for line in lines[:4]) for at in range(10, 18)
    ]
    assert heights == sorted(heights, reverse=True)
    assert spark([(1, 3.0), (2, 2.0), (3, 1.0)]) == "█▅▁"


def test_many_steps_share_columns_and_one_step_is_a_curve_too() -> None:
    points = [(step, 1.0) for step in range(1, 1001)]
    assert {len(line) for line in chart(points)[:8]} == {70}
    assert len(spark(points)) == 20
    assert chart([(1, 2.0)])[0] == "   2.000 ┤█"
    assert (chart([]), spark([])) == ([], "")
    assert chart([(1, 0.0), (2, 0.0)])


def test_events_without_a_loss_are_no_points() -> None:
    events = [{"step": 2, "train_loss": 1}, {}, {"step": 1, "train_loss": 2.0}, {"train_loss": 1.0}]
    assert points_of(events) == [(1, 2.0), (2, 1.0)]
