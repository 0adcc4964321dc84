"""Which moments are asked about: the doubtful, unlike one another, at most three."""

from __future__ import annotations

from server.asking import Candidate, choose, doubt

SURE = {"happy": 0.98, "sad": 0.01, "neutral": 0.01}
TORN = {"happy": 0.5, "sad": 0.5, "neutral": 0.0}
LOST = {"happy": 0.34, "sad": 0.33, "neutral": 0.33}


def test_the_most_doubtful_is_asked_first_and_the_sure_never() -> None:
    given = [
        Candidate(key=k, probabilities=p)
        for k, p in (("sure", SURE), ("torn", TORN), ("lost", LOST))
    ]
    assert [c.key for c in choose(given)] == ["lost", "torn"]


def test_of_two_alike_only_one_is_asked_while_others_wait() -> None:
    given = [
        Candidate(key="cup", probabilities=LOST, embedding=(1.0, 0.0)),
        Candidate(key="same cup", probabilities=LOST, embedding=(0.999, 0.01)),
        Candidate(key="dog", probabilities=TORN, embedding=(0.0, 1.0)),
    ]
    assert [c.key for c in choose(given, 2)] == ["cup", "dog"]


def test_never_more_than_three_and_never_twice() -> None:
    given = [Candidate(key=str(n), probabilities=LOST) for n in range(9)]
    assert len(choose(given)) == 3
    assert choose([Candidate(key="a", probabilities=LOST, answered=True)]) == []


def test_what_are_no_probabilities_are_not_asked_about() -> None:
    for odd in ({}, {"happy": float("nan"), "sad": 1.0}, {"happy": 0.0, "sad": 0.0}, {"sad": 1.0}):
        assert doubt(odd) == 0.0
        assert choose([Candidate(key="a", probabilities=odd)]) == []
