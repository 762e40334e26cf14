"""The file of results: a line of figures for each step, as CSV."""

import csv
import io
from collections.abc import Iterable, Mapping
from typing import Any

COLUMNS = {
    "step": "step",
    "train_loss": "train_loss",
    "train_accuracy": "train_mean_token_accuracy",
    "valid_loss": "valid_loss",
    "valid_mean_token_accuracy": "valid_mean_token_accuracy",
    "full_valid_loss": "full_valid_loss",
    "full_valid_mean_token_accuracy": "full_valid_mean_token_accuracy",
    "base_full_valid_loss": "base_full_valid_loss",
    "live_full_valid_loss": "live_full_valid_loss",
}
"""The columns, and the trainer's or the evaluation's word for what stands in each."""
FURTHER = (
    "start_full_valid_loss",
    "train_reward_accuracy",
    "train_reward_margin",
    "valid_reward_accuracy",
    "valid_reward_margin",
)
"""Further columns, of a job that went on from an adapter or is of the method ``dpo``."""


def to_csv(events: Iterable[Mapping[str, Any]]) -> bytes:
    """Return the figures in ``events``, a line for each step; what came later counts."""
    steps: dict[int, dict[str, Any]] = {}
    for event in events:
        data = event.get("data")
        if event.get("type") == "metrics" and isinstance(data, dict) and "step" in data:
            steps.setdefault(data["step"], {}).update(data)
    written = io.StringIO()
    lines = csv.writer(written, lineterminator="\n")
    known = {name for figures in steps.values() for name in figures}
    columns = {**COLUMNS, **{name: name for name in FURTHER if name in known}}
    lines.writerow(columns)
    for step in sorted(steps):
        lines.writerow([steps[step].get(name, "") for name in columns.values()])
    return written.getvalue().encode()
