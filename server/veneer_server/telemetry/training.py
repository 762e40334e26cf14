"""The metrics of fine-tuning jobs: how many there are, how far they come, how they end."""

from collections.abc import Iterable, Mapping

from prometheus_client import CollectorRegistry, Counter, Gauge

_LOSSES = {"train_loss": "train", "valid_loss": "valid", "full_valid_loss": "valid"}


class TrainingMetrics:
    """What one server's jobs do; see ``training.jobs.working.shared.Observer``."""

    def __init__(self, registry: CollectorRegistry) -> None:
        """Count in ``registry``."""
        self._ended = Counter(
            "veneer_training_jobs_ended",
            "Fine-tuning jobs that have ended, by status.",
            ["status"],
            registry=registry,
        )
        self._steps = Counter(
            "veneer_training_steps", "Steps that jobs have trained.", registry=registry
        )
        self._tokens = Counter(
            "veneer_training_tokens", "Tokens that jobs have trained on.", registry=registry
        )
        self._loss = Gauge(
            "veneer_training_loss",
            "The last loss of the job that is trained, by the rows it was measured on.",
            ["rows"],
            registry=registry,
        )
        for status in ("succeeded", "failed"):
            self._ended.labels(status)

    def learned(self, steps: int, tokens: int, figures: Iterable[Mapping[str, object]]) -> None:
        """Count so many more steps and tokens, and show the last of the figures."""
        self._steps.inc(max(steps, 0))
        self._tokens.inc(max(tokens, 0))
        for found in figures:
            for name, rows in _LOSSES.items():
                value = found.get(name)
                if isinstance(value, int | float):
                    self._loss.labels(rows).set(value)

    def ended(self, status: str) -> None:
        """Count a job that has ended; its losses are shown no more."""
        self._ended.labels(status).inc()
        self._loss.clear()
