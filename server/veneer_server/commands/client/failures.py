"""Every way a command that talks to a server can end without having done it.

    ClientError
    ├── BadArgument      what was typed does not say what it must
    ├── CannotConnect    nothing answers at the address
    ├── NoAnswer         the connection stands, the answer did not come in time
    ├── NotVeneer        something answers, but not as this API does
    ├── Refused          the server said no, and why
    ├── ContentRefused   the server will not serve the files, or could not get them
    ├── NotFinished      the server goes on with the work; the command stopped waiting
    └── LeftRunning      the user stopped waiting; the server goes on

Every message is one plain sentence or two, and safe to print: what a server wrote is shown
without control characters.
"""


def plain(text: object) -> str:
    """Return ``text`` on one line, without anything that could move a terminal's cursor."""
    return "".join(char if char.isprintable() else " " for char in str(text))


def sentence(text: object) -> str:
    """Return ``text`` as ``plain`` does, with a full stop."""
    shown = plain(text).rstrip()
    return shown if shown.endswith((".", "!", "?")) else f"{shown}."


class ClientError(Exception):
    """The command did not do what was asked."""


class BadArgument(ClientError):
    """What was typed does not say what it must."""


class CannotConnect(ClientError):
    """Nothing answers at the address."""

    def __init__(self, url: str, why: str) -> None:
        super().__init__(
            f"There is no server at {plain(url)} ({plain(why)}). Start one with `veneer serve` "
            "or `make serve`, or name another with --url."
        )


class NoAnswer(ClientError):
    """The server took the request and did not answer in time."""

    def __init__(self, url: str, timeout_s: float) -> None:
        super().__init__(f"The server at {plain(url)} did not answer within {timeout_s:g} s.")


class NotVeneer(ClientError):
    """What answers does not speak this API."""

    def __init__(self, url: str, why: str) -> None:
        super().__init__(
            f"What answers at {plain(url)} is not a Veneer server that this command understands: "
            f"{plain(why)}."
        )


_WITH_REASON = frozenset({"adapter_invalid", "adapter_conflict"})
"""Codes whose ``param`` is a reason code; that of others names a field."""
_ADVICE = {
    "invalid_api_key": "Give the key with VENEER_SERVER__API_KEY or --key.",
    "adapter_exists": "To give it new content, use `veneer adapters publish`.",
    "alias_moved": "Look at it with `veneer adapters alias`, then repeat with its version.",
    "unknown_url": "Is it a Veneer server of this version?",
}


class Refused(ClientError):
    """The server said no."""

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
    """The server will not serve the files, or could not get them; what served goes on serving."""

    def __init__(self, name: str, reason: str, detail: str | None) -> None:
        self.reason = reason
        said = f": {sentence(detail)}" if detail else "."
        super().__init__(
            f"The new content of {plain(name)} will not serve{said} (reason: {plain(reason)})"
        )


class NotFinished(ClientError):
    """The command waited long enough; the server goes on with the work."""

    def __init__(self, name: str, timeout_s: float) -> None:
        super().__init__(
            f"Not finished after {timeout_s:g} s; the server goes on with it. "
            f"See how far it is with: veneer adapters show {plain(name)}"
        )


class LeftRunning(ClientError):
    """The user stopped waiting; the server goes on with the work."""

    def __init__(self, name: str) -> None:
        super().__init__(
            "Stopped watching; the server goes on with it. "
            f"See how far it is with: veneer adapters show {plain(name)}"
        )
