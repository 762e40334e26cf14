"""Every setting with its default and its meaning, in one frozen object.

Precedence: command line > ``VENEER_<SECTION>__<FIELD>`` > YAML file > default. An unknown key
stops the start, and all faults are reported at once.

Only this file reads the variables that are settings, and ``VENEER_FAULTS``. The modules that use
other variables read those: ``telemetry.otel`` reads ``OTEL_*``, and ``engine`` reads vLLM's
variables, the process ids that its processes share, and ``XDG_CACHE_HOME``. The bench gives the
user's variables to the servers that it starts, except ``VENEER_*`` and ``VLLM_*``.
"""

import os
from collections.abc import Mapping
from ipaddress import ip_address
from pathlib import Path
from typing import Any, Literal, Self

import yaml
from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    SecretStr,
    ValidationError,
    ValidationInfo,
    field_validator,
    model_validator,
)

from veneer_adapters.errors import SourceNotAllowed
from veneer_adapters.sources.locations import parse_host, parse_location
from veneer_server.secret_texts import require_sendable, without_newline

_PREFIX = "VENEER_"
MOST = 100_000_000
"""The largest limit per minute: ``tenancy.quotas`` counts exactly up to it."""
EMBEDDED = "embedded"
"""The value of ``model.path`` that means the packaged SmolLM2-135M-Instruct."""


class SettingsError(Exception):
    """The settings cannot be used; the message has one line for each fault."""


class _Section(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", protected_namespaces=())

    @field_validator("*")
    @classmethod
    def _secrets_end_before_the_newline(cls, value: Any) -> Any:
        return without_newline(value) if isinstance(value, SecretStr) else value


class ServerSettings(_Section):
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


class ModelSettings(_Section):
    """The base model."""

    path: str = Field(
        default=EMBEDDED,
        description="Local folder or Hugging Face id; 'embedded' is SmolLM2-135M-Instruct.",
    )
    name: str | None = Field(
        default=None, min_length=1, description="Model id clients use; by default the folder's."
    )
    name_required: bool = Field(
        default=False,
        description="Refuse a request that names no model; by default the base answers it.",
    )
    dtype: Literal["auto", "bfloat16", "float16", "float32"] = Field(
        default="auto", description="Precision of weights and activations."
    )
    max_len: int | None = Field(
        default=None, ge=16, description="Longest prompt plus answer in tokens."
    )


class EngineSettings(_Section):
    """The engine."""

    kind: Literal["vllm", "echo"] = Field(
        default="vllm", description="'echo' answers without a model, for development."
    )
    args: dict[str, Any] = Field(
        default_factory=dict, description="Any field of vLLM's AsyncEngineArgs, and parser options."
    )
    kv_cache_gib: float | None = Field(
        default=None, gt=0, description="Memory for the KV cache, in GiB; on a GPU, of each one."
    )
    lora_op: Literal["auto", "vllm"] = Field(
        default="auto",
        description="On CUDA: 'auto' tries Veneer's kernels at the start, 'vllm' never does.",
    )
    stall_timeout_s: float = Field(
        default=60.0,
        gt=0,
        description="An engine that is silent for this long is started again, in seconds.",
    )
    start_timeout_s: float = Field(
        default=1800.0,
        gt=0,
        description="Longest time an engine may take to start, in seconds.",
    )
    restart_wait_s: float = Field(
        default=0.0,
        ge=0,
        description="How long a request waits for an engine that is started again, in seconds.",
    )


class AdapterSettings(_Section):
    """Where adapters come from, and how many slots and how much disk they get."""

    dir: Path = Field(default=Path("my-adapters"), description="Your adapters; watched.")
    roots: tuple[Path, ...] = Field(
        default=(), description="Further folders of adapters, read only; watched."
    )
    device_slots: int | None = Field(
        default=None, ge=1, le=1024, description="Adapters usable in one step; null: chosen."
    )
    host_slots: int | None = Field(
        default=None, ge=2, le=4096, description="Adapters kept in memory; null: chosen."
    )
    max_rank: Literal[1, 8, 16, 32, 64, 128, 256, 320, 512] | None = Field(
        default=None, description="Largest rank an adapter may have; null: chosen."
    )
    compress: float | None = Field(
        default=None,
        gt=0,
        lt=1,
        description="Largest relative error with which a higher rank is compressed; null: never.",
    )
    store: Path | None = Field(
        default=None,
        description="Folder of verified adapter files; by default 'store' in the state folder.",
    )
    quota_gib: float | None = Field(
        default=None,
        gt=0,
        description="Disk for verified adapter files, in GiB; by default four fifths of its room.",
    )
    load_timeout_s: float = Field(
        default=30.0, gt=0, description="Longest wait for a slot and a load, in seconds."
    )
    cold_start: Literal["wait", "reject", "fallback"] = Field(
        default="wait", description="What becomes of a request whose adapter is in no slot."
    )

    @field_validator("max_rank", mode="before")
    @classmethod
    def _rank_may_be_text(cls, rank: object) -> object:
        # A variable is a text, and pydantic does not convert a text for a Literal of numbers.
        return int(rank) if isinstance(rank, str) and rank.strip().isdecimal() else rank

    @model_validator(mode="after")
    def _host_holds_the_device_set(self) -> Self:
        device, host = self.device_slots, self.host_slots
        if device is not None and host is not None and host <= device:
            raise ValueError(
                "adapters.host_slots must be larger than adapters.device_slots: "
                "one host slot stays free while an adapter loads"
            )
        return self


class SourceSettings(_Section):
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


class StateSettings(_Section):
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


class ConversationSettings(_Section):
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


class FileSettings(_Section):
    """Files that clients upload, and that the server makes for them."""

    dir: Path | None = Field(
        default=None, description="Folder of their bytes; by default 'files' in the state folder."
    )
    max_bytes: int = Field(default=512 << 20, ge=1024, description="Largest file, in bytes.")
    tenant_bytes: int = Field(
        default=10 << 30, ge=1024, description="Bytes of all files of one tenant."
    )
    tenant_files: int = Field(default=10_000, ge=1, description="Files of one tenant.")


class BatchSettings(_Section):
    """Batches, which are answered beside live traffic."""

    max_lines: int = Field(default=50_000, ge=1, description="Requests of one batch.")
    max_bytes: int = Field(default=200 << 20, ge=1024, description="Largest input, in bytes.")
    unfinished: int = Field(
        default=100, ge=1, description="Batches of one tenant that have not ended."
    )
    concurrency: int | None = Field(
        default=None,
        ge=1,
        description="Most lines answered at the same time; null: half of limits.max_seqs.",
    )
    beside: int | None = Field(
        default=None,
        ge=1,
        description=(
            "Most lines answered while a live request is; null: limits.max_seqs / 32, at least 1."
        ),
    )
    days: int = Field(default=90, ge=1, description="Days for which an ended batch is known.")


class TrainingSettings(_Section):
    """Fine-tuning jobs, which a process of its own works on."""

    dir: Path | None = Field(
        default=None,
        description="Folder of unfinished jobs; by default 'training' in the state folder.",
    )
    command: tuple[str, ...] = Field(
        default=(),
        description="Another trainer: a program and its arguments, to which the folder of a job"
        " is added.",
    )
    threads: int = Field(default=1, ge=1, le=1024, description="Threads that the trainer may use.")
    device: str = Field(
        default="cpu", pattern=r"^(cpu|cuda(:\d+)?)$", description="Where the trainer computes."
    )
    unfinished: int = Field(
        default=10, ge=1, description="Fine-tuning jobs of one tenant that have not ended."
    )
    days: int = Field(default=365, ge=1, description="Days for which an ended job is known.")
    evaluated_rows: int = Field(
        default=256,
        ge=0,
        le=100_000,
        description="Held-out rows with which a job's last checkpoint is evaluated at most; 0 for"
        " no evaluation.",
    )
    then: Literal["nothing", "candidate", "canary", "live"] = Field(
        default="candidate",
        description="What a better model becomes under the name that its job says in"
        " evaluation.publish_to.",
    )


class LimitSettings(_Section):
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


class LimitsOfTenant(_Section):
    """What one tenant may use; what is not said here is as for every tenant."""

    rpm: int | None = Field(default=None, ge=1, le=MOST, description="Requests per minute.")
    tpm: int | None = Field(default=None, ge=1, le=MOST, description="Tokens per minute.")
    concurrency: int | None = Field(
        default=None, ge=1, le=MOST, description="Requests at the same time."
    )
    adapters: int | None = Field(default=None, ge=0, description="Adapters in its namespace.")
    stored_gib: float | None = Field(default=None, ge=0, description="Size of their revisions.")


class TenantSettings(_Section):
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


class ObservabilitySettings(_Section):
    """What the server writes about itself."""

    log_level: Literal["debug", "info", "warning", "error"] = Field(
        default="info", description="Least severe line that is written."
    )
    log_format: Literal["auto", "json", "pretty"] = Field(
        default="auto", description="'auto' is pretty on a terminal and JSON elsewhere."
    )


class Settings(_Section):
    """All settings of one server."""

    server: ServerSettings = ServerSettings()
    model: ModelSettings = ModelSettings()
    engine: EngineSettings = EngineSettings()
    adapters: AdapterSettings = AdapterSettings()
    sources: SourceSettings = SourceSettings()
    state: StateSettings = StateSettings()
    conversations: ConversationSettings = ConversationSettings()
    files: FileSettings = FileSettings()
    batches: BatchSettings = BatchSettings()
    training: TrainingSettings = TrainingSettings()
    limits: LimitSettings = LimitSettings()
    tenants: TenantSettings = TenantSettings()
    observability: ObservabilitySettings = ObservabilitySettings()

    @model_validator(mode="after")
    def _key_fits_into_the_headers(self) -> Self:
        key = self.server.api_key
        if key is not None and len(key) > self.limits.max_header_bytes // 2:
            raise ValueError(
                "server.api_key is longer than half of limits.max_header_bytes, so no client could"
                " send it"
            )
        return self

    @classmethod
    def load(
        cls,
        *,
        file: Path | None = None,
        environ: Mapping[str, str] | None = None,
        flags: Mapping[str, Mapping[str, Any]] | None = None,
    ) -> Self:
        """Merge the defaults, ``file``, ``environ`` and ``flags``; a later one wins.

        ``environ`` is the process's own environment unless it is given.

        Raises:
            SettingsError: the file cannot be read, a key is unknown, or a value is impossible.
        """
        environ = os.environ if environ is None else environ
        merged = _merge(_read_yaml(file), _read_environ(environ), flags or {})
        try:
            return cls.model_validate(merged)
        except ValidationError as error:
            raise SettingsError(_explain(error)) from error


def asked_faults(environ: Mapping[str, str], *, allowed: bool) -> list[str]:
    """Return the faults that ``VENEER_FAULTS`` names, separated by commas, for a test.

    Raises:
        SettingsError: it names faults, and they are not ``allowed``.
    """
    specs = [spec.strip() for spec in environ.get("VENEER_FAULTS", "").split(",") if spec.strip()]
    if specs and not allowed:
        raise SettingsError(
            "VENEER_FAULTS breaks the server on purpose and is for tests only; unset this variable"
        )
    return specs


def _read_yaml(file: Path | None) -> Mapping[str, Any]:
    if file is None:
        return {}
    try:
        found = yaml.safe_load(file.read_text(encoding="utf-8"))
    except OSError as error:
        raise SettingsError(f"cannot read {file}: {error.strerror}") from error
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise SettingsError(f"{file} is not YAML: {error}") from error
    if not isinstance(found or {}, dict):
        raise SettingsError(f"{file} must hold sections, as in 'server: {{port: 9000}}'")
    # A section is null when all its lines are comments.
    return {section: fields for section, fields in (found or {}).items() if fields is not None}


def _read_environ(environ: Mapping[str, str]) -> dict[str, dict[str, Any]]:
    found: dict[str, dict[str, Any]] = {}
    for name, value in environ.items():
        if name.startswith(_PREFIX) and "__" in name:
            section, _, rest = name.removeprefix(_PREFIX).lower().partition("__")
            try:
                _place(found.setdefault(section, {}), rest.split("__"), value)
            except (AttributeError, TypeError) as error:
                raise SettingsError(f"{name} and another variable contradict each other") from error
    return found


def _place(section: dict[str, Any], keys: list[str], value: str) -> None:
    for key in keys[:-1]:
        section = section.setdefault(key, {})
    # pydantic gets plain values as texts, so that a key such as 12345 stays a text. Lists,
    # mappings and single engine.args are written as in YAML.
    as_yaml = value.startswith(("[", "{")) or len(keys) > 1
    section[keys[-1]] = _parse_yaml(value) if as_yaml else value


def _parse_yaml(text: str) -> Any:
    try:
        return yaml.safe_load(text)
    except yaml.YAMLError:
        return text


def _merge(*layers: Mapping[str, Any]) -> dict[str, Any]:
    merged: dict[str, Any] = {}
    for layer in layers:
        for key, value in layer.items():
            below = merged.get(key)
            if isinstance(value, Mapping) and isinstance(below, Mapping):
                merged[key] = _merge(below, value)
            else:
                merged[key] = value
    return merged


def _explain(error: ValidationError) -> str:
    lines = []
    for fault in error.errors():
        where = ".".join(str(part) for part in fault["loc"]) or "settings"
        if fault["type"] == "extra_forbidden":
            lines.append(f"{where}: there is no such setting")
        else:
            lines.append(f"{where}: {fault['msg'].removeprefix('Value error, ')}")
    return "\n".join(lines)
