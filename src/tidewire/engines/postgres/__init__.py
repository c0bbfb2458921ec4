"""The log in a PostgreSQL database, which any number of nodes share."""

from .engine import PostgresEngine as PostgresEngine
