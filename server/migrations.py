"""The schema as a list of functions, oldest first. Never edit one that was released: add one."""

from __future__ import annotations

from collections.abc import Callable

from sqlalchemy import Connection, text


def _run(db: Connection, script: str) -> None:
    for statement in script.split(";"):
        if statement.strip():
            db.execute(text(statement))


def first_tables(db: Connection) -> None:
    """Glasses, people, moments, receipts and the words to find moments by."""
    _run(
        db,
        """
        CREATE TABLE devices (
            id TEXT PRIMARY KEY, name TEXT NOT NULL, public_key TEXT NOT NULL,
            token_hash TEXT NOT NULL UNIQUE, paired_utc TEXT NOT NULL,
            last_seen_utc TEXT, revoked_utc TEXT, sync_state TEXT);
        CREATE TABLE pairing_codes (
            code_hash TEXT PRIMARY KEY, created_s REAL NOT NULL, expires_s REAL NOT NULL,
            misses INTEGER NOT NULL DEFAULT 0, used_utc TEXT);
        CREATE TABLE people (
            id INTEGER PRIMARY KEY, name TEXT NOT NULL UNIQUE, role TEXT NOT NULL,
            password_hash TEXT);
        CREATE TABLE login_keys (
            key_hash TEXT PRIMARY KEY, person_id INTEGER NOT NULL REFERENCES people(id),
            expires_s REAL NOT NULL, used_utc TEXT);
        CREATE TABLE sessions (
            token_hash TEXT PRIMARY KEY, person_id INTEGER NOT NULL REFERENCES people(id),
            csrf TEXT NOT NULL, created_utc TEXT NOT NULL, expires_s REAL NOT NULL,
            browser TEXT NOT NULL DEFAULT '');
        CREATE TABLE moments (
            number INTEGER PRIMARY KEY, key TEXT NOT NULL UNIQUE,
            device_id TEXT NOT NULL, snippet_id TEXT NOT NULL, session_id TEXT NOT NULL,
            start_utc TEXT NOT NULL, local_day TEXT NOT NULL, local_time TEXT NOT NULL,
            zone TEXT NOT NULL, time_known INTEGER NOT NULL,
            start_ns INTEGER NOT NULL, end_ns INTEGER NOT NULL,
            title TEXT NOT NULL, reasons TEXT NOT NULL, words TEXT NOT NULL,
            energy_mj REAL, emotion TEXT, bytes INTEGER NOT NULL,
            has_video INTEGER NOT NULL, has_thumbnail INTEGER NOT NULL,
            received_utc TEXT NOT NULL,
            kept INTEGER NOT NULL DEFAULT 0, reviewed INTEGER NOT NULL DEFAULT 0,
            UNIQUE (device_id, snippet_id));
        CREATE INDEX moments_by_time ON moments (local_day, start_utc);
        CREATE INDEX moments_by_start ON moments (start_utc);
        CREATE TABLE tags (
            moment INTEGER NOT NULL REFERENCES moments(number) ON DELETE CASCADE,
            name TEXT NOT NULL, probability REAL, attended INTEGER NOT NULL,
            origin TEXT NOT NULL DEFAULT 'glasses');
        CREATE INDEX tags_by_moment ON tags (moment);
        CREATE INDEX tags_by_name ON tags (name, moment);
        CREATE VIRTUAL TABLE moments_fts USING fts5(words, tokenize='unicode61 remove_diacritics 2');
        CREATE TABLE receipts (
            device_id TEXT NOT NULL, snippet_id TEXT NOT NULL, manifest_sha256 TEXT NOT NULL,
            receipt TEXT NOT NULL, signature TEXT NOT NULL, received_utc TEXT NOT NULL,
            PRIMARY KEY (device_id, snippet_id))
        """,
    )


MIGRATIONS: tuple[Callable[[Connection], None], ...] = (first_tables,)
