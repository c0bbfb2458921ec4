"""
The tables of the log, in the schema `tidewire` of a database, and the functions that change them in one step.

Rule 1: offsets come from the row of `meta`, which `append` locks: so commits take place one after the other,
        in the order of the offsets. The lock is held by the server alone, never while a node thinks.
Rule 2: what a node stores was judged by the log as the node knew it. If the log has grown since, entries get
        later offsets, as long as the judgement still holds: no topic has ended since, no run has started or
        stopped, and none of their keys has been used. Otherwise nothing is stored.
Rule 3: nothing is stored if the log is not the one that the node knows: another life, another check of the
        newest entry that it has, or another server than the one on which the nodes last looked at the log.
Rule 4: trimming locks the row of `retention` only, so it never holds up a publish.
"""

from __future__ import annotations

from typing import Any

from psycopg import AsyncConnection, errors

from ...errors import StartRefused
from ...log.records import RECORDS, RUN

VERSION = 1
# The oldest version of PostgreSQL that has what the log needs.
OLDEST_SERVER = 130000
# Held while the schema is made or changed. Advisory locks of nodes have the first number in common.
LOCKS = 0x74776972
MIGRATION = 0
# Entries of others that an append looks through. If there are more, it is judged again.
LOOKED_THROUGH = 4_096

# Each takes the schema from the version before to the next one.
MIGRATIONS = [
    f"""
CREATE TABLE tidewire.meta (
  single boolean PRIMARY KEY DEFAULT true CHECK (single),
  version integer NOT NULL,
  life text NOT NULL,
  server text NOT NULL,
  head bigint NOT NULL,
  "check" text NOT NULL,
  total bigint NOT NULL,
  time double precision NOT NULL
) WITH (fillfactor = 10);
CREATE TABLE tidewire.retention (
  single boolean PRIMARY KEY DEFAULT true CHECK (single),
  floor bigint NOT NULL,
  trimmed bigint NOT NULL,
  dropped bigint NOT NULL
) WITH (fillfactor = 10);
CREATE TABLE tidewire.lives (number integer PRIMARY KEY, life text NOT NULL, first bigint NOT NULL);
CREATE TABLE tidewire.entries (
  "offset" bigint PRIMARY KEY,
  "check" text NOT NULL,
  topic text COLLATE "C" NOT NULL,
  event text,
  retry integer,
  is_end boolean NOT NULL,
  time double precision NOT NULL,
  size integer NOT NULL,
  total bigint NOT NULL,
  data bytea NOT NULL,
  traceparent text
) WITH (autovacuum_vacuum_scale_factor = 0.02);
CREATE INDEX entries_topic ON tidewire.entries (topic, "offset");
CREATE TABLE tidewire.keys (
  name bytea PRIMARY KEY, "offset" bigint NOT NULL, "check" text NOT NULL, digest bytea NOT NULL,
  time double precision NOT NULL
) WITH (autovacuum_vacuum_scale_factor = 0.02);
CREATE INDEX keys_offset ON tidewire.keys ("offset");
CREATE TABLE tidewire.records (
  kind text, name bytea, value bytea NOT NULL, until double precision NOT NULL, "offset" bigint NOT NULL,
  "check" text NOT NULL, PRIMARY KEY (kind, name)
);
CREATE INDEX records_offset ON tidewire.records ("offset");
CREATE TABLE tidewire.marks (topic text COLLATE "C" PRIMARY KEY, "offset" bigint NOT NULL);
CREATE INDEX marks_offset ON tidewire.marks ("offset");
-- What nodes report of their streams. It means nothing after a crash of the server.
CREATE UNLOGGED TABLE tidewire.nodes (
  name text PRIMARY KEY, lock integer, seen timestamptz NOT NULL, version bigint NOT NULL,
  report bytea NOT NULL
);
CREATE TABLE tidewire.outbox (
  id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
  topic text NOT NULL,
  data bytea NOT NULL,
  event text NOT NULL DEFAULT 'message',
  retry integer,
  key text,
  traceparent text
) WITH (autovacuum_vacuum_scale_factor = 0.02);

-- Which server this is, and which table: another value after a restart, a failover and a restore.
CREATE FUNCTION tidewire.server() RETURNS text LANGUAGE sql STABLE AS $$
  SELECT concat_ws('/', extract(epoch FROM pg_postmaster_start_time()), d.oid,
    pg_relation_filenode('tidewire.meta'::regclass))
  FROM pg_database d WHERE d.datname = current_database()
$$;

-- Returns the offset after which the entries are stored; null: judge again; -1: move the outbox first.
CREATE FUNCTION tidewire.append(
  p_life text, p_head bigint, p_check text, p_in_place boolean, p_outbox_first boolean,
  p_checks text[], p_topics text[], p_events text[], p_retries integer[], p_ends boolean[],
  p_times double precision[], p_sizes integer[], p_data bytea[], p_traces text[],
  p_keys_head bigint, p_stale bytea[], p_key_places integer[], p_key_names bytea[], p_key_digests bytea[],
  p_key_times double precision[],
  p_record_places integer[], p_kinds text[], p_names bytea[], p_values bytea[], p_untils double precision[],
  p_moved bigint[]
) RETURNS bigint LANGUAGE plpgsql AS $$
DECLARE
  m tidewire.meta;
  n bigint := coalesce(cardinality(p_checks), 0);
BEGIN
  SELECT * INTO m FROM tidewire.meta FOR UPDATE;
  IF m.life IS DISTINCT FROM p_life OR m.server <> tidewire.server() THEN
    RETURN NULL;
  END IF;
  IF m.head = p_head THEN
    IF m."check" <> p_check THEN
      RETURN NULL;
    END IF;
  ELSIF p_in_place OR m.head < p_head OR m.head > p_head + {LOOKED_THROUGH}
    OR NOT EXISTS (SELECT FROM tidewire.entries e WHERE e."offset" = p_head AND e."check" = p_check)
    OR EXISTS (SELECT FROM tidewire.entries e WHERE e."offset" > p_head
      AND (e.is_end OR e.topic = '{RECORDS}' AND e.event = '{RUN}'))
  THEN
    RETURN NULL;
  END IF;
  IF EXISTS (SELECT FROM tidewire.keys k WHERE k.name = ANY (p_key_names || p_stale)
    AND k."offset" > p_keys_head)
  THEN
    RETURN NULL;
  END IF;
  IF p_outbox_first AND EXISTS (SELECT FROM tidewire.outbox) THEN
    RETURN -1;
  END IF;
  IF p_moved IS NOT NULL THEN
    IF (SELECT count(*) FROM tidewire.outbox o WHERE o.id = ANY (p_moved)) <> cardinality(p_moved) THEN
      RETURN NULL;
    END IF;
    DELETE FROM tidewire.outbox o WHERE o.id = ANY (p_moved);
  END IF;
  IF n > 0 THEN
    INSERT INTO tidewire.entries
      SELECT m.head + place, "check", topic, event, retry, is_end, greatest(time, m.time), size,
        m.total + sum(size) OVER (ORDER BY place), data, traceparent
      FROM unnest(p_checks, p_topics, p_events, p_retries, p_ends, p_times, p_sizes, p_data, p_traces)
        WITH ORDINALITY
        AS e ("check", topic, event, retry, is_end, time, size, data, traceparent, place);
    UPDATE tidewire.meta SET head = m.head + n, "check" = p_checks[n],
      total = m.total + (SELECT sum(size) FROM unnest(p_sizes) AS s (size)),
      time = greatest(m.time, (SELECT max(t) FROM unnest(p_times) AS s (t)));
  END IF;
  IF p_stale IS NOT NULL THEN
    DELETE FROM tidewire.keys k WHERE k.name = ANY (p_stale);
  END IF;
  IF p_key_names IS NOT NULL THEN
    INSERT INTO tidewire.keys
      SELECT name, m.head + place, p_checks[place], digest, time
      FROM unnest(p_key_places, p_key_names, p_key_digests, p_key_times) AS k (place, name, digest, time);
  END IF;
  IF p_names IS NOT NULL THEN
    INSERT INTO tidewire.records
      SELECT kind, name, value, until, m.head + place, p_checks[place]
      FROM unnest(p_record_places, p_kinds, p_names, p_values, p_untils)
        AS r (place, kind, name, value, until)
    ON CONFLICT (kind, name) DO UPDATE SET value = excluded.value, until = excluded.until,
      "offset" = excluded."offset", "check" = excluded."check";
  END IF;
  RETURN m.head;
END $$;

-- Returns whether it was done: another node may have trimmed in the meantime, or be about to.
CREATE FUNCTION tidewire.trim(
  p_floor bigint, p_new bigint, p_trimmed bigint, p_dropped bigint, p_topics text[], p_offsets bigint[]
) RETURNS boolean LANGUAGE plpgsql AS $$
BEGIN
  PERFORM FROM tidewire.retention WHERE floor = p_floor FOR UPDATE SKIP LOCKED;
  IF NOT FOUND THEN
    RETURN false;
  END IF;
  DELETE FROM tidewire.entries WHERE "offset" >= p_floor AND "offset" < p_new;
  INSERT INTO tidewire.marks SELECT * FROM unnest(p_topics, p_offsets)
    ON CONFLICT (topic) DO UPDATE SET "offset" = excluded."offset";
  DELETE FROM tidewire.marks WHERE "offset" <= p_dropped;
  UPDATE tidewire.retention SET floor = p_new, trimmed = p_trimmed, dropped = greatest(dropped, p_dropped);
  RETURN true;
END $$;

-- Returns the last offset whose entry is older than a time. What was trimmed in the meantime is older.
CREATE FUNCTION tidewire.before(p_time double precision, p_low bigint, p_high bigint)
RETURNS bigint LANGUAGE plpgsql STABLE AS $$
DECLARE
  low bigint := p_low;
  high bigint := p_high + 1;
  middle bigint;
BEGIN
  WHILE low < high LOOP
    middle := (low + high) / 2;
    IF coalesce((SELECT time FROM tidewire.entries WHERE "offset" = middle), '-infinity') < p_time THEN
      low := middle + 1;
    ELSE
      high := middle;
    END IF;
  END LOOP;
  RETURN low - 1;
END $$;
""",
]

# By the rows of the catalog: what a name refers to is cached, and another node may just have made the table.
EXISTS = """
SELECT EXISTS (SELECT FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
  WHERE n.nspname = 'tidewire' AND c.relname = 'meta')
"""
# It may have been made for a role that may not make one.
HAS_SCHEMA = "SELECT EXISTS (SELECT FROM pg_namespace WHERE nspname = 'tidewire')"


async def version_of(connection: AsyncConnection[Any]) -> int:
    """Return the version of the schema in the database; 0 if there is none."""
    if not await one(connection, EXISTS):
        return 0
    version: int = await one(connection, "SELECT version FROM tidewire.meta")
    return version


async def prepare(connection: AsyncConnection[Any], life: str, place: str) -> None:
    """
    Make the schema, or bring it up to date. `life` is the first one of a new log.

    Raises `StartRefused` if the database cannot hold a log or was written by a later version, and
    `psycopg.Error`.
    """
    if connection.info.server_version < OLDEST_SERVER:
        raise StartRefused(f"the server of the log {place} is older than PostgreSQL 13; use a newer one")
    encoding = await one(connection, "SELECT current_setting('server_encoding')")
    if encoding != "UTF8":
        raise StartRefused(
            f"the database of the log {place} has the encoding {encoding}: create one with ENCODING 'UTF8'"
        )
    version = await version_of(connection)
    if version < VERSION:
        try:
            await migrate(connection, life)
        except errors.InsufficientPrivilege:
            user = connection.info.user
            raise StartRefused(
                f"the role {user} may not make the schema of the log {place}; let a superuser run once:"
                f' CREATE SCHEMA tidewire AUTHORIZATION "{user}"'
            ) from None
    elif version > VERSION:
        raise StartRefused(
            f"the log {place} was written by a later version of Tidewire (schema {version}, this one knows"
            f" {VERSION}); use that version"
        )


async def migrate(connection: AsyncConnection[Any], life: str) -> None:
    """Make the schema or bring it up to date, once: other nodes wait."""
    async with connection.transaction():
        await connection.execute(f"SELECT pg_advisory_xact_lock({LOCKS}, {MIGRATION})")
        version = await version_of(connection)
        if version == 0 and not await one(connection, HAS_SCHEMA):
            await connection.execute("CREATE SCHEMA tidewire")
        for number in range(version, VERSION):
            await connection.execute(MIGRATIONS[number])
        if version == 0:
            await begin(connection, life)
        await connection.execute(f"UPDATE tidewire.meta SET version = {VERSION}")


async def begin(connection: AsyncConnection[Any], life: str) -> None:
    """Write the rows of an empty log."""
    await connection.execute(
        "INSERT INTO tidewire.meta VALUES (true, %s, %s, tidewire.server(), 0, '', 0, 0)", (VERSION, life)
    )
    await connection.execute("INSERT INTO tidewire.retention VALUES (true, 1, 0, 0)")
    await connection.execute("INSERT INTO tidewire.lives VALUES (1, %s, 1)", (life,))


async def one(connection: AsyncConnection[Any], query: str) -> Any:
    """Return the first value of the first row."""
    row = await (await connection.execute(query)).fetchone()
    return row[0] if row else None
