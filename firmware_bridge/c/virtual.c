/* The board in virtual time, as a library: whoever loads it is its line, its hardware and its clock. The
 * tests drive it together with the host's side of the link through hours of line time in seconds. */
#include <stdlib.h>
#include <string.h>

#include "glasses.h"

#define PULSES 4096u

typedef struct {
    beheld_glasses glasses;
    uint8_t said[1u << 17];
    size_t length;
    uint32_t pulses[PULSES]; /* the duration_ms of each, in order */
    uint32_t pulse_count;
} virtual_board;

virtual_board *virtual_start(uint64_t digest, uint32_t boot, uint64_t now_us);
void virtual_end(virtual_board *self);
void virtual_hear(virtual_board *self, const uint8_t *bytes, size_t length, uint64_t now_us);
void virtual_tick(virtual_board *self, uint64_t now_us);
void virtual_press(virtual_board *self, uint32_t button, uint64_t now_us);
void virtual_power(virtual_board *self, uint32_t power_uw, uint64_t now_us);
size_t virtual_take_said(virtual_board *self, uint8_t *bytes);
size_t virtual_take_pulses(virtual_board *self, uint32_t *numbers);
size_t virtual_held(const virtual_board *self, uint32_t *buttons);
uint32_t virtual_waiting(const virtual_board *self);
bool virtual_ready(const virtual_board *self);

static void put(void *context, const uint8_t *bytes, size_t length)
{
    virtual_board *self = context;

    if (self->length + length <= sizeof self->said) { /* else nobody listens: as a full line */
        memcpy(self->said + self->length, bytes, length);
        self->length += length;
    }
}

static void camera(void *context, const beheld_wire_SetCamera *setting)
{
    (void)context;
    (void)setting;
}

static void leds(void *context, const beheld_wire_SetLeds *setting)
{
    (void)context;
    (void)setting;
}

static void indicator(void *context, beheld_wire_Indicator light)
{
    (void)context;
    (void)light;
}

static void haptic(void *context, const beheld_wire_Haptic *pulse)
{
    virtual_board *self = context;

    if (self->pulse_count < PULSES) {
        self->pulses[self->pulse_count++] = pulse->duration_ms;
    }
}

static void fall_asleep(void *context, uint32_t duration_ms)
{
    (void)context;
    (void)duration_ms;
}

static void reset(void *context)
{
    (void)context;
}

static const beheld_hardware hardware = {
    .send = put,
    .camera = camera,
    .leds = leds,
    .indicator = indicator,
    .haptic = haptic,
    .sleep = fall_asleep,
    .reset = reset,
};

virtual_board *virtual_start(uint64_t digest, uint32_t boot, uint64_t now_us)
{
    beheld_start start = {.firmware = "virtual", .board = "virtual", .digest = digest, .boot = boot};
    virtual_board *self = calloc(1, sizeof *self);

    if (self != NULL) {
        beheld_glasses_init(&self->glasses, &hardware, self, &start, now_us);
    }
    return self;
}

void virtual_end(virtual_board *self)
{
    free(self);
}

void virtual_hear(virtual_board *self, const uint8_t *bytes, size_t length, uint64_t now_us)
{
    for (size_t i = 0; i < length; i++) {
        beheld_glasses_byte(&self->glasses, bytes[i], now_us);
    }
}

void virtual_tick(virtual_board *self, uint64_t now_us)
{
    beheld_glasses_tick(&self->glasses, now_us);
}

void virtual_press(virtual_board *self, uint32_t button, uint64_t now_us)
{
    beheld_glasses_button(&self->glasses, button, true, now_us);
}

void virtual_power(virtual_board *self, uint32_t power_uw, uint64_t now_us)
{
    beheld_glasses_power(&self->glasses, "processor", power_uw, 1000u, now_us);
}

size_t virtual_take_said(virtual_board *self, uint8_t *bytes)
{
    size_t length = self->length;

    memcpy(bytes, self->said, length);
    self->length = 0;
    return length;
}

size_t virtual_take_pulses(virtual_board *self, uint32_t *numbers)
{
    size_t count = self->pulse_count;

    memcpy(numbers, self->pulses, count * sizeof *numbers);
    self->pulse_count = 0;
    return count;
}

/* The buttons whose presses the host has not confirmed. */
size_t virtual_held(const virtual_board *self, uint32_t *buttons)
{
    const beheld_link *link = &self->glasses.link;
    size_t count = 0;

    for (uint32_t number = link->oldest_event; number != link->next_event; number++) {
        const beheld_event *event = &link->events[number % BEHELD_EVENTS];

        if (event->body == beheld_wire_Packet_button_tag) {
            buttons[count++] = event->value;
        }
    }
    return count;
}

/* All events that the host has not confirmed. */
uint32_t virtual_waiting(const virtual_board *self)
{
    return self->glasses.link.next_event - self->glasses.link.oldest_event;
}

bool virtual_ready(const virtual_board *self)
{
    return self->glasses.link.state == BEHELD_READY;
}
