"""What the live bench says of memory: ends, and what stays in each quarter of the time."""

from __future__ import annotations

import pytest

from tools.bench.live import Sampler


def test_what_comes_and_goes_is_told_from_what_stays() -> None:
    sampler = Sampler(warm_up_s=0)
    for second in range(400):
        waiting = 30 if second % 30 < 6 else 0  # frames that wait for the encoder
        sampler.rss.append((300 + waiting + second // 100) * 1_000_000)
        sampler.cpu_s.append(second / 4)
        sampler.at_s.append(float(second))
    result = sampler.result()
    assert result["rss_least_of_quarters_mb"] == [300, 301, 302, 303]
    assert result["rss_most_of_quarters_mb"] == [330, 331, 332, 333]
    assert result["cpu_share"] == pytest.approx(0.25) and result["measured_s"] == 399
    assert result["rss_growth_mb"] == pytest.approx(3.0)


def test_a_run_too_short_to_sample_says_nothing() -> None:
    assert Sampler(warm_up_s=0).result() == {}
