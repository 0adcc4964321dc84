"""`beheld emulate --serial`: the emulated glasses in real time, for `beheld run` and for hands-on tests."""

from __future__ import annotations

import contextlib
import signal
import socket
import sys
import threading
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

import click

from device.emulator import Emulator, EmulatorSettings
from device.emulator.board import EmulatedBoard
from device.emulator.listener import Listener
from device.emulator.orders import HELP
from device.emulator.switches import BoardSettings
from device.errors import BeheldError, ConfigError
from tools.output import emit

SESSION_S = 3600.0
"""How long the emulated glasses run unless told otherwise."""


def run(
    wearer: EmulatorSettings,
    board: BoardSettings,
    folder: Path | None,
    orders: Sequence[str],
    *,
    as_json: bool,
) -> None:
    """Until the session is over, or Ctrl-C. The first line on stdout says where the port is."""
    planned = [_planned(text) for text in orders]
    with (
        EmulatedBoard(Emulator(wearer), board, folder) as glasses,
        contextlib.closing(control(glasses)) as orders_socket,
        ended_by_signals(glasses),  # before anybody is told where to find them
    ):
        where = {
            "port": str(glasses.port),
            "cameras": str(glasses.camera),
            "control": str(orders_socket.path),
        }
        if as_json:
            emit(where, as_json=True)
        else:
            click.echo(
                f"port {glasses.port}  cameras {glasses.camera}  control {orders_socket.path}"
            )
            click.echo("orders: " + "; ".join(HELP), err=True)
        sys.stdout.flush()
        for at_s, text in planned:
            later = threading.Timer(at_s, _obey, (glasses, text))
            later.daemon = True
            later.start()
        threading.Thread(target=_read_stdin, args=(glasses,), daemon=True).start()
        glasses.ended.wait(wearer.duration_s + 60)
    emit(summary(glasses), as_json=as_json, title="emulated glasses")


@contextlib.contextmanager
def ended_by_signals(glasses: EmulatedBoard) -> Iterator[None]:
    """Ctrl-C and SIGTERM end the session in order: the port goes, the counts are printed."""
    numbers = (signal.SIGINT, signal.SIGTERM)
    before = {n: signal.signal(n, lambda *_: glasses.ended.set()) for n in numbers}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def summary(glasses: EmulatedBoard) -> dict[str, object]:
    """What the emulated sensors did; a host's own counts must fit."""
    counts, supply = glasses.counts, glasses.supply
    return {
        "session_s": (time.monotonic_ns() - glasses.start_ns) / 1e9,
        "eye_frames": counts.eye_frames,
        "scene_frames": counts.scene_frames,
        "imu_samples": counts.imu_samples,
        "dropped": counts.dropped,
        "buttons": sum(pressed for _, pressed in glasses.presses),
        "restarts": counts.restarts,
        "died_events": counts.died,
        "overrun_bytes": glasses.line.overrun_bytes,
        "charge": supply.charge,
        "power_mw": supply.power_mw,
        "temperature_c": supply.temperature_c,
        "orders": dict(glasses.orders.given),
    }


def _planned(text: str) -> tuple[float, str]:
    at_s, _, order = text.partition(" ")
    try:
        second = float(at_s)
    except ValueError as error:
        raise ConfigError(
            f"--fault '{text}': write the second and the order, such as '30 unplug 2'"
        ) from error
    known = [usage.split()[0] for usage in HELP]
    if not order.split() or order.split()[0] not in known:
        raise ConfigError(f"--fault '{text}': no such order; known here: {', '.join(known)}")
    return second, order


def _obey(glasses: EmulatedBoard, text: str) -> str:
    try:
        answer = glasses.order(text)
    except BeheldError as error:
        answer = f"error: {error}"
    click.echo(answer, err=True)
    return answer


def _read_stdin(glasses: EmulatedBoard) -> None:
    for line in sys.stdin:
        if line.strip():
            _obey(glasses, line)


def control(glasses: EmulatedBoard) -> Listener:
    """The same orders over a Unix socket, one a line, each answered by a line."""

    def serve(connection: socket.socket) -> None:
        with connection, connection.makefile("rw", encoding="utf-8") as talk:
            for line in talk:
                if line.strip():
                    talk.write(_obey(glasses, line) + "\n")
                    talk.flush()

    return Listener(glasses.folder / "control", serve)
