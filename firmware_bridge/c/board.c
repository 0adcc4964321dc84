/* The reference microcontroller as an ordinary program: `glasses.c` on a board whose hardware is a socket.
 *
 *   board --digest HEX [--line FD] [--hardware FD] [--drift-ppm X]
 *
 * The line is a stream of bytes (standard input and output unless given). The hardware is a socket that
 * keeps message boundaries (SOCK_SEQPACKET): each message is one reading of a sensor, or one thing that
 * the board does. A message is a header, then what its kind says; numbers are little endian, 32 bits:
 *
 *   to the board     eye: width, height, exposure_us, pixels      imu: gyro x y z, accel x y z
 *                    power: rail of that number, value = uW, span_us
 *                    battery: permille, mV, mA, cdeg, charging    worn, button, privacy, ambient: value
 *                    fault: `which` is its kind                   reset: `which` is its cause
 *   from the board   camera: mode, rate_hz, width, height         leds: current_ma, strobe_us
 *                    indicator: value   haptic: ms, permille      sleep: value = ms, 0 awake
 *                    started: value = resets, `which` = cause
 *                    ending: value = events the host has not confirmed, of which presses of buttons
 *
 * A restart is a real one: the program runs itself anew, with a clock that begins again, and what the host
 * has not confirmed is gone. */
#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#include "glasses.h"

enum { EYE = 1, IMU, POWER, BATTERY, WORN, BUTTON, PRIVACY, AMBIENT, FAULT, RESET };
enum { CAMERA = 65, LEDS, INDICATOR, HAPTIC, SLEEP, STARTED, ENDING };

typedef struct {
    uint8_t kind;
    uint8_t which;
    uint16_t unused;
    uint32_t value;
} header;

#define LARGEST_EYE (320u * 320u)

static const char *const rails[] = {"eye_camera", "eye_light",       "scene_camera",
                                    "inertial",   "microcontroller", "processor",
                                    "accelerator"};

typedef struct {
    beheld_glasses glasses;
    char **arguments;
    uint64_t digest;
    double drift_ppm;
    uint64_t origin_us;
    uint32_t resets;
    uint32_t cause;
    int line_in;
    int line_out;
    int hardware;
} board;

static uint64_t machine_us(void)
{
    struct timespec now;

    clock_gettime(CLOCK_MONOTONIC, &now);
    return (uint64_t)now.tv_sec * 1000000u + (uint64_t)now.tv_nsec / 1000u;
}

static uint64_t board_us(const board *self)
{
    double passed_us = (double)(machine_us() - self->origin_us);

    return 1000u + (uint64_t)(passed_us * (1.0 + self->drift_ppm / 1e6));
}

/* --- what the board does ------------------------------------------------------------------------ */

static void put_line(void *context, const uint8_t *bytes, size_t length)
{
    const board *self = context;

    while (length > 0) {
        ssize_t written = write(self->line_out, bytes, length);

        if (written < 0 && errno != EINTR && errno != EAGAIN) {
            exit(0); /* the other end of the line is gone */
        }
        if (written > 0) {
            bytes += written;
            length -= (size_t)written;
        }
    }
}

static void tell(const board *self, header head, const uint32_t *body, size_t count)
{
    uint8_t message[sizeof head + 4 * sizeof(uint32_t)];

    if (self->hardware < 0) {
        return;
    }
    memcpy(message, &head, sizeof head);
    if (count > 0) {
        memcpy(message + sizeof head, body, count * sizeof(uint32_t));
    }
    if (send(self->hardware, message, sizeof head + count * sizeof(uint32_t), MSG_NOSIGNAL) < 0) {
        exit(0); /* the world is gone */
    }
}

static void set_camera(void *context, const beheld_wire_SetCamera *setting)
{
    header head = {.kind = CAMERA, .which = (uint8_t)setting->camera};
    uint32_t body[] = {(uint32_t)setting->mode, setting->rate_hz, setting->width_px,
                       setting->height_px};

    tell(context, head, body, 4);
}

static void set_leds(void *context, const beheld_wire_SetLeds *setting)
{
    header head = {.kind = LEDS, .which = (uint8_t)setting->eye};
    uint32_t body[] = {setting->current_ma, setting->strobe_us};

    tell(context, head, body, 2);
}

static void set_indicator(void *context, beheld_wire_Indicator light)
{
    header head = {.kind = INDICATOR, .value = (uint32_t)light};

    tell(context, head, NULL, 0);
}

static void pulse(void *context, const beheld_wire_Haptic *haptic)
{
    header head = {.kind = HAPTIC};
    uint32_t body[] = {haptic->duration_ms, haptic->strength_permille};

    tell(context, head, body, 2);
}

static void fall_asleep(void *context, uint32_t duration_ms)
{
    header head = {.kind = SLEEP, .value = duration_ms};

    tell(context, head, NULL, 0);
}

/* What dies with us, for those who count; a real board cannot tell any more. */
static void tell_ending(const board *self)
{
    const beheld_link *link = &self->glasses.link;
    header head = {.kind = ENDING, .value = link->next_event - link->oldest_event};
    uint32_t presses = 0;

    for (uint32_t number = link->oldest_event; number != link->next_event; number++) {
        presses += link->events[number % BEHELD_EVENTS].body == beheld_wire_Packet_button_tag;
    }
    tell(self, head, &presses, 1);
}

static void restart(board *self, uint32_t cause)
{
    char resets[16], why[16];
    char *fresh[32];
    int count = 0;

    for (char **argument = self->arguments; *argument != NULL && count < 24; argument++) {
        if (strcmp(*argument, "--resets") == 0 || strcmp(*argument, "--cause") == 0) {
            argument++;
            continue;
        }
        fresh[count++] = *argument;
    }
    tell_ending(self);
    snprintf(resets, sizeof resets, "%u", (unsigned)(self->resets + 1u));
    snprintf(why, sizeof why, "%u", (unsigned)cause);
    fresh[count++] = (char[]){"--resets"};
    fresh[count++] = resets;
    fresh[count++] = (char[]){"--cause"};
    fresh[count++] = why;
    fresh[count] = NULL;
    execv("/proc/self/exe", fresh);
    perror("execv");
    exit(1);
}

static void ordered_restart(void *context)
{
    restart(context, (uint32_t)beheld_wire_FaultKind_FAULT_NONE);
}

static const beheld_hardware hardware = {
    .send = put_line,
    .camera = set_camera,
    .leds = set_leds,
    .indicator = set_indicator,
    .haptic = pulse,
    .sleep = fall_asleep,
    .reset = ordered_restart,
};

/* --- what the board senses ---------------------------------------------------------------------- */

static void take_eye(board *self, header head, const uint8_t *body, size_t length, uint64_t now_us)
{
    beheld_wire_EyeChunk about = beheld_wire_EyeChunk_init_zero;
    uint32_t numbers[3];

    if (length < sizeof numbers) {
        return;
    }
    memcpy(numbers, body, sizeof numbers);
    if (length - sizeof numbers != (size_t)numbers[0] * numbers[1]) {
        return;
    }
    about.eye = head.which == 1u ? beheld_wire_Eye_EYE_RIGHT : beheld_wire_Eye_EYE_LEFT;
    about.width_px = numbers[0];
    about.height_px = numbers[1];
    about.exposure_us = numbers[2];
    beheld_glasses_eye(&self->glasses, &about, body + sizeof numbers, now_us);
}

static void take_battery(board *self, const uint8_t *body, uint64_t now_us)
{
    beheld_wire_Battery battery = beheld_wire_Battery_init_zero;
    int32_t numbers[5];

    memcpy(numbers, body, sizeof numbers);
    battery.charge_permille = (uint32_t)numbers[0];
    battery.voltage_mv = (uint32_t)numbers[1];
    battery.current_ma = numbers[2];
    battery.temperature_cdeg = numbers[3];
    battery.charging = numbers[4] != 0;
    beheld_glasses_battery(&self->glasses, &battery, now_us);
}

static void take_reading(board *self, header head, const uint8_t *body, size_t length)
{
    beheld_glasses *glasses = &self->glasses;
    uint64_t now_us = board_us(self);
    int32_t motion[6];
    uint32_t span_us;

    if (head.kind == EYE) {
        take_eye(self, head, body, length, now_us);
    } else if (head.kind == IMU && length == sizeof motion) {
        memcpy(motion, body, sizeof motion);
        beheld_glasses_imu(glasses, motion, motion + 3, now_us);
    } else if (head.kind == POWER && length == sizeof span_us &&
               head.which < sizeof rails / sizeof *rails) {
        memcpy(&span_us, body, sizeof span_us);
        beheld_glasses_power(glasses, rails[head.which], head.value, span_us, now_us);
    } else if (head.kind == BATTERY && length == 5 * sizeof(int32_t)) {
        take_battery(self, body, now_us);
    } else if (head.kind == WORN) {
        beheld_glasses_worn(glasses, head.value != 0, now_us);
    } else if (head.kind == BUTTON) {
        beheld_glasses_button(glasses, head.which, head.value != 0, now_us);
    } else if (head.kind == PRIVACY) {
        beheld_glasses_privacy(glasses, head.value != 0, now_us);
    } else if (head.kind == AMBIENT) {
        beheld_glasses_ambient(glasses, head.value, now_us);
    } else if (head.kind == FAULT) {
        beheld_glasses_fault(glasses, (beheld_wire_FaultKind)head.which, "reported", now_us);
    } else if (head.kind == RESET) {
        restart(self, head.which);
    }
}

/* One reading a turn: the line may hold us up with each, and commands must not wait for all of them. */
static void read_hardware(board *self)
{
    static uint8_t message[sizeof(header) + 3 * sizeof(uint32_t) + LARGEST_EYE];
    header head;
    ssize_t count = recv(self->hardware, message, sizeof message, MSG_DONTWAIT);

    if (count == 0 || (count < 0 && errno != EAGAIN && errno != EINTR)) {
        exit(0);
    }
    if (count >= (ssize_t)sizeof head) {
        memcpy(&head, message, sizeof head);
        take_reading(self, head, message + sizeof head, (size_t)count - sizeof head);
    }
}

static void read_line(board *self)
{
    uint8_t bytes[4096];
    ssize_t count = read(self->line_in, bytes, sizeof bytes);

    if (count == 0 || (count < 0 && errno != EINTR && errno != EAGAIN)) {
        exit(0);
    }
    for (ssize_t i = 0; i < count; i++) {
        beheld_glasses_byte(&self->glasses, bytes[i], board_us(self));
    }
}

static void run(board *self)
{
    beheld_start start = {.firmware = "reference 0.2",
                          .board = "emulated",
                          .digest = self->digest,
                          .boot = (uint32_t)(machine_us() ^ (uint64_t)getpid() << 20),
                          .resets = self->resets,
                          .cause = (beheld_wire_FaultKind)self->cause};
    header started = {.kind = STARTED, .which = (uint8_t)self->cause, .value = self->resets};

    self->origin_us = machine_us();
    tell(self, started, NULL, 0);
    beheld_glasses_init(&self->glasses, &hardware, self, &start, board_us(self));
    for (;;) {
        struct pollfd ready[] = {{.fd = self->line_in, .events = POLLIN},
                                 {.fd = self->hardware, .events = POLLIN}};

        (void)poll(ready, 2, 5);
        if (ready[0].revents != 0) {
            read_line(self);
        }
        if (ready[1].revents != 0) {
            read_hardware(self);
        }
        beheld_glasses_tick(&self->glasses, board_us(self));
    }
}

int main(int argc, char **argv)
{
    static board self = {.line_in = STDIN_FILENO, .line_out = STDOUT_FILENO, .hardware = -1};

    signal(SIGPIPE, SIG_IGN); /* a line that is hung up is an error of `write`, not the end */
    self.arguments = argv;
    for (int i = 1; i + 1 < argc; i += 2) {
        const char *value = argv[i + 1];

        if (strcmp(argv[i], "--digest") == 0) {
            self.digest = strtoull(value, NULL, 16);
        } else if (strcmp(argv[i], "--drift-ppm") == 0) {
            self.drift_ppm = atof(value);
        } else if (strcmp(argv[i], "--line") == 0) {
            self.line_in = self.line_out = atoi(value);
        } else if (strcmp(argv[i], "--hardware") == 0) {
            self.hardware = atoi(value);
        } else if (strcmp(argv[i], "--resets") == 0) {
            self.resets = (uint32_t)atoi(value);
        } else if (strcmp(argv[i], "--cause") == 0) {
            self.cause = (uint32_t)atoi(value);
        } else {
            fprintf(stderr, "unknown option %s\n", argv[i]);
            return 2;
        }
    }
    run(&self);
    return 0;
}
