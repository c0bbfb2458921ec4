"""The log in one SQLite file: the default of `tidewire serve`."""

from .engine import SQLiteEngine as SQLiteEngine
