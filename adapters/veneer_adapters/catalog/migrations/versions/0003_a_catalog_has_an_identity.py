"""A catalog gets an identity, so that a store can tell whether it is the one it belongs to."""

from uuid import uuid4

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"


def upgrade() -> None:
    """Draw the identity of this catalog."""
    op.add_column("clock", sa.Column("identity", sa.String(32)))
    clock = sa.table("clock", sa.column("identity", sa.String))
    op.execute(sa.update(clock).values(identity=uuid4().hex))
