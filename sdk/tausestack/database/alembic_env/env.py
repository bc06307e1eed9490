"""Alembic's entry: runs revisions on the connection that the caller opened, within its transaction."""

from alembic import context

context.configure(
    connection=context.config.attributes["connection"],
    version_table_schema=context.config.attributes["schema_name"],
    transactional_ddl=True,
)
context.run_migrations()
