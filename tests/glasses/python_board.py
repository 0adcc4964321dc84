"""A microcontroller in Python behind a pseudo-terminal, for tests that must script what it says.

It speaks the same wire as the C reference, remembers the commands in order, and can be unplugged.
"""

from __future__ import annotations

import os
import pty
import select
import threading
import time
import tty

from firmware_bridge import wire_pb2 as wire
from firmware_bridge.digest import table_digest
from firmware_bridge.framing import Decoder, encode

BOOT = 5


class PythonBoard:
    """`commands` are (kind, message) as they came; each is carried out once and acknowledged."""

    def __init__(self, digest: int | None = None, charge_permille: int | None = 800) -> None:
        self._master, self._slave = pty.openpty()
        tty.setraw(self._slave)
        self.port = os.ttyname(self._slave)
        self.commands: list[tuple[str, object]] = []
        self.quiet = False
        """Says and answers nothing: frozen."""
        self._digest = table_digest() if digest is None else digest
        self._charge_permille = charge_permille
        self._sequence = 0
        self._seen: set[int] = set()
        self._lock = threading.Lock()
        self._stop = threading.Event()
        self._beat_s = 0.0
        threading.Thread(target=self._run, daemon=True).start()

    def send(self, **body: object) -> None:
        """One packet to the host, stamped now."""
        if self.quiet:
            return
        with self._lock:
            packet = wire.Packet(sequence=self._sequence, t_us=self._now_us(), **body)  # type: ignore[arg-type]
            self._sequence += 1
            os.write(self._master, encode(packet.SerializeToString()))

    def close(self) -> None:
        """Take the board away for good."""
        self._stop.set()
        time.sleep(0.05)
        os.close(self._master)
        os.close(self._slave)

    def kinds(self) -> list[str]:
        return [kind for kind, _ in self.commands]

    def _now_us(self) -> int:
        return time.monotonic_ns() // 1000 + 5_000_000

    def _run(self) -> None:
        decoder = Decoder()
        while not self._stop.is_set():
            ready, _, _ = select.select([self._master], [], [], 0.02)
            chunk = os.read(self._master, 4096) if ready else b""
            for payload in decoder.feed(chunk):
                if not self.quiet:
                    self._take(wire.Packet.FromString(payload))
            if time.monotonic() - self._beat_s > 0.5:
                self._beat_s = time.monotonic()
                self.send(heartbeat=wire.Heartbeat(boot=BOOT))

    def _take(self, packet: wire.Packet) -> None:
        kind = packet.WhichOneof("body") or ""
        if kind == "hello":
            if not packet.hello.reply:
                self._seen.clear()
                hello = wire.Hello(digest=self._digest, name="python board", reply=True, boot=BOOT)
                hello.to_boot = packet.hello.boot
                self.send(hello=hello)
                if self._charge_permille is not None:
                    battery = wire.Battery(
                        charge_permille=self._charge_permille, temperature_cdeg=3000
                    )
                    self.send(battery=battery)
        elif kind == "time_request":
            now_us = self._now_us()
            reply = wire.TimeReply(host_us=packet.time_request.host_us, received_us=now_us)
            self.send(time_reply=reply)
        elif kind not in ("heartbeat", "ack"):
            if packet.sequence not in self._seen:
                self._seen.add(packet.sequence)
                self.commands.append((kind, getattr(packet, kind)))
            self.send(ack=wire.Ack(of_sequence=packet.sequence, result=wire.RESULT_OK))
