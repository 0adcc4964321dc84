"""The custody campaign: a slice of it, and that its books do notice what must never happen."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

NEVER = ("lost", "wrong_receipts", "unreceipted_deletes")


def campaign(runs: int, seed: int, before: str = "") -> dict[str, object]:
    """In a process of its own: it forks, and this one may have threads."""
    script = (
        "import json, sys\n"
        "from tools.bench import custody\n"
        f"{before}\n"
        f"print(json.dumps(custody.campaign({runs}, {seed})))\n"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    found: dict[str, object] = json.loads(done.stdout.strip().splitlines()[-1])
    return found


def only(*kinds: str) -> str:
    return f"custody.KINDS = {kinds!r}\n"


@pytest.mark.slow
def test_a_slice_of_the_campaign() -> None:
    found = campaign(30, 7)
    assert [found[name] for name in NEVER] == [0, 0, 0], found["why"]
    assert found["undelivered"] == 0
    faults = found["faults"]
    assert isinstance(faults, dict)
    assert sum(faults.values()) >= 25
    assert sum(count > 0 for count in faults.values()) >= 12


def test_out_of_time_it_says_how_far_it_came() -> None:
    found = campaign(4, 7, "custody.RUNS_A_WORLD = 1; whole = custody.campaign\n"
                     "custody.campaign = lambda runs, seed: whole(runs, seed, 1e-9)")  # fmt: skip
    assert (found["runs"], found["undelivered"]) == (0, 0)


def test_it_goes_on_from_its_book(tmp_path: Path) -> None:
    def part(which: str, and_then: str = "") -> dict[str, object]:
        begin = (
            "from pathlib import Path\n"
            "custody.RUNS_A_WORLD = 2; whole = custody.campaign\n"
            f"book = custody.Book(Path({str(tmp_path / 'book')!r}), 7)\n"
            f"custody.campaign = lambda runs, seed: whole(runs, seed, None, book, {which})\n"
        )
        return campaign(6, 7, only("cut_answer", "answer_500") + begin + and_then)

    assert (part("(1, 2)")["runs"], part("(2, 2)")["runs"]) == (4, 6)
    with (tmp_path / "book").open("a") as file:
        file.write('{"seed": 7, "co')  # as a kill leaves it
    again = part("(1, 1)", "custody.run_world = None\n")  # nothing is run again
    assert (again["runs"], again["delivered"], again["lost"]) == (6, 6, 0)
    other = part("(1, 1)", "book._of['code'] = 'another'; custody.run_one = lambda *a: None\n")
    assert other["runs"] == 6 and other["delivered"] == 0


def test_glasses_that_delete_without_a_receipt_are_noticed() -> None:
    careless = only("answer_500") + (
        "import shutil\n"
        "from device.sync import Syncer\n"
        "old = Syncer._attempt\n"
        "def deliver(self, folder, row, *rest):\n"
        "    row = old(self, folder, row, *rest)\n"
        "    shutil.rmtree(folder, ignore_errors=True)\n"
        "    return row\n"
        "Syncer._attempt = deliver\n"
    )
    found = campaign(4, 1, careless)
    assert found["unreceipted_deletes"] == 4
    assert found["lost"]  # a 500 may come after the server did take it


def test_a_server_that_signs_unseen_is_noticed() -> None:
    careless = only("bit_flip_on_server") + (
        "from server.custody import Custody\n"
        "Custody._verify = lambda self, folder, manifest: None\n"
    )
    found = campaign(6, 1, careless)
    assert found["wrong_receipts"]


def test_a_server_that_loses_what_it_signed_for_is_noticed() -> None:
    careless = only("cut_answer") + (
        "from server.media import MediaFolder\n"
        "store = MediaFolder.store\n"
        "def forgetful(self, device_id, snippet_id, opened=None):\n"
        "    store(self, device_id, snippet_id, opened)\n"
        "    folder = self.root / 'media' / device_id / snippet_id\n"
        "    (folder / 'moment.json').write_text('{}')\n"
        "MediaFolder.store = forgetful\n"
    )
    found = campaign(4, 1, careless)
    assert found["lost"] == found["wrong_receipts"] == 4
