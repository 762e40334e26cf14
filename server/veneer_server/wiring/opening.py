"""The database and the keys, opened before there is an engine; and what the engine must hold."""

import asyncio

from veneer_adapters.catalog.catalog import Catalog
from veneer_adapters.catalog.database import Database
from veneer_adapters.publishing.needs import ranks_of
from veneer_adapters.store.ownership import has_content, owner_of, set_owner
from veneer_server.conversations.keeping import MIGRATIONS
from veneer_server.engine.sizing.sizes import Needs
from veneer_server.settings import Settings
from veneer_server.tenancy.errors import KeyNeeded
from veneer_server.tenancy.keyring import Keyring
from veneer_server.wiring.places import roots, store_folder


async def open_database(settings: Settings, *, new_catalog: bool) -> Database:
    """Return the catalog's database, made or migrated if necessary.

    Raises:
        CatalogMissing: it is new although the store has content, and ``new_catalog`` is not set.
        CatalogUnreadable: it cannot be opened or understood.
        StorageFailed: the store cannot be written.
    """
    store = store_folder(settings)
    database = await Database.open(
        settings.state.database(),
        may_be_new=new_catalog or not has_content(store),
        known=owner_of(store),
        further=(MIGRATIONS,),
    )
    try:
        set_owner(store, database.identity)
    except BaseException:
        await database.close()
        raise
    return database


async def find_needs(settings: Settings, database: Database) -> Needs:
    """Return what the adapters need that the catalog knows or that lie in the folders now.

    Raises:
        CatalogUnreadable: the content of the database contradicts itself.
    """
    store = store_folder(settings)
    catalog = await Catalog.open(database, lambda digest: store / digest)
    ranks = await asyncio.to_thread(ranks_of, catalog, roots(settings))
    return Needs(max(ranks, default=0), len(ranks))


async def open_keyring(settings: Settings, database: Database) -> Keyring:
    """Return the keys that ``database`` has.

    Raises:
        KeyNeeded: other machines reach the server, and there is no key at all.
        AdapterUnavailable: the database cannot be read.
    """
    pepper = settings.tenants.pepper
    keyring = Keyring(
        database,
        pepper=pepper.get_secret_value() if pepper else None,
        has_other_admin=settings.server.api_key is not None,
    )
    await keyring.refresh()
    if keyring.is_empty and settings.server.api_key is None and not settings.server.is_loopback():
        raise KeyNeeded(
            f"host {settings.server.host} is reachable from other machines, so there must be a key:"
            " set server.api_key (for instance with VENEER_SERVER__API_KEY), or make one with"
            " 'veneer keys create' while server.host is 127.0.0.1"
        )
    return keyring
