"""What Alembic runs first: the connection on which the steps are taken.

Owns nothing: the transaction is `engine.ledger.migrations`'s caller's.
"""

from __future__ import annotations

from alembic import context

context.configure(connection=context.config.attributes["connection"], transactional_ddl=True)
with context.begin_transaction():
    context.run_migrations()
