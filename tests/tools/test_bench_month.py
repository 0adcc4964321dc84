"""The month's bench on a small month."""

from __future__ import annotations

from pathlib import Path

from tools.bench.month import measure


def test_a_small_month(tmp_path: Path) -> None:
    found = measure(tmp_path, moments=40, gb=0.5, repeats=1)
    assert found["known"] == 40
    assert abs(found["video_gb"] - 0.5) < 0.01
    assert all(found[name] > 0 for name in found)
    written = sum(path.stat().st_blocks * 512 for path in tmp_path.rglob("scene.mp4"))
    assert written < 1 << 20  # the videos are holes
