"""A process at work on the shop: `work.py DATA URL TENANT COUNT` adds COUNT to the tenant's account, one by one.

Prints what is there at the end, and which heavy libraries that took.
"""

import asyncio
import sys
from pathlib import Path

import sqlalchemy as sa
from shop.tables import accounts, metadata

from tausestack.database import Schema, TenantDatabases


async def main(data: str, url: str, tenant: str, count: str) -> None:
    databases = TenantDatabases(Schema("shop", metadata, "shop.migrations"), data=Path(data), url=url or None)
    for _ in range(int(count)):
        async with databases.transaction(tenant) as connection:
            balance = await connection.scalar(sa.select(accounts.c.balance))
            if balance is None:
                await connection.execute(sa.insert(accounts).values(name="a", balance=1))
            else:
                await connection.change(sa.update(accounts).values(balance=balance + 1))
    async with databases.reading(tenant) as connection:
        balance = await connection.scalar(sa.select(accounts.c.balance))
    print(balance, *(name for name in ("alembic", "psycopg", "mcp") if name in sys.modules))
    await databases.aclose()


asyncio.run(main(*sys.argv[1:]))
