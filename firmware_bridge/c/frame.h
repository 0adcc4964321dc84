/* Frames on a serial line: COBS(payload + CRC-32) and one zero byte.
 *
 * No allocation, no I/O, no operating system. The receiver decodes in place, byte by byte, so a frame
 * needs one buffer of its own largest size and nothing else. */
#ifndef BEHELD_FRAME_H
#define BEHELD_FRAME_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define BEHELD_MAX_PAYLOAD 1024u
#define BEHELD_CRC_BYTES 4u
/* COBS adds one byte, and one more for each 254; then the closing zero. */
#define BEHELD_MAX_FRAME \
    (BEHELD_MAX_PAYLOAD + BEHELD_CRC_BYTES + (BEHELD_MAX_PAYLOAD + BEHELD_CRC_BYTES) / 254u + 2u)

typedef struct {
    uint8_t content[BEHELD_MAX_PAYLOAD + BEHELD_CRC_BYTES];
    size_t length;
    uint8_t left;      /* bytes until the next code byte */
    bool pending_zero; /* a zero stands before the next block, if there is one */
    bool started;
    bool broken;      /* too long, or a zero inside a block: skip to the next zero */
    uint32_t damaged; /* frames dropped so far */
} beheld_receiver;

/* CRC-32 as zlib computes it, continued from `crc` (0 at the start). */
uint32_t beheld_crc32(uint32_t crc, const uint8_t *bytes, size_t length);

/* Write `payload` as a frame into `out` (BEHELD_MAX_FRAME bytes). Returns its length, 0 if too long. */
size_t beheld_encode(const uint8_t *payload, size_t length, uint8_t *out);

void beheld_receiver_init(beheld_receiver *receiver);

/* Take one byte. True when it completed a whole, right frame: its payload is then the first
 * `*length` bytes of `receiver->content`, valid until the next call. */
bool beheld_receive(beheld_receiver *receiver, uint8_t byte, size_t *length);

#endif
