/* Anything may come in from the line: feeds bytes to the whole of the board's side, with time going on, and
 * reads every frame that leaves. `fuzz` takes its input from standard input; libFuzzer takes
 * LLVMFuzzerTestOneInput (`make fuzz-clang`). The sanitizers find what is wrong. */
#include <stdio.h>
#include <stdlib.h>

#include "glasses.h"
#include "pb_decode.h"

static beheld_receiver host;
static beheld_glasses glasses;
static beheld_wire_Packet sent;

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void take_frame(void *board, const uint8_t *bytes, size_t count)
{
    size_t length;

    (void)board;
    for (size_t i = 0; i < count; i++) {
        if (beheld_receive(&host, bytes[i], &length)) {
            pb_istream_t stream = pb_istream_from_buffer(host.content, length);

            if (!pb_decode(&stream, beheld_wire_Packet_fields, &sent)) {
                abort(); /* what we send must be a packet */
            }
        }
    }
    if (host.damaged != 0) {
        abort();
    }
}

static void camera(void *board, const beheld_wire_SetCamera *setting)
{
    (void)board;
    if ((uint32_t)setting->camera >= BEHELD_CAMERAS ||
        (glasses.private_ && setting->mode != beheld_wire_CameraMode_CAMERA_OFF)) {
        abort(); /* no command may power a camera behind the privacy switch */
    }
}

static void leds(void *board, const beheld_wire_SetLeds *setting)
{
    (void)board;
    if (setting->current_ma > BEHELD_MOST_LED_MA) {
        abort();
    }
}

static void indicator(void *board, beheld_wire_Indicator light)
{
    (void)board;
    (void)light;
}

static void haptic(void *board, const beheld_wire_Haptic *pulse)
{
    (void)board;
    (void)pulse;
}

static void sleep_for(void *board, uint32_t duration_ms)
{
    (void)board;
    (void)duration_ms;
}

static void reset(void *board)
{
    (void)board;
}

static const beheld_hardware hardware = {
    .send = take_frame,
    .camera = camera,
    .leds = leds,
    .indicator = indicator,
    .haptic = haptic,
    .sleep = sleep_for,
    .reset = reset,
};

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    beheld_start start = {.firmware = "fuzz", .board = "fuzz", .digest = 1, .boot = 7};
    uint64_t now_us = 1;

    beheld_receiver_init(&host);
    beheld_glasses_init(&glasses, &hardware, NULL, &start, now_us);
    for (size_t i = 0; i < size; i++) {
        now_us += 1u + (uint64_t)data[i] * 16u;
        beheld_glasses_byte(&glasses, data[i], now_us);
        if (i % 16u == 0) {
            beheld_glasses_tick(&glasses, now_us);
        }
        if (i % 251u == 0) { /* what the hands do meanwhile */
            beheld_glasses_button(&glasses, data[i], (data[i] & 1u) != 0, now_us);
            beheld_glasses_privacy(&glasses, (data[i] & 2u) != 0, now_us);
        }
    }
    return 0;
}

#ifndef BEHELD_LIBFUZZER
/* Inputs in a row, each after its length as four bytes, little endian. */
int main(void)
{
    static uint8_t data[1 << 16];
    uint8_t head[4];
    unsigned count = 0;

    while (fread(head, 1, sizeof head, stdin) == sizeof head) {
        size_t size = (size_t)head[0] | (size_t)head[1] << 8 | (size_t)head[2] << 16;

        if (size > sizeof data || fread(data, 1, size, stdin) != size) {
            return 2;
        }
        (void)LLVMFuzzerTestOneInput(data, size);
        count++;
    }
    printf("%u\n", count);
    return 0;
}
#endif
