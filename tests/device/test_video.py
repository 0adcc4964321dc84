"""Frames through H.264 and back: what comes out is what went in, at once and always the same."""

from __future__ import annotations

import numpy as np
import pytest

from device.types import Pixels, ScenePacket
from device.video import H264Decoder, H264Encoder, is_keyframe, nal_types, picture_size

SPS, PPS, IDR = 7, 8, 5
FRAME_NS = 33_333_333


def picture(number: int, height: int = 48, width: int = 64) -> Pixels:
    """A smooth colour gradient with a bright square that moves with `number`."""
    y, x = np.mgrid[0:height, 0:width]
    pixels = np.stack([x * 2, y * 3, 200 - x - y], axis=-1).astype(np.uint8)
    pixels[10:20, 4 + 3 * number : 14 + 3 * number] = (40, 220, 250)
    return pixels


def packets_of(
    frames: list[Pixels], gray: bool = False, step_ns: int = FRAME_NS
) -> list[ScenePacket]:
    height, width = frames[0].shape[:2]
    encoder = H264Encoder(width, height, 30, gray=gray, crf=18)
    made = [encoder.encode(frame, i * step_ns, i) for i, frame in enumerate(frames)]
    return [packet for packet in made if packet is not None]


@pytest.mark.parametrize("size", [(48, 64), (49, 63)])
@pytest.mark.parametrize("gray", [False, True])
def test_every_frame_comes_back_at_once(size: tuple[int, int], gray: bool) -> None:
    frames = [picture(i, *size) for i in range(12)]
    if gray:
        frames = [np.ascontiguousarray(frame[..., 2]) for frame in frames]
    decoder = H264Decoder(gray=gray)
    for frame, packet in zip(frames, packets_of(frames, gray), strict=True):
        got = decoder.decode(packet)
        assert got is not None
        assert got.shape == frame.shape
        assert np.abs(got.astype(int) - frame).mean() < 4
        assert (packet.width_px, packet.height_px) == (size[1], size[0])


def test_colour_is_not_shifted() -> None:
    for colour in ((200, 30, 40), (20, 190, 60), (128, 128, 128), (250, 250, 250), (5, 5, 5)):
        flat = np.full((32, 32, 3), colour, np.uint8)
        got = H264Decoder().decode(packets_of([flat])[0])
        assert got is not None
        assert np.abs(got.reshape(-1, 3).mean(axis=0) - colour).max() < 4


def test_grey_keeps_the_whole_range() -> None:
    flat = np.tile(np.array([0, 255], np.uint8).repeat(16), (32, 1))
    got = H264Decoder(gray=True).decode(packets_of([flat], gray=True)[0])
    assert got is not None
    assert got[:, :12].mean() < 3
    assert got[:, 20:].mean() > 252


def test_the_same_frames_give_the_same_bytes() -> None:
    frames = [picture(i % 10) for i in range(40)]
    assert [p.data for p in packets_of(frames)] == [p.data for p in packets_of(frames)]


@pytest.mark.parametrize("step_ns", [FRAME_NS, 400_000_000])
def test_a_keyframe_with_its_parameter_sets_each_second(step_ns: int) -> None:
    packets = packets_of([picture(i % 10) for i in range(70)], step_ns=step_ns)
    keys = [p for p in packets if p.keyframe]
    assert packets[0].keyframe
    for packet in packets:
        assert packet.keyframe == is_keyframe(packet.data)
    for key in keys:
        kinds = nal_types(key.data)
        assert kinds.index(SPS) < kinds.index(PPS) < kinds.index(IDR)
    waits = np.diff([p.t_ns for p in keys])
    assert waits.max() < 1_000_000_000 + step_ns


def test_decoding_starts_at_a_keyframe_and_again_after_damage() -> None:
    frames = [picture(i % 10) for i in range(70)]
    packets = packets_of(frames)
    decoder = H264Decoder()
    assert all(decoder.decode(p) is None for p in packets[5:30])
    assert decoder.decode(packets[30]) is not None
    broken = ScenePacket(
        t_ns=0,
        seq=31,
        data=b"\x00\x00\x00\x01\x65nonsense",
        keyframe=False,
        width_px=64,
        height_px=48,
    )
    decoder.decode(broken)
    got = decoder.decode(packets[60])
    assert got is not None
    assert np.abs(got.astype(int) - frames[60]).mean() < 4


def test_skipped_packets_still_serve_as_reference() -> None:
    packets = packets_of([picture(i) for i in range(10)])
    whole, lazy = H264Decoder(), H264Decoder()
    for packet in packets[:-1]:
        whole.decode(packet)
        lazy.skip(packet)
    expected, got = whole.decode(packets[-1]), lazy.decode(packets[-1])
    assert expected is not None
    assert got is not None
    assert np.array_equal(got, expected)


def test_picture_size() -> None:
    assert picture_size(packets_of([picture(0)])[0].data) == (64, 48)


def test_a_frame_of_another_size_is_refused() -> None:
    with pytest.raises(ValueError, match="made for"):
        H264Encoder(64, 48, 30).encode(picture(0, 50, 64), 0, 0)
