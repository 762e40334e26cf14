"""The same as the actions on jobs, for a terminal. Pure."""

import shlex
from urllib.parse import quote

from veneer_server.console.terminal import Equal, Terminal
from veneer_server.training.jobs.records import FineTuningJob

_JOBS = "/v1/fine_tuning/jobs"


def to_start(terminal: Terminal, model: str) -> Equal:
    """Return the lines that start a job."""
    body = {"model": model, "training_file": "FILE_ID"}
    sent = terminal.upload("/v1/files", {"purpose": "fine-tune", "file": "@rows.jsonl"})
    return Equal(
        f"{sent}\n{terminal.curl('POST', _JOBS, body)}", "veneer train rows.jsonl --name NAME"
    )


def of_job(terminal: Terminal, job: FineTuningJob) -> dict[str, Equal]:
    """Return the lines of each action on a job, by the action's name."""
    path = f"{_JOBS}/{job.id}"
    adapter = quote(job.adapter, safe="")
    move = f"/v1/adapters/{adapter}/aliases/candidate"
    named = shlex.quote(f"{job.adapter}@candidate")
    return {
        "follow": Equal(terminal.curl("GET", f"{path}/events"), f"veneer train --follow {job.id}"),
        "pause": Equal(terminal.curl("POST", f"{path}/pause")),
        "resume": Equal(terminal.curl("POST", f"{path}/resume")),
        "cancel": Equal(terminal.curl("POST", f"{path}/cancel"), f"veneer train --cancel {job.id}"),
        "publish": Equal(
            terminal.curl("PUT", move, {"revision": 1}), f"veneer adapters alias {named} 1"
        ),
    }
