"""Which frame of a moment becomes its still picture."""

from __future__ import annotations

from device.types import Attention, Pixels, SceneFrame, Tag, Tags

MOST_NAMES = 4
"""Things of one moment of which a frame is held in memory; those met first."""


class Stills:
    """The best frame so far of each thing attended to, and the frame of highest attention."""

    def __init__(self) -> None:
        self._frame: SceneFrame | None = None
        self._attended: tuple[float, Pixels] | None = None
        self._named: dict[str, tuple[float, Pixels]] = {}

    def begin(self) -> None:
        """Forget the frames of the moment before; the last one stays for one that sees no other."""
        self._attended = None
        self._named.clear()

    def see(self, frame: SceneFrame) -> None:
        self._frame = frame

    def attend(self, attention: Attention) -> None:
        """How much that frame was attended to."""
        self._attended = self._better(self._attended, attention.probability, attention.t_ns)

    def name(self, tags: Tags) -> None:
        """What of that frame was attended to."""
        for tag in tags.tags if not tags.reused else ():
            known = self._named.get(tag.name)
            if tag.attended and (known is not None or len(self._named) < MOST_NAMES):
                best = self._better(known, tag.probability, tags.t_ns)
                if best is not None:
                    self._named[tag.name] = best

    def choose(self, tags: tuple[Tag, ...]) -> Pixels | None:
        """Where what the moment is named by was seen most surely; else where attention was highest.

        `tags` are the moment's, the one that names it first. None if no frame was seen.
        """
        best = self._named.get(tags[0].name, self._attended) if tags else self._attended
        if best is not None:
            return best[1]
        return None if self._frame is None else self._frame.pixels

    def _better(
        self, best: tuple[float, Pixels] | None, score: float, t_ns: int
    ) -> tuple[float, Pixels] | None:
        if self._frame is None or self._frame.t_ns != t_ns or (best and best[0] >= score):
            return best
        return score, self._frame.pixels
