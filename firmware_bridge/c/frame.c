#include "frame.h"

/* Four bits at a time: 64 bytes of table instead of 1024, at half the speed, which a serial line
 * does not notice. */
static const uint32_t crc_nibbles[16] = {
    0x00000000u, 0x1db71064u, 0x3b6e20c8u, 0x26d930acu, 0x76dc4190u, 0x6b6b51f4u,
    0x4db26158u, 0x5005713cu, 0xedb88320u, 0xf00f9344u, 0xd6d6a3e8u, 0xcb61b38cu,
    0x9b64c2b0u, 0x86d3d2d4u, 0xa00ae278u, 0xbdbdf21cu,
};

uint32_t beheld_crc32(uint32_t crc, const uint8_t *bytes, size_t length)
{
    crc = ~crc;
    for (size_t i = 0; i < length; i++) {
        crc ^= bytes[i];
        crc = (crc >> 4) ^ crc_nibbles[crc & 15u];
        crc = (crc >> 4) ^ crc_nibbles[crc & 15u];
    }
    return ~crc;
}

/* COBS: each block is a code byte (distance to the next zero) and what lies between. */
typedef struct {
    uint8_t *out;
    size_t code_at;
    size_t length;
} cobs_writer;

static void put_byte(cobs_writer *writer, uint8_t byte)
{
    if (byte != 0) {
        writer->out[writer->length++] = byte;
        if (++writer->out[writer->code_at] != 0xff) {
            return;
        }
    }
    writer->code_at = writer->length;
    writer->out[writer->length++] = 1;
}

size_t beheld_encode(const uint8_t *payload, size_t length, uint8_t *out)
{
    cobs_writer writer = {.out = out, .code_at = 0, .length = 1};
    uint32_t crc;

    if (length > BEHELD_MAX_PAYLOAD) {
        return 0;
    }
    crc = beheld_crc32(0, payload, length);
    out[0] = 1;
    for (size_t i = 0; i < length; i++) {
        put_byte(&writer, payload[i]);
    }
    for (size_t i = 0; i < BEHELD_CRC_BYTES; i++) {
        put_byte(&writer, (uint8_t)(crc >> (8 * i)));
    }
    out[writer.length++] = 0;
    return writer.length;
}

static void begin_frame(beheld_receiver *receiver)
{
    receiver->length = 0;
    receiver->left = 0;
    receiver->pending_zero = false;
    receiver->started = false;
    receiver->broken = false;
}

void beheld_receiver_init(beheld_receiver *receiver)
{
    begin_frame(receiver);
    receiver->damaged = 0;
}

static void store(beheld_receiver *receiver, uint8_t byte)
{
    if (receiver->length == sizeof receiver->content) {
        receiver->broken = true;
        return;
    }
    receiver->content[receiver->length++] = byte;
}

static bool frame_is_right(const beheld_receiver *receiver)
{
    uint32_t crc;
    const uint8_t *tail;

    if (receiver->broken || receiver->left != 0 || receiver->length < BEHELD_CRC_BYTES) {
        return false;
    }
    crc = beheld_crc32(0, receiver->content, receiver->length - BEHELD_CRC_BYTES);
    tail = receiver->content + receiver->length - BEHELD_CRC_BYTES;
    return crc == ((uint32_t)tail[0] | (uint32_t)tail[1] << 8 | (uint32_t)tail[2] << 16 |
                   (uint32_t)tail[3] << 24);
}

bool beheld_receive(beheld_receiver *receiver, uint8_t byte, size_t *length)
{
    bool right;

    if (byte == 0) {
        if (!receiver->started) {
            return false; /* zeros between frames mean nothing */
        }
        right = frame_is_right(receiver);
        *length = right ? receiver->length - BEHELD_CRC_BYTES : 0;
        receiver->damaged += right ? 0u : 1u;
        begin_frame(receiver);
        return right;
    }
    receiver->started = true;
    if (receiver->broken) {
        return false;
    }
    if (receiver->left == 0) { /* a code byte */
        if (receiver->pending_zero) {
            store(receiver, 0);
        }
        receiver->left = (uint8_t)(byte - 1u);
        receiver->pending_zero = byte != 0xff;
        return false;
    }
    receiver->left--;
    store(receiver, byte);
    return false;
}
