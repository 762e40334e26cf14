"""The server's own tables. Every change here needs a file in ``migrations/versions``.

A value that queries use has a column of its own; a value that is only read as a whole is JSON text.
Times are in seconds since the epoch, sizes in bytes.
"""

from sqlalchemy import (
    BigInteger,
    Column,
    ForeignKey,
    Index,
    Integer,
    MetaData,
    String,
    Table,
    Text,
)

metadata = MetaData()

responses = Table(
    "responses",
    metadata,
    Column("id", String(128), primary_key=True),
    Column("owner", String(64), nullable=False),
    Column("created", BigInteger, nullable=False),
    Column("expires", BigInteger, nullable=False),
    Column("size", BigInteger, nullable=False),
    Column("status", String(16), nullable=False),
    Column("beat", BigInteger),
    Column("context", Text, nullable=False),
    Column("input", Text, nullable=False),
    Column("document", Text, nullable=False),
    Index("responses_expires", "expires", "size"),
    Index("responses_beat", "beat"),
)
"""``beat`` is when the server that runs the response last said so; null once it is finished."""

response_items = Table(
    "response_items",
    metadata,
    Column("item", String(128), primary_key=True),
    Column(
        "response", String(128), ForeignKey(responses.c.id, ondelete="CASCADE"), primary_key=True
    ),
    Index("response_items_response", "response"),
)
"""Which response has the item, as input or as output."""

conversations = Table(
    "conversations",
    metadata,
    Column("id", String(128), primary_key=True),
    Column("owner", String(64), nullable=False),
    Column("created", BigInteger, nullable=False),
    Column("expires", BigInteger, nullable=False),
    Column("size", BigInteger, nullable=False),
    Column("length", Integer, nullable=False),
    Column("metadata", Text, nullable=False),
    Index("conversations_expires", "expires", "size"),
)
"""``length`` is the position of the next item; who adds some counts it up first."""

conversation_items = Table(
    "conversation_items",
    metadata,
    Column(
        "conversation",
        String(128),
        ForeignKey(conversations.c.id, ondelete="CASCADE"),
        primary_key=True,
    ),
    Column("position", Integer, primary_key=True, autoincrement=False),
    Column("item", String(128), nullable=False),
    Column("content", Text, nullable=False),
    Index("conversation_items_item", "item"),
)
