"""What a key may do. Every route names one scope, or says that it needs none."""

from enum import StrEnum


class Scope(StrEnum):
    """One thing that a key may be allowed to do."""

    INFER = "infer"
    """Generate, count tokens, and keep responses and conversations."""
    MODELS_READ = "models:read"
    ADAPTERS_READ = "adapters:read"
    ADAPTERS_WRITE = "adapters:write"
    """Publish, move aliases, load, pin and remove."""
    KEYS_ADMIN = "keys:admin"
    """Make and revoke keys of every tenant, and read what all of them used and changed."""
    USAGE = "usage"
    """Read what was used: with the key of a tenant, what this tenant used."""
    METRICS = "metrics"


EVERY_SCOPE = frozenset(Scope)
DEFAULT_SCOPES = (Scope.INFER, Scope.MODELS_READ)
"""The scopes of a new key for which nobody asked for others."""
