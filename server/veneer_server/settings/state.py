"""What is kept between requests: the catalog, responses, and files."""

from pathlib import Path

from pydantic import Field, SecretStr, field_validator

from veneer_server.settings.section import Section


class StateSettings(Section):
    """Where the server keeps the catalog and the verified adapter files."""

    dir: Path = Field(default=Path(".veneer"), description="State folder of this server.")
    url: SecretStr | None = Field(
        default=None,
        description="PostgreSQL that several servers share, as postgresql://user:password@host/db;"
        " by default the catalog is SQLite in the state folder.",
    )

    @field_validator("url")
    @classmethod
    def _url_is_postgresql(cls, url: SecretStr | None) -> SecretStr | None:
        if url is None:
            return None
        scheme, separator, rest = url.get_secret_value().partition("://")
        if scheme not in ("postgresql", "postgres", "postgresql+asyncpg") or not separator:
            raise ValueError("must begin with postgresql://; leave it out for SQLite")
        return SecretStr(f"postgresql+asyncpg://{rest}")

    def database(self) -> str | Path:
        """Return the URL of the catalog's PostgreSQL database, or the path of its SQLite file."""
        return self.url.get_secret_value() if self.url else self.dir / "catalog.db"


class ConversationSettings(Section):
    """Responses and conversations that are kept between requests."""

    store: bool = Field(
        default=True, description="Keep a response when the request does not say whether."
    )
    ttl_s: int = Field(
        default=30 * 24 * 3600, ge=60, description="Seconds that responses and conversations stay."
    )
    max_bytes: int = Field(
        default=1 << 30, ge=1 << 20, description="Bytes of all of them; the oldest go first."
    )
    max_background: int = Field(
        default=32, ge=0, description="Responses generated in the background at the same time."
    )
    background_timeout_s: float = Field(
        default=3600.0, gt=0, description="Seconds that one of them may take."
    )


class FileSettings(Section):
    """Files that clients upload, and that the server makes for them."""

    dir: Path | None = Field(
        default=None, description="Folder of their bytes; by default 'files' in the state folder."
    )
    max_bytes: int = Field(default=512 << 20, ge=1024, description="Largest file, in bytes.")
    tenant_bytes: int = Field(
        default=10 << 30, ge=1024, description="Bytes of all files of one tenant."
    )
    tenant_files: int = Field(default=10_000, ge=1, description="Files of one tenant.")
