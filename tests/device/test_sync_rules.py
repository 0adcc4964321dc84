"""When snippets may be sent: the rules, and what Linux tells of power and network."""

from __future__ import annotations

from pathlib import Path

import pytest

from device.sync_rules import Surroundings, SyncRules, look, watch, why_not

DEFAULT = SyncRules()
ROUTES = "Iface\tDestination\tGateway\tFlags\tRefCnt\tUse\tMetric\n"


@pytest.mark.parametrize(
    ("rules", "now", "reason"),
    [
        (DEFAULT, Surroundings(), None),  # nothing known speaks against nothing
        (DEFAULT, Surroundings(network="wifi", metered=False, battery=0.9), None),
        (DEFAULT, Surroundings(network="wifi", metered=True), "metered"),
        (DEFAULT, Surroundings(network="mobile", metered=True), "metered"),
        (SyncRules(metered=True), Surroundings(network="mobile", metered=True), None),
        (SyncRules(metered=True, only_wifi=True), Surroundings(network="mobile"), "not on Wi-Fi"),
        (SyncRules(only_wifi=True), Surroundings(network="cable"), None),
        (SyncRules(only_charging=True), Surroundings(charging=False), "not charging"),
        (SyncRules(only_charging=True), Surroundings(charging=True), None),
        (SyncRules(only_charging=True), Surroundings(), None),
        (DEFAULT, Surroundings(battery=0.1, charging=False), "battery is at 10%, below 15%"),
        (DEFAULT, Surroundings(battery=0.1), "battery is at 10%"),
        (DEFAULT, Surroundings(battery=0.1, charging=True), None),
        (SyncRules(least_battery=0.5), Surroundings(battery=0.4, charging=False), "below 50%"),
    ],
)
def test_why_not(rules: SyncRules, now: Surroundings, reason: str | None) -> None:
    found = why_not(rules, now)
    assert found is None if reason is None else reason in str(found)


def supply(system: Path, name: str, **lines: str) -> None:
    folder = system / "sys/class/power_supply" / name
    folder.mkdir(parents=True)
    for line, value in lines.items():
        (folder / line).write_text(f"{value}\n")


def routes(system: Path, *rows: str) -> None:
    (system / "proc/net").mkdir(parents=True)
    (system / "proc/net/route").write_text(ROUTES + "".join(f"{row}\n" for row in rows))


def way(card: str, metric: int, destination: str = "00000000") -> str:
    return f"{card}\t{destination}\t0102A8C0\t0003\t0\t0\t{metric}\t00000000"


def test_glasses_on_wifi_and_battery(tmp_path: Path) -> None:
    supply(tmp_path, "battery", type="Battery", status="Discharging", capacity="42")
    supply(tmp_path, "mouse", type="Battery", status="Charging", capacity="99", scope="Device")
    (tmp_path / "sys/class/net/wlan0/wireless").mkdir(parents=True)
    routes(tmp_path, way("wlan0", 600), way("wwan0", 700), way("wlan0", 600, "0002A8C0"))
    found = look(tmp_path)
    assert found == Surroundings(network="wifi", charging=False, battery=0.42)


def test_charging_by_cable_and_by_status(tmp_path: Path) -> None:
    supply(tmp_path / "a", "usb", type="USB", online="1")
    supply(tmp_path / "b", "battery", type="Battery", status="Charging", capacity="7")
    assert look(tmp_path / "a") == Surroundings(charging=True)
    assert look(tmp_path / "b") == Surroundings(charging=True, battery=0.07)


def test_a_modem_is_metered(tmp_path: Path) -> None:
    routes(tmp_path, way("wwan0", 700))
    assert look(tmp_path) == Surroundings(network="mobile", metered=True)


@pytest.mark.parametrize(
    "rubbish", ["", "Iface\nwlan0\n", "Iface\nwlan0 00000000 0 0 0 0 x\n", "\xff"]
)
def test_what_cannot_be_read_is_not_known(tmp_path: Path, rubbish: str) -> None:
    (tmp_path / "proc/net").mkdir(parents=True)
    (tmp_path / "proc/net/route").write_bytes(rubbish.encode("latin-1"))
    supply(tmp_path, "battery", type="Battery", capacity="full")
    assert look(tmp_path) == Surroundings(charging=False)
    assert look(tmp_path / "nowhere") == Surroundings()


def test_the_system_is_not_asked_at_each_snippet(monkeypatch: pytest.MonkeyPatch) -> None:
    looks = []
    monkeypatch.setattr(
        "device.sync_rules.look", lambda: looks.append(1) or Surroundings(metered=True)
    )
    may_send = watch(SyncRules())
    assert {may_send() for _ in range(50)} == {why_not(SyncRules(), Surroundings(metered=True))}
    assert len(looks) == 1
