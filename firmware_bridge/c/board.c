/* A board on a pseudo-terminal: the reference microcontroller as an ordinary program, for tests and the
 * emulator. Standard input and output are the line. It answers every command, keeps its own clock
 * (`--drift-ppm`), and streams `--power-hz` power samples and `--eye-hz` small eye frames. */
#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "link.h"

#define EYE_SIDE 64u
#define CHUNK 512u

typedef struct {
    double drift_ppm;
    double power_hz;
    double eye_hz;
    uint64_t digest;
    uint32_t frame;
    uint32_t commands;
} board_state;

static uint64_t host_us(void)
{
    struct timespec now;

    clock_gettime(CLOCK_MONOTONIC, &now);
    return (uint64_t)now.tv_sec * 1000000u + (uint64_t)now.tv_nsec / 1000u;
}

static uint64_t board_us(const board_state *board)
{
    static uint64_t origin_us;
    uint64_t now_us = host_us();

    origin_us = origin_us == 0 ? now_us : origin_us;
    return 1000u + (uint64_t)((double)(now_us - origin_us) * (1.0 + board->drift_ppm / 1e6));
}

static void put_line(void *context, const uint8_t *bytes, size_t length)
{
    (void)context;
    while (length > 0) {
        ssize_t written = write(STDOUT_FILENO, bytes, length);

        if (written < 0 && errno != EINTR && errno != EAGAIN) {
            exit(0); /* the other end of the line is gone */
        }
        if (written > 0) {
            bytes += written;
            length -= (size_t)written;
        }
    }
}

static void carry_out(void *context, beheld_link *link, const beheld_wire_Packet *command,
                      beheld_wire_Ack *ack)
{
    board_state *board = context;

    (void)link;
    board->commands++;
    if (command->which_body == beheld_wire_Packet_set_camera_tag &&
        command->body.set_camera.rate_hz > 120u) {
        ack->result = beheld_wire_Result_RESULT_REFUSED;
        strcpy(ack->text, "rate above 120 Hz");
    }
    if (command->which_body == beheld_wire_Packet_haptic_tag) {
        /* The text carries how often commands were carried out: a repeated one must not count. */
        snprintf(ack->text, sizeof ack->text, "%u", (unsigned)board->commands);
    }
}

static void send_power(board_state *board, beheld_link *link)
{
    beheld_wire_Packet *packet = beheld_link_packet(link);

    packet->which_body = beheld_wire_Packet_power_tag;
    strcpy(packet->body.power.rail, "scene");
    packet->body.power.power_uw = 95000;
    packet->body.power.span_us = (uint32_t)(1e6 / board->power_hz);
    (void)beheld_link_send(link, board_us(board));
}

static void send_eye(board_state *board, beheld_link *link)
{
    uint64_t taken_us = board_us(board);

    for (uint32_t offset = 0; offset < EYE_SIDE * EYE_SIDE; offset += CHUNK) {
        beheld_wire_Packet *packet = beheld_link_packet(link);
        beheld_wire_EyeChunk *chunk = &packet->body.eye_chunk;

        packet->which_body = beheld_wire_Packet_eye_chunk_tag;
        chunk->frame = board->frame;
        chunk->width_px = EYE_SIDE;
        chunk->height_px = EYE_SIDE;
        chunk->offset = offset;
        chunk->pixels.size = CHUNK;
        for (uint32_t i = 0; i < CHUNK; i++) {
            chunk->pixels.bytes[i] = (uint8_t)(board->frame + offset + i);
        }
        (void)beheld_link_send(link, taken_us);
    }
    board->frame++;
}

static bool due(double hz, uint64_t now_us, uint64_t *next_us)
{
    if (hz <= 0 || now_us < *next_us) {
        return false;
    }
    *next_us = now_us + (uint64_t)(1e6 / hz);
    return true;
}

static void run(board_state *board)
{
    static beheld_link link;
    uint64_t power_us = 0, eye_us = 0;

    beheld_link_init(&link, board, put_line, carry_out, "reference 0.1", board->digest,
                     board_us(board));
    for (;;) {
        struct pollfd line = {.fd = STDIN_FILENO, .events = POLLIN};
        uint8_t bytes[256];

        if (poll(&line, 1, 2) > 0) {
            ssize_t count = read(STDIN_FILENO, bytes, sizeof bytes);

            if (count == 0 || (count < 0 && errno != EINTR && errno != EAGAIN)) {
                return;
            }
            for (ssize_t i = 0; i < count; i++) {
                beheld_link_byte(&link, bytes[i], board_us(board));
            }
        }
        beheld_link_tick(&link, board_us(board));
        if (due(board->power_hz, board_us(board), &power_us)) {
            send_power(board, &link);
        }
        if (due(board->eye_hz, board_us(board), &eye_us)) {
            send_eye(board, &link);
        }
    }
}

int main(int argc, char **argv)
{
    board_state board = {0};

    for (int i = 1; i + 1 < argc; i += 2) {
        if (strcmp(argv[i], "--digest") == 0) {
            board.digest = strtoull(argv[i + 1], NULL, 16);
        } else if (strcmp(argv[i], "--drift-ppm") == 0) {
            board.drift_ppm = atof(argv[i + 1]);
        } else if (strcmp(argv[i], "--power-hz") == 0) {
            board.power_hz = atof(argv[i + 1]);
        } else if (strcmp(argv[i], "--eye-hz") == 0) {
            board.eye_hz = atof(argv[i + 1]);
        } else {
            fprintf(stderr, "unknown option %s\n", argv[i]);
            return 2;
        }
    }
    run(&board);
    return 0;
}
