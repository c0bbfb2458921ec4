"""The log in Redis or Valkey, shared by nodes on any number of machines."""

from .engine import RedisEngine as RedisEngine
