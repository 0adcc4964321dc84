"""The bench of eye movements on labelled trials that the tests write, and on the real ones if present."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner

from device.errors import InputError
from tools.bench import event_peers
from tools.bench.agreement import by_class, kappa
from tools.bench.event_scores import gather, measure, thin
from tools.bench.events import command
from tools.bench.events_page import write_page
from tools.bench.page import END, begin
from tools.importers.lund import Label, read_lund, read_lund_folder

io = pytest.importorskip("scipy.io")


def write_trial(
    folder: Path,
    name: str = "AA01_img_Rome",
    rater: str = "MN",
    *,
    n: int = 1500,
    step_us: float = 2000.0,
    stamps: bool = True,
    padding: int = 0,
) -> Path:
    """A fixation, a saccade of 8 deg, a pursuit, in the format of the real files; 500 Hz is stated."""
    t_s = np.arange(n) * step_us * 1e-6
    x_deg = 8 * np.clip((t_s - 1.0) / 0.04, 0, 1) + 6 * np.clip(t_s - 1.04, 0, None) - 5
    x_px = 512 + np.tan(np.radians(x_deg)) * 0.67 / 0.38 * 1024
    x_px += np.random.default_rng(0).normal(0, 0.3, n)
    label = np.where(t_s < 1.0, Label.FIXATION, np.where(t_s < 1.04, Label.SACCADE, Label.PURSUIT))
    stamp = 5e9 + t_s * 1e6 if stamps else np.full(n, np.nan)
    rows = np.column_stack(
        [stamp, np.full(n, 20.0), np.full(n, 20.0), x_px, np.full(n, 384.0), label]
    )
    rows[10:12, 3:5] = 0  # the eye is lost
    rows = np.vstack([rows, np.zeros((padding, 6))])
    path = folder / f"{name}_labelled_{rater}.mat"
    path.parent.mkdir(parents=True, exist_ok=True)
    data = {
        "pos": rows,
        "screenDim": [0.38, 0.30],
        "screenRes": [1024, 768],
        "viewDist": 0.67,
        "sampFreq": 500,
    }
    io.savemat(path, {"ETdata": data})
    return path


def test_kappa_is_cohens() -> None:
    """The textbook table: 20 yes-yes, 5 yes-no, 10 no-yes, 15 no-no give 0.4."""
    ours = np.array([True] * 25 + [False] * 25)
    theirs = np.array([True] * 20 + [False] * 5 + [True] * 10 + [False] * 15)
    assert kappa(ours, theirs) == pytest.approx(0.4)
    assert kappa(ours, ours) == 1
    assert kappa(np.zeros(50, bool), theirs) == 0
    assert np.isnan(kappa(np.zeros(5, bool), np.zeros(5, bool)))


def test_stamps_are_believed_before_the_stated_rate(tmp_path: Path) -> None:
    trial = read_lund(write_trial(tmp_path, step_us=5000.0, n=600))
    assert trial.rate_hz == pytest.approx(200)
    assert trial.t_ns[1] == 5_000_000
    assert (trial.person, trial.stimulus, trial.film, trial.rater) == ("AA01", "img", "Rome", "MN")
    assert trial.azimuth_deg[0] == pytest.approx(-5, abs=0.1)
    assert np.flatnonzero(np.isnan(trial.azimuth_deg)).tolist() == [10, 11]


def test_without_stamps_the_persons_other_trials_tell_the_rate(tmp_path: Path) -> None:
    write_trial(tmp_path / "img", step_us=5000.0)
    write_trial(tmp_path / "dots", "AA01_trial1", stamps=False)
    write_trial(tmp_path / "dots", "BB02_trial1", stamps=False)
    rates = {(t.person, t.stimulus): t.rate_hz for t in read_lund_folder(tmp_path)}
    assert rates[("AA01", "dots")] == pytest.approx(200)
    assert rates[("BB02", "dots")] == pytest.approx(500)


def test_padding_is_cut_and_raters_share_what_both_have(tmp_path: Path) -> None:
    write_trial(tmp_path, rater="MN", padding=3)
    write_trial(tmp_path, rater="RA", n=1400)
    (recording,) = gather(read_lund_folder(tmp_path))
    assert [len(t.t_ns) for t in recording] == [1400, 1400]


@pytest.mark.parametrize(
    ("content", "says"),
    [(b"", "MATLAB"), (b"MATLAB 5.0 MAT-file" + b"\0" * 40, "MATLAB"), (b"no" * 300, "MATLAB")],
)
def test_a_damaged_file_is_named(tmp_path: Path, content: bytes, says: str) -> None:
    path = tmp_path / "AA01_trial1_labelled_MN.mat"
    path.write_bytes(content)
    with pytest.raises(InputError, match=f"AA01_trial1_labelled_MN.mat.*{says}"):
        read_lund(path)


def test_a_truncated_file_and_time_running_backwards_are_refused(tmp_path: Path) -> None:
    path = write_trial(tmp_path)
    whole = path.read_bytes()
    path.write_bytes(whole[: len(whole) // 2])
    with pytest.raises(InputError, match=r"cannot be read .*; copy it again"):
        read_lund(path)
    path = write_trial(tmp_path)
    data = io.loadmat(path, squeeze_me=True, struct_as_record=False)["ETdata"]
    pos = data.pos
    pos[700:, 0] -= 1e6
    fields = {k: getattr(data, k) for k in ("screenDim", "screenRes", "viewDist", "sampFreq")}
    io.savemat(path, {"ETdata": {"pos": pos, **fields}})
    with pytest.raises(InputError, match="backwards at sample 700"):
        read_lund(path)


def test_an_empty_folder_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"no \*_labelled_XX.mat"):
        read_lund_folder(tmp_path)
    with pytest.raises(InputError, match="no such folder"):
        read_lund_folder(tmp_path / "absent")


def test_thinning_keeps_the_label_of_the_sample_it_keeps(tmp_path: Path) -> None:
    trial = read_lund(write_trial(tmp_path))
    slow = thin(trial, 60)
    assert slow.rate_hz == 60
    assert len(slow.t_ns) == pytest.approx(3 * 60, abs=1)
    for t_ns, label in zip(slow.t_ns, slow.labels):
        assert trial.labels[np.searchsorted(trial.t_ns, t_ns)] == label
    assert thin(trial, 1000) is trial


def test_the_command_reports_what_acceptance_reads(tmp_path: Path) -> None:
    for rater in ("MN", "RA"):
        write_trial(tmp_path / "img", rater=rater)
        write_trial(tmp_path / "dots", "AA01_trial1", rater=rater, stamps=False)
    ran = CliRunner().invoke(command, ["--data", str(tmp_path), "--json"])
    assert ran.exit_code == 0, ran.output
    result = json.loads(ran.output.splitlines()[-1])
    assert set(result["kappa"]) == {"fixation", "saccade", "pursuit"}
    assert set(result["by_stimulus"]) == {"dots", "img"}
    assert result["macro"] > 0.8
    assert result["rater_macro"] == 1
    assert {"I-VT", "I-DT"} <= set(result["peers"])
    assert 0 < result["delay_ms"] <= 150
    assert result["samples_per_s"] > 0


def test_a_trial_with_one_rater_counts_for_that_rater(tmp_path: Path) -> None:
    write_trial(tmp_path, rater="MN")
    result = measure(gather(read_lund_folder(tmp_path)))
    assert result["rater_macro"] is None
    assert result["macro"] > 0.8


def test_peers_find_what_they_can(tmp_path: Path) -> None:
    trial = read_lund(write_trial(tmp_path))
    found = {
        name: by_class([(method(trial), trial.labels)])
        for name, method in (("ivt", event_peers.ivt), ("ivdt", event_peers.ivdt))
    }
    assert found["ivt"]["saccade"] > 0.7
    assert found["ivt"]["pursuit"] == 0
    still = event_peers.idt(trial)[50:450]
    assert (still == Label.FIXATION).mean() > 0.9


def test_the_page_is_written_between_its_markers(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tools.bench.events_page.VARIED", {"slow.carried_deg": (0.5,)})
    for rater in ("MN", "RA"):
        write_trial(tmp_path, rater=rater, n=700)
    page = tmp_path / "page.md"
    page.write_text(f"above\n{begin('events')}\nlast week\n{END}\nbelow\n")
    recordings = gather(read_lund_folder(tmp_path))
    write_page(recordings, page)
    text = page.read_text()
    assert text.startswith("above\n") and text.endswith("\nbelow\n")
    assert "last week" not in text
    assert "| Beheld, online |" in text
    assert "| `slow.carried_deg` | 0.5: " in text
    page.write_text("no markers")
    with pytest.raises(InputError, match=r"page\.md"):
        write_page(recordings, page)


def test_on_the_real_trials_it_is_ahead_of_remodnav_and_in_time(
    dataset: Callable[[str], Path],
) -> None:
    pytest.importorskip("remodnav")
    result = measure(gather(read_lund_folder(dataset("gaze_lund2013_dev"))))
    assert result["rater_macro"] == pytest.approx(0.81, abs=0.005)
    assert result["peers"]["REMoDNaV"] == pytest.approx(0.60, abs=0.01)
    assert result["macro"] >= 0.70
    for kind, ours in result["by_stimulus"].items():
        assert ours > result["peers_by_stimulus"]["REMoDNaV"][kind]
    assert result["delay_ms"] <= 150
