"""The dashboard of what runs beside live requests."""

from panels import Panel, graph, row
from queries import HERE, quantile, rate, share

_LINES = "veneer_batch_lines_total"


def background() -> list[Panel]:
    """Return the panels of batches and jobs, and of what live requests get beside them."""
    failed = share(rate(_LINES, where=f'{HERE},outcome="failed"'), rate(_LINES))
    return [
        graph("Batches", "Batches that have not ended. If in_progress does not fall and no line is"
              " answered, look for 'batch interrupted' in the log.", "none",
              (f"sum by (status) (veneer_batches{{{HERE}}})", "{{status}}"), stacked=True),
        graph("Lines", "Lines answered per second. They take what live requests leave.", "ops",
              (rate(_LINES, by="outcome"), "{{outcome}}"), stacked=True),
        graph("Failed lines", "Share of lines that were answered by an error. The file of errors"
              " of the batch says why.", "percentunit", (failed, "failed"), limits=[0.01, 0.1]),
        row("Training"),
        graph("Jobs", "Fine-tuning jobs that have not ended; one runs at a time.", "none",
              (f"sum by (status) (veneer_training_jobs{{{HERE}}})", "{{status}}"), stacked=True),
        graph("Jobs that ended", "In the last hour. The events of a job say why it failed.",
              "none",
              (f"sum by (status) (increase(veneer_training_jobs_ended_total{{{HERE}}}[1h]))",
               "{{status}}"), stacked=True),
        graph("Tokens trained", "Per second. A job takes what live requests leave.", "none",
              (rate("veneer_training_tokens_total"), "tokens")),
        graph("Loss", "Of the job that is trained. If that of the validation rows rises while the"
              " other falls, it learns its rows by heart.", "none",
              (f"max by (instance, rows) (veneer_training_loss{{{HERE}}})",
               "{{instance}} {{rows}}")),
        row("Live requests beside it"),
        graph("First token, 95 %", "If it rises while lines are answered, tell us: a batch should"
              " not delay live requests.", "s",
              (quantile(0.95, "veneer_time_to_first_token_seconds"), "95 %"), limits=[1, 2.5]),
        graph("Gap between tokens, 95 %", "Of live streams and of lines together.", "s",
              (quantile(0.95, "veneer_inter_token_latency_seconds"), "95 %"),
              limits=[0.1, 0.25]),
    ]  # fmt: skip
