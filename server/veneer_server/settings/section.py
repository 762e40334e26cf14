"""What every section of the settings is."""

from typing import Any

from pydantic import BaseModel, ConfigDict, SecretStr, field_validator

from veneer_server.secret_texts import without_newline


class Section(BaseModel):
    """A frozen group of settings that refuses every name it does not have."""

    model_config = ConfigDict(frozen=True, extra="forbid", protected_namespaces=())

    @field_validator("*")
    @classmethod
    def _secrets_end_before_the_newline(cls, value: Any) -> Any:
        return without_newline(value) if isinstance(value, SecretStr) else value
