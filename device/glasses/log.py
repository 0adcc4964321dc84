"""The log: one JSON object a line on standard error, for journald and those who read it.

What was seen, looked at, felt or said is not in it: state changes are logged, not why, and no tags, no
gaze, no name of a wearer.
"""

from __future__ import annotations

import json
import logging
import sys
from datetime import UTC, datetime
from typing import TextIO

from device.types import CameraRequest, DeviceEvent, Gap, MomentEnd, MomentStart, Value, WakeChange

PLAIN = frozenset(vars(logging.makeLogRecord({}))) | {"message", "asctime", "taskName"}
QUIET = ("battery", "heat", "light", "charging")
"""Events that come all the time; they are metrics."""

log = logging.getLogger(__name__)


class JsonLines(logging.Formatter):
    """A record as one line; what was given as `extra` becomes keys."""

    def format(self, record: logging.LogRecord) -> str:
        when = datetime.fromtimestamp(record.created, UTC)
        line = {
            "time": when.isoformat(timespec="milliseconds"),
            "level": record.levelname.lower(),
            "from": record.name,
            "event": record.getMessage(),
            **{k: v for k, v in vars(record).items() if k not in PLAIN},
        }
        if record.exc_info:
            line["traceback"] = self.formatException(record.exc_info)
        return json.dumps(line, default=str, ensure_ascii=False)


def begin_logging(level: str, stream: TextIO | None = None) -> logging.Handler:
    """Send everything of this program to `stream` (standard error) as JSON lines."""
    handler = logging.StreamHandler(stream or sys.stderr)
    handler.setFormatter(JsonLines())
    for room in ("device", "firmware_bridge", "tools"):
        logger = logging.getLogger(room)
        logger.handlers = [handler]
        logger.setLevel(level.upper())
        logger.propagate = False
    return handler


class LogSink:
    """Logs what the glasses do, not what they see."""

    def __call__(self, value: Value) -> None:
        t_s = round(value.t_ns / 1e9, 3)
        match value:
            case DeviceEvent(name="fault"):
                log.warning("fault", extra={"t_s": t_s, "what": value.value})
            case DeviceEvent() if value.name not in QUIET:
                log.info(value.name, extra={"t_s": t_s, "value": value.value})
            case WakeChange():
                extra = {"t_s": t_s, "before": value.before.value, "after": value.after.value}
                log.info("state", extra=extra)
            case CameraRequest():
                log.debug("scene camera", extra={"t_s": t_s, "mode": value.mode.value})
            case MomentStart():
                log.info("moment begins", extra={"t_s": t_s, "reason": value.reason})
            case MomentEnd():
                log.info("moment ends", extra={"t_s": t_s, "kept": value.kept})
            case Gap():
                extra = {"t_s": t_s, "stream": value.stream, "cause": value.cause}
                level = logging.DEBUG if "gave way" in value.cause else logging.WARNING
                log.log(level, "gap", extra={**extra, "gap_s": round(value.duration_ns / 1e9, 3)})
