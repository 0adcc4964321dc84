"""By what a moment is found: its words, its sentence, the vector of what was looked at.

They follow from its row and its tags; whoever changes those calls `retell` in the same transaction.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

import numpy as np
from sqlalchemy import Connection, text

from server import record as records
from server.vectors import pack, unit
from server.words import WordIndex


def feeling_columns(feeling: records.Feeling) -> dict[str, Any]:
    """A feeling as columns of `moments`."""
    table = feeling.probabilities
    return {
        "emotion": feeling.strongest,
        "probabilities": json.dumps(table) if table is not None else None,
        "influence": feeling.influence,
        "valence": feeling.valence,
        "arousal": feeling.arousal,
    }


def insert_look(db: Connection, number: int, look: Sequence[float]) -> None:
    """Keep the vector of what was looked at, to find what looks alike."""
    db.execute(
        text(
            "INSERT INTO looks (moment, vector) VALUES (:n, :vector)"
            " ON CONFLICT (moment) DO NOTHING"
        ),
        {"n": number, "vector": pack(unit(np.asarray(look, np.float32)))},
    )


def retell(db: Connection, index: WordIndex, number: int) -> None:
    """Make the words and the sentence by which a moment is found anew, from what is known of it now."""
    before = sentence_of(db, number)
    row = db.execute(
        text("SELECT words, place, emotion, local_time, time_known FROM moments WHERE number = :n"),
        {"n": number},
    ).one()
    tags = tags_of(db, [number]).get(number, ())
    attended = [str(tag["name"]) for tag in tags if tag["attended"]]
    around = [str(tag["name"]) for tag in tags if not tag["attended"]]
    owners = [str(tag["name"]) for tag in tags if tag["origin"] == "owner"]
    index.put(db, number, " ".join((str(row.words), *owners, row.emotion or "")))
    part = records.day_part(row.local_time) if row.time_known else ""
    said = records.sentence(attended, around, row.place, row.emotion, part)
    db.execute(
        text(
            "UPDATE moments SET sentence = :said,"
            " meaning = (SELECT number FROM meanings WHERE sentence = :said) WHERE number = :n"
        ),
        {"said": said, "n": number},
    )
    if before != said:
        forget_meaning(db, before)


def sentence_of(db: Connection, number: int) -> str | None:
    found = db.execute(
        text("SELECT sentence FROM moments WHERE number = :n"), {"n": number}
    ).scalar_one_or_none()
    return None if found is None else str(found)


def forget_meaning(db: Connection, sentence: str | None) -> None:
    """Remove the vector of a sentence that no moment says any more."""
    db.execute(
        text(
            "DELETE FROM meanings WHERE sentence = :said"
            " AND NOT EXISTS (SELECT 1 FROM moments WHERE sentence = :said)"
        ),
        {"said": sentence},
    )


def tags_of(db: Connection, numbers: Sequence[int]) -> dict[int, tuple[dict[str, Any], ...]]:
    found: dict[int, list[dict[str, Any]]] = {}
    for start in range(0, len(numbers), 500):
        wanted = ",".join(str(n) for n in numbers[start : start + 500])  # our own integers
        query = f"SELECT moment, name, probability, attended, origin FROM tags WHERE moment IN ({wanted})"
        for row in db.execute(text(f"{query} ORDER BY rowid")).mappings():
            tag = {key: row[key] for key in ("name", "probability", "origin")}
            found.setdefault(int(row["moment"]), []).append(
                {**tag, "attended": bool(row["attended"])}
            )
    return {number: tuple(tags) for number, tags in found.items()}
