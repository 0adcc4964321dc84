"""Full-text search over a moment's words, the same on SQLite (FTS5) and PostgreSQL (tsvector).

Both engines get tokens that were made here, so a word is the same word in both: letters and digits,
lower case, accents folded. A search is every token, the last one possibly only begun.
"""

from __future__ import annotations

import unicodedata
from typing import Protocol

from sqlalchemy import Connection, text

_MAX_TOKENS = 12


class WordIndex(Protocol):
    """What a database engine must be able to do with words."""

    def put(self, db: Connection, number: int, words: str) -> None:
        """Find moment `number` by these words from now on, and by no others."""

    def drop(self, db: Connection, number: int) -> None:
        """Find moment `number` no more."""

    def condition(self, words: str) -> tuple[str, dict[str, str]] | None:
        """An SQL condition on `m.number` and its values; None if there is no word in `words`."""


class Fts5Words:
    """SQLite: the virtual table `moments_fts`, whose rowid is the moment's number."""

    def put(self, db: Connection, number: int, words: str) -> None:
        self.drop(db, number)
        db.execute(
            text("INSERT INTO moments_fts (rowid, words) VALUES (:n, :words)"),
            {"n": number, "words": " ".join(tokens(words))},
        )

    def drop(self, db: Connection, number: int) -> None:
        db.execute(text("DELETE FROM moments_fts WHERE rowid = :n"), {"n": number})

    def condition(self, words: str) -> tuple[str, dict[str, str]] | None:
        query = match(words)
        if not query:
            return None
        inner = "SELECT rowid FROM moments_fts WHERE moments_fts MATCH :words_query"
        return f"m.number IN ({inner})", {"words_query": query}


class TsvectorWords:
    """PostgreSQL: the table `moments_fts (number, words tsvector)` with a GIN index."""

    def put(self, db: Connection, number: int, words: str) -> None:
        db.execute(
            text(
                "INSERT INTO moments_fts (number, words) VALUES (:n, array_to_tsvector(:words))"
                " ON CONFLICT (number) DO UPDATE SET words = excluded.words"
            ),
            {"n": number, "words": sorted(set(tokens(words)))},
        )

    def drop(self, db: Connection, number: int) -> None:
        db.execute(text("DELETE FROM moments_fts WHERE number = :n"), {"n": number})

    def condition(self, words: str) -> tuple[str, dict[str, str]] | None:
        found = tokens(words)[:_MAX_TOKENS]
        if not found:
            return None
        query = " & ".join(f"'{token}'" for token in found) + ":*"
        inner = "SELECT number FROM moments_fts WHERE words @@ CAST(:words_query AS tsquery)"
        return f"m.number IN ({inner})", {"words_query": query}


def tokens(words: str) -> list[str]:
    """Words as both engines know them: letters and digits only, folded, in their order."""
    folded = unicodedata.normalize("NFKD", words.casefold())
    kept = "".join(c for c in folded if not unicodedata.combining(c))
    return "".join(c if c.isalnum() else " " for c in kept).split()


def match(words: str) -> str:
    """A search as people type it, as an FTS5 query in which nothing they type has a meaning."""
    quoted = [f'"{token}"' for token in tokens(words)[:_MAX_TOKENS]]
    return f"{' '.join(quoted)}*" if quoted else ""
