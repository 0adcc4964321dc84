"""What the energy ledger says at the end, and what always-on would have cost."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from device.energy_books import Account
from device.energy_table import EnergyTable, Triple
from device.types import SceneGeometry


@dataclass(frozen=True, slots=True, kw_only=True)
class EnergyReport:
    """Joules of a session. Mappings and `total_j` are typical values; each mapping adds up to the total."""

    session_s: float
    total_j: float
    total_j_low: float
    total_j_high: float
    by_component_j: Mapping[str, float]
    by_stage_j: Mapping[str, float]
    by_state_j: Mapping[str, float]
    """By what the scene camera was told: watching (off), checking (low), keeping (full)."""
    by_state_s: Mapping[str, float]
    moments_j: float
    between_moments_j: float
    always_on_j: float
    always_on_j_low: float
    always_on_j_high: float
    always_on_bursts_j: float
    """Typical, of an always-on that has the accelerator and the buffer as well and encodes in bursts; 0 where
    this session did not."""
    measured: tuple[str, ...]
    """Components for which a power rail was measured, wholly or in part."""
    unknown_rails: tuple[str, ...]
    """Rails that were measured and belong to no component: not counted."""
    assumed: tuple[str, ...]
    """Components that the recording does not bring along and the table's rig stands in for."""
    scene_camera_on_s: float
    """How long the scene camera was powered, in either mode."""
    battery_mwh: float
    battery_h: float
    """Hours on that battery at this session's mean power."""

    @property
    def ratio(self) -> float:
        """Share of what always-on recording and analysis would have cost, at typical values."""
        return self.total_j / self.always_on_j if self.always_on_j else 0.0


def always_on(
    table: EnergyTable,
    drawn: Account,
    end_ns: int,
    scene: SceneGeometry | None,
    frame_bytes: float | None,
    macs: int,
    buffered_px: int = 0,
) -> Triple:
    """Femtojoules of the session with the scene camera always on, every frame encoded, kept and analysed.

    The eyes cost what they cost in `drawn`. `frame_bytes` is the mean size of an encoded frame where any
    was, `macs` what analyses one frame at full size. With `buffered_px` it has an accelerator beside the
    processor and a buffer of so many pixels, and encodes in bursts as a moment here does.
    """
    rig, rows = table.assumed, table.rows
    pixels = scene.width_px * scene.height_px if scene else 640 * 480
    frames = round(end_ns / 1e9 * rig.scene_rate_hz)
    size = round(frames * (pixels * rig.scene_bytes_per_px if frame_bytes is None else frame_bytes))
    eyes = [drawn.get(n, [0, 0, 0]) for n in ("eye_camera", "eye_light", "network.eye")]
    amounts = {
        "inertial": end_ns,
        "microcontroller": end_ns,
        "processor_awake": end_ns,
        "scene_camera_on": end_ns,
        "scene_camera_pixel": frames * pixels,
        "encode": frames * pixels,
        "network_mac": frames * macs,
        "network_wake": frames * 2,
        "storage": size,
        "radio": size * 8,
    }
    if buffered_px:
        amounts |= {
            "processor_between": end_ns,
            "processor_awake": round(frames * pixels / rig.encode_mpx_s * 1000),
            "processor_wake": -(-frames * pixels // buffered_px),
            "accelerator_awake": end_ns,
            "buffer": frames * pixels,
        }
    low, mid, high = (
        sum(rows[row][i] * amount for row, amount in amounts.items()) + sum(e[i] for e in eyes)
        for i in range(3)
    )
    return low, mid, high
