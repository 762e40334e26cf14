"""Every way in which a command that calls a server can fail.

    ClientError
    ├── BadArgument      an argument of the command is wrong
    ├── CannotConnect    nothing answers at the address
    ├── NoAnswer         the server took the request, but did not answer in time
    ├── NotVeneer        something answers, but not as this API does
    ├── Refused          the server refused the request, and said why
    ├── ContentRefused   the server cannot serve the files, or could not get them
    ├── NotFinished      the command stopped waiting; the server goes on with the work
    ├── LogBroken        the audit log is not as it was written
    ├── TrainingFailed   a fine-tuning job failed, or somebody cancelled it
    └── LeftRunning      the user stopped waiting; the server goes on with the work
        └── LeftTraining it is a fine-tuning job

Every message is one or two plain sentences and is safe to print: texts from a server are shown
without control characters.
"""


def plain(text: object) -> str:
    """Return ``text`` on one line, without characters that could move a terminal's cursor."""
    return "".join(char if char.isprintable() else " " for char in str(text))


def sentence(text: object) -> str:
    """Return ``text`` as ``plain`` does, with a full stop."""
    shown = plain(text).rstrip()
    return shown if shown.endswith((".", "!", "?")) else f"{shown}."


class ClientError(Exception):
    """The command did not do what the user asked for."""


class BadArgument(ClientError):
    """An argument of the command is wrong; the message says what to write."""


class LogBroken(ClientError):
    """The audit log is not as it was written, or not the one that was expected."""


class CannotConnect(ClientError):
    """Nothing answers at the address."""

    def __init__(self, url: str, why: str) -> None:
        super().__init__(
            f"There is no server at {plain(url)} ({plain(why)}). Start one with `veneer serve` "
            "or `make serve`, or name another server with --url."
        )


class NoAnswer(ClientError):
    """The server took the request and did not answer in time."""

    def __init__(self, url: str, timeout_s: float) -> None:
        super().__init__(f"The server at {plain(url)} did not answer within {timeout_s:g} s.")


class NotVeneer(ClientError):
    """Something answers at the address, but not as this API does."""

    def __init__(self, url: str, why: str) -> None:
        super().__init__(
            f"The program at {plain(url)} is not a Veneer server that this command understands: "
            f"{plain(why)}."
        )


_WITH_REASON = frozenset({"adapter_invalid", "adapter_conflict"})
"""Error codes whose ``param`` is a reason code; with other codes it names a field."""
_ADVICE = {
    "invalid_api_key": "Give the key with VENEER_SERVER__API_KEY or --key.",
    "adapter_exists": "To give it new content, use `veneer adapters publish`.",
    "alias_moved": "Look at it with `veneer adapters alias`, then try again with its new version.",
    "unknown_url": "It may not be a Veneer server, or it may have another version.",
}


class Refused(ClientError):
    """The server refused the request."""

    def __init__(
        self,
        message: str,
        *,
        code: str | None = None,
        param: str | None = None,
        retry_after: str | None = None,
    ) -> None:
        self.code = code
        self.param = param
        reason = f" (reason: {plain(param)})" if param and code in _WITH_REASON else ""
        advice = f" {_ADVICE[code]}" if code in _ADVICE else ""
        later = f" Try again in {plain(retry_after)} s." if retry_after else ""
        super().__init__(f"{sentence(message)}{reason}{advice}{later}")


class ContentRefused(ClientError):
    """The server cannot serve the new files, or could not get them; the old ones serve on."""

    def __init__(self, name: str, reason: str, detail: str | None) -> None:
        self.reason = reason
        said = f": {sentence(detail)}" if detail else "."
        super().__init__(
            f"The server cannot serve the new content of {plain(name)}{said} "
            f"(reason: {plain(reason)})"
        )


class NotFinished(ClientError):
    """The command waited as long as it may; the server goes on with the work."""

    def __init__(self, name: str, timeout_s: float) -> None:
        super().__init__(
            f"The server has not finished after {timeout_s:g} s; it goes on with the work. "
            f"See how far it is with: veneer adapters show {plain(name)}"
        )


class LeftRunning(ClientError):
    """The user stopped waiting; the server goes on with the work."""

    def __init__(self, name: str, look: str = "veneer adapters show") -> None:
        super().__init__(
            "Stopped waiting; the server goes on with the work. "
            f"See how far it is with: {look} {plain(name)}"
        )


class LeftTraining(LeftRunning):
    """The user stopped watching a job; the server goes on with it."""

    def __init__(self, job_id: str) -> None:
        super().__init__(job_id, "veneer train --follow")


class TrainingFailed(ClientError):
    """A fine-tuning job has made no model."""

    def __init__(self, job_id: str, status: str, why: str | None) -> None:
        said = f": {sentence(why)}" if why else "."
        super().__init__(f"The job {plain(job_id)} is {plain(status)}{said}")
