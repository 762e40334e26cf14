"""How much a key may use."""

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"


def upgrade() -> None:
    """Add the columns."""
    for name in ("rpm", "tpm", "concurrency"):
        op.add_column("api_keys", sa.Column(name, sa.BigInteger))
