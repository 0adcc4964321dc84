"""What the index alone would know: paired glasses, people, the owner's choices. Kept beside it as a file.

Tokens and passwords are in it as the index has them, as hashes. Written after each change, read when
an index is found empty: then nobody has to pair or set a password again.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from sqlalchemy import text

from server.database import Database
from server.disk import write_durably

TABLES = {
    "devices": ("id", "name", "public_key", "token_hash", "paired_utc", "revoked_utc"),
    "people": ("id", "name", "role", "password_hash"),
    "preferences": ("name", "value"),
    "passkeys": ("id", "name", "site", "public_key", "sign_count", "created_utc"),
}
"""Table -> columns, the first of which is its key."""


class Roster:
    """`roster.json` in the data folder."""

    def __init__(self, path: Path, database: Database) -> None:
        self._path = path
        self._db = database

    def save(self) -> None:
        """Write down who is known now; durable when this returns."""
        found: dict[str, Any] = {"format": 1}
        with self._db.read() as db:
            for table, columns in TABLES.items():
                rows = db.execute(text(f"SELECT {', '.join(columns)} FROM {table} ORDER BY 1"))
                found[table] = [dict(row) for row in rows.mappings()]
        write_durably(self._path, json.dumps(found, indent=1).encode())

    def restore(self) -> int:
        """Know again, in an index that knows nobody, who is written down; says how many."""
        try:
            given = json.loads(self._path.read_bytes())
            rows = {
                table: [{name: row[name] for name in columns} for row in given.get(table, [])]
                for table, columns in TABLES.items()
            }
        except (OSError, ValueError, KeyError, TypeError):
            return 0
        with self._db.write() as db:
            known = db.execute(
                text(
                    "SELECT (SELECT count(*) FROM devices)"
                    " + (SELECT count(*) FROM preferences)"
                    " + (SELECT count(*) FROM people WHERE password_hash IS NOT NULL OR id > 1)"
                )
            ).scalar_one()
            if known:
                return 0
            for table, columns in TABLES.items():
                places = ", ".join(f":{name}" for name in columns)
                again = ", ".join(f"{name} = excluded.{name}" for name in columns[1:])
                for row in rows[table]:
                    db.execute(
                        text(
                            f"INSERT INTO {table} ({', '.join(columns)}) VALUES ({places})"
                            f" ON CONFLICT ({columns[0]}) DO UPDATE SET {again}"
                        ),
                        row,
                    )
        return sum(map(len, rows.values()))
