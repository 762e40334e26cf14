"""Alembic runs this: it migrates the connection that the catalog passes in."""

from alembic import context

from veneer_adapters.catalog.tables import metadata

connection = context.config.attributes["connection"]
context.configure(connection=connection, target_metadata=metadata, transactional_ddl=True)
with context.begin_transaction():
    context.run_migrations()
