"""Keys of tenants, and how much each of them may use."""

from pydantic import Field, SecretStr, field_validator

from veneer_server.settings.section import Section

MOST = 100_000_000
"""The largest limit per minute: ``tenancy.quotas`` counts exactly up to it."""


class LimitsOfTenant(Section):
    """What one tenant may use; what is not said here is as for every tenant."""

    rpm: int | None = Field(default=None, ge=1, le=MOST, description="Requests per minute.")
    tpm: int | None = Field(default=None, ge=1, le=MOST, description="Tokens per minute.")
    concurrency: int | None = Field(
        default=None, ge=1, le=MOST, description="Requests at the same time."
    )
    adapters: int | None = Field(default=None, ge=0, description="Adapters in its namespace.")
    stored_gib: float | None = Field(default=None, ge=0, description="Size of their revisions.")


class TenantSettings(Section):
    """Keys of tenants, and how much may be used."""

    pepper: SecretStr | None = Field(
        default=None, description="Secret mixed into stored keys; changing it ends all of them."
    )
    rpm: int | None = Field(
        default=None, ge=1, le=MOST, description="Requests per minute of each tenant."
    )
    tpm: int | None = Field(
        default=None, ge=1, le=MOST, description="Tokens per minute of each tenant."
    )
    concurrency: int | None = Field(
        default=None, ge=1, le=MOST, description="Requests of each tenant at the same time."
    )
    adapters: int | None = Field(
        default=None, ge=0, description="Adapters in the namespace of each tenant."
    )
    stored_gib: float | None = Field(
        default=None, ge=0, description="Size of the revisions of each tenant, in GiB."
    )
    limits: dict[str, LimitsOfTenant] = Field(
        default_factory=dict, description="Other limits for some tenants, by name."
    )
    server_rpm: int | None = Field(
        default=None, ge=1, le=MOST, description="Requests per minute of everybody together."
    )
    server_tpm: int | None = Field(
        default=None, ge=1, le=MOST, description="Tokens per minute of everybody together."
    )
    server_concurrency: int | None = Field(
        default=None, ge=1, le=MOST, description="Requests of everybody at the same time."
    )
    quota_url: SecretStr | None = Field(
        default=None,
        description="Redis or Valkey that counts for several servers, as redis://host:6379/0;"
        " by default each server counts for itself.",
    )
    auth_failures_per_minute: int = Field(
        default=60, ge=1, le=MOST, description="Wrong keys that one client address may send."
    )

    usage_days: int = Field(
        default=90, ge=1, description="Days for which the usage of each request is kept."
    )

    @field_validator("quota_url")
    @classmethod
    def _quota_url_is_redis(cls, url: SecretStr | None) -> SecretStr | None:
        schemes = ("redis://", "rediss://", "unix://")
        if url is not None and not url.get_secret_value().startswith(schemes):
            raise ValueError("must begin with redis://, rediss:// or unix://")
        return url

    def of_tenant(self, name: str) -> LimitsOfTenant:
        """Return the limits of the tenant called ``name``."""
        usual = {field: getattr(self, field) for field in LimitsOfTenant.model_fields}
        own = self.limits.get(name, LimitsOfTenant()).model_dump(exclude_unset=True)
        return LimitsOfTenant(**{**usual, **own})
