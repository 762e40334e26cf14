"""The same as the actions on batches, for a terminal. Pure."""

from veneer_server.batches.batches import WINDOW
from veneer_server.batches.records import Batch
from veneer_server.console.terminal import Equal, Terminal

_BATCHES, _FILES = "/v1/batches", "/v1/files"


def to_start(terminal: Terminal) -> Equal:
    """Return the lines that start a batch."""
    body = {
        "input_file_id": "FILE_ID",
        "endpoint": "/v1/chat/completions",
        "completion_window": WINDOW,
    }
    sent = terminal.upload(_FILES, {"purpose": "batch", "file": "@lines.jsonl"})
    return Equal(f"{sent}\n{terminal.curl('POST', _BATCHES, body)}")


def of_batch(terminal: Terminal, batch: Batch) -> dict[str, Equal]:
    """Return the lines of each thing that can be done with a batch, by its name."""
    path = f"{_BATCHES}/{batch.id}"
    found = {
        "look": Equal(terminal.curl("GET", path)),
        "cancel": Equal(terminal.curl("POST", f"{path}/cancel")),
    }
    files = {"answers": batch.output_file, "errors": batch.error_file}
    for name, file in files.items():
        if file is not None:
            line = terminal.download(f"{_FILES}/{file}/content", f"{name}.jsonl")
            found[name] = Equal(line)
    return found
