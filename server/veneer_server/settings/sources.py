"""The places beyond this machine from which adapters may come."""

from pathlib import Path
from typing import Self

from pydantic import Field, ValidationInfo, field_validator, model_validator

from veneer_adapters.errors import SourceNotAllowed
from veneer_adapters.sources.locations import parse_host, parse_location
from veneer_server.settings.section import Section


class SourceSettings(Section):
    """Places beyond this machine from which adapters may be fetched; by default none."""

    hub_orgs: tuple[str, ...] = Field(
        default=(), description="Organisations and users of the Hugging Face Hub; '*' means all."
    )
    https_hosts: tuple[str, ...] = Field(
        default=(), description="Web servers, each 'host' or 'host:port'."
    )
    private_hosts: tuple[str, ...] = Field(
        default=(), description="Those of https_hosts whose addresses may be private."
    )
    buckets: tuple[str, ...] = Field(
        default=(), description="Object stores, each 's3://bucket/prefix', gs:// or az://."
    )
    pull: tuple[str, ...] = Field(
        default=(), description="Where a name nobody published is looked for, with '{name}'."
    )
    timeout_s: float = Field(
        default=60.0, gt=0, description="Longest time to fetch one adapter, in seconds."
    )
    max_bytes: int = Field(default=4 << 30, ge=1024, description="Largest adapter that is fetched.")
    ca_file: Path | None = Field(
        default=None, description="Further certificate authorities for https, as PEM."
    )

    @field_validator("hub_orgs", "https_hosts", "buckets")
    @classmethod
    def _places_are_well_formed(
        cls, places: tuple[str, ...], info: ValidationInfo
    ) -> tuple[str, ...]:
        for place in places:
            if not _is_place(info.field_name, place):
                raise ValueError(f"{place!r} is not written as docs/configuration.md says")
        return places

    @model_validator(mode="after")
    def _private_hosts_are_hosts(self) -> Self:
        known = {host.partition(":")[0].lower() for host in self.https_hosts}
        for host in self.private_hosts:
            if host.lower() not in known:
                raise ValueError(f"sources.private_hosts: {host!r} is not in sources.https_hosts")
        return self

    @model_validator(mode="after")
    def _pulled_from_allowed_places(self) -> Self:
        for template in self.pull:
            if template.count("{name}") != 1:
                raise ValueError(f"sources.pull: {template!r} must contain {{name}} exactly once")
            if not self._allows(template.replace("{name}", "name")):
                raise ValueError(
                    f"sources.pull: no other setting of sources allows the place of {template!r}"
                )
        return self

    def _allows(self, location: str) -> bool:
        try:
            found = parse_location(location)
        except SourceNotAllowed:
            return False
        if found.scheme == "hf":
            return not {"*", found.place}.isdisjoint(self.hub_orgs)
        if found.scheme == "https":
            return parse_host(found.place) in map(parse_host, self.https_hosts)
        return any(found.is_inside(parse_location(bucket)) for bucket in self.buckets)


def _is_place(kind: str | None, text: str) -> bool:
    try:
        if kind == "https_hosts":
            return bool(parse_host(text))
        found = parse_location(f"hf://{text}" if kind == "hub_orgs" else text)
    except SourceNotAllowed:
        return text == "*" and kind == "hub_orgs"
    if kind == "hub_orgs":
        return found.place == text
    return found.scheme in ("s3", "gs", "az") and not found.pin
