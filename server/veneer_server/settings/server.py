"""Where the server listens, and what it writes about itself."""

from ipaddress import ip_address
from typing import Literal

from pydantic import Field, SecretStr, field_validator

from veneer_server.secret_texts import require_sendable
from veneer_server.settings.section import Section


class ServerSettings(Section):
    """Where the server listens and who may talk to it."""

    host: str = Field(default="127.0.0.1", description="Address to bind.")
    port: int = Field(default=8000, ge=0, le=65535, description="Port to bind; 0 picks a free one.")
    api_key: SecretStr | None = Field(
        default=None, description="The operator's own key; beyond loopback there must be some key."
    )
    cors_origins: tuple[str, ...] = Field(
        default=(), description="Browser origins that may call the API."
    )
    drain_timeout_s: float = Field(
        default=30.0, ge=0, description="Seconds running requests may take after SIGTERM."
    )
    keep_alive_s: float = Field(
        default=75.0, gt=0, description="Seconds an idle connection stays open."
    )
    stream_interval_ms: float = Field(
        default=10.0,
        ge=0,
        le=1000,
        description="Milliseconds in which the events of a stream are sent together, while many "
        "streams write; 0 sends each at once.",
    )
    workers: int = Field(
        default=1,
        ge=1,
        le=64,
        description="Processes that read requests and write answers; with 1 the server does.",
    )
    pages: bool | None = Field(
        default=None,
        description="Serve pages for people: /, /docs and /openapi.json; by default on loopback.",
    )

    console: bool | None = Field(
        default=None,
        description="Serve the console at /console; by default on loopback.",
    )

    def shows_console(self) -> bool:
        """Return whether people may use the console."""
        return self.is_loopback() if self.console is None else self.console

    def shows_pages(self) -> bool:
        """Return whether people may read what this server is and what it can do."""
        return self.is_loopback() if self.pages is None else self.pages

    def is_loopback(self) -> bool:
        """Return whether only this machine can reach the server."""
        if self.host == "localhost":
            return True
        try:
            return ip_address(self.host).is_loopback
        except ValueError:
            return False

    @field_validator("api_key")
    @classmethod
    def _key_can_be_sent(cls, key: SecretStr | None) -> SecretStr | None:
        if key is not None:
            require_sendable(key)
        return key


class ObservabilitySettings(Section):
    """What the server writes about itself."""

    log_level: Literal["debug", "info", "warning", "error"] = Field(
        default="info", description="Least severe line that is written."
    )
    log_format: Literal["auto", "json", "pretty"] = Field(
        default="auto", description="'auto' is pretty on a terminal and JSON elsewhere."
    )
