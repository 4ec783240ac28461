"""Rungs have a paired distance. Databases from before there were versions may have it."""

from alembic import op
from sqlalchemy import Column, Float, inspect

revision = "0001"
down_revision = None


def upgrade() -> None:
    """Add the column where it is missing."""
    if "drift" not in {column["name"] for column in inspect(op.get_bind()).get_columns("flexsearch_rung")}:
        op.add_column("flexsearch_rung", Column("drift", Float(53)))
