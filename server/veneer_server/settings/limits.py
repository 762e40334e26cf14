"""How large a request may be, and how many are at work."""

from pydantic import Field

from veneer_server.settings.section import Section


class LimitSettings(Section):
    """Bounds on the size of a request, and on the requests at work."""

    max_body_bytes: int = Field(
        default=4 * 1024 * 1024, ge=1024, description="Largest request body accepted."
    )
    max_headers: int = Field(default=100, ge=10, description="Most headers a request may have.")
    max_header_bytes: int = Field(
        default=65536, ge=1024, description="Largest request line and headers together."
    )
    header_timeout_s: float = Field(
        default=10.0, gt=0, description="Seconds until the headers must have arrived."
    )
    body_timeout_s: float = Field(
        default=30.0, gt=0, description="Seconds until the body must have arrived."
    )
    body_bytes_per_s: int = Field(
        default=8192, ge=1, description="Bytes of a body for which it gets a further second."
    )
    write_timeout_s: float = Field(
        default=30.0, gt=0, description="Seconds a client may take nothing of its answer."
    )
    max_connections: int = Field(
        default=2000, ge=1, description="Connections that are served at the same time."
    )
    max_seqs: int | None = Field(
        default=None, ge=1, description="Sequences generated at the same time; null: chosen."
    )
    max_queue: int = Field(default=2000, ge=0, description="Sequences that wait for their turn.")
