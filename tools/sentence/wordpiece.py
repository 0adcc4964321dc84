"""WordPiece, the tokenizer of BERT's family: a text as numbers of pieces of words.

Written from the published description (Devlin et al. 2018, and Wu et al. 2016 for the pieces): lower
case, accents off, cut at spaces and punctuation, then each word greedily into the longest pieces of the
vocabulary. `vocab.txt` is that of bert-base-uncased (see NOTICE); a line's number is its piece's.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Iterator
from pathlib import Path

VOCABULARY = Path(__file__).with_name("vocab.txt")
_LONGEST = 100  # letters; what is longer is no word


class WordPiece:
    """Cuts texts for a network that was trained with this vocabulary."""

    def __init__(self, path: Path = VOCABULARY) -> None:
        pieces = path.read_text(encoding="utf-8").splitlines()
        self._number = {piece: number for number, piece in enumerate(pieces)}
        self._unknown = self._number["[UNK]"]
        self._begin, self._end = self._number["[CLS]"], self._number["[SEP]"]

    def __call__(self, text: str, most: int = 64) -> list[int]:
        """Numbers of the pieces between the begin and end marks, at most `most` in all."""
        pieces = [piece for word in _words(text) for piece in self._cut(word)]
        return [self._begin, *pieces[: most - 2], self._end]

    def _cut(self, word: str) -> Iterator[int]:
        found: list[int] = []
        start = 0
        while start < len(word) <= _LONGEST:
            mark = "##" if start else ""
            for end in range(len(word), start, -1):
                number = self._number.get(mark + word[start:end])
                if number is not None:
                    found.append(number)
                    start = end
                    break
            else:
                break
        return iter(found if start == len(word) else [self._unknown])


def _words(text: str) -> list[str]:
    folded = unicodedata.normalize("NFD", text.lower())
    spaced = []
    for letter in folded:
        category = unicodedata.category(letter)
        if category == "Mn" or (category.startswith("C") and not letter.isspace()):
            continue  # accents and control characters
        alone = category.startswith("P") or letter in "$+<=>^`|~" or _is_ideograph(letter)
        spaced.append(f" {letter} " if alone else letter)
    return "".join(spaced).split()


def _is_ideograph(letter: str) -> bool:
    return "\u4e00" <= letter <= "\u9fff" or "\u3400" <= letter <= "\u4dbf"
