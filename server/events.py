"""What happens, told to open pages and programs as it happens.

The truth is the index: every event is a row with a number, and a listener that asks "what is new since"
misses nothing, whichever process took it in. The hub only wakes listeners early.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

LOOK_AGAIN_S = 5.0
"""How long a listener waits before it looks by itself: another process may have written."""


class EventHub:
    """Wakes whoever listens in this process; `wake` may be called from any thread."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._listeners: dict[asyncio.Event, asyncio.AbstractEventLoop] = {}

    def wake(self) -> None:
        """Something was written: look again."""
        with self._lock:
            listeners = list(self._listeners.items())
        for event, loop in listeners:
            try:
                loop.call_soon_threadsafe(event.set)
            except RuntimeError:  # its loop has just been closed
                continue

    def __len__(self) -> int:
        with self._lock:
            return len(self._listeners)

    @asynccontextmanager
    async def listening(self) -> AsyncIterator[asyncio.Event]:
        """An event that is set with every `wake` as long as the block lasts."""
        event = asyncio.Event()
        with self._lock:
            self._listeners[event] = asyncio.get_running_loop()
        try:
            yield event
        finally:
            with self._lock:
                del self._listeners[event]
