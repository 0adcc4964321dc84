/* What the microcontroller of the glasses does with its sensors and with commands, on any board: which
 * camera may run, the order of the privacy switch, batches of motion samples, heat, sleep, restart.
 *
 * The board gives `beheld_hardware`, a table of what it can switch, and calls the functions below from
 * one thread: one for each reading of a sensor, `beheld_glasses_byte` for each byte of the line,
 * `beheld_glasses_tick` every few milliseconds. Times are the board's own microseconds. */
#ifndef BEHELD_GLASSES_H
#define BEHELD_GLASSES_H

#include "link.h"

#define BEHELD_CAMERAS 3u /* as `Camera` in wire.proto */
#define BEHELD_IMU_BATCH 10u
#define BEHELD_HOTTEST_CDEG 4500 /* cameras go off here ... */
#define BEHELD_COOLED_CDEG 4200  /* ... and may go on again here */
#define BEHELD_MOST_LED_MA 50u
#define BEHELD_LONGEST_STROBE_US 5000u
#define BEHELD_RESET_WAIT_US 200000u /* for the answer and unconfirmed events to leave */

typedef struct {
    void (*send)(void *board, const uint8_t *bytes, size_t length);
    void (*camera)(void *board, const beheld_wire_SetCamera *setting); /* the rail first, then the mode */
    void (*leds)(void *board, const beheld_wire_SetLeds *setting);
    void (*indicator)(void *board, beheld_wire_Indicator light);
    void (*haptic)(void *board, const beheld_wire_Haptic *pulse);
    void (*sleep)(void *board, uint32_t duration_ms); /* 0: awake again */
    void (*reset)(void *board);
} beheld_hardware;

typedef struct {
    const char *firmware;
    const char *board;
    uint64_t digest;
    uint32_t boot;   /* any number that the last start did not have, not 0 */
    uint32_t resets; /* since power came */
    beheld_wire_FaultKind cause; /* of this start; FAULT_NONE for power-on and ordered restarts */
} beheld_start;

typedef struct {
    beheld_link link;
    const beheld_hardware *hardware;
    void *board;
    beheld_start start;
    beheld_wire_SetCamera cameras[BEHELD_CAMERAS];
    uint32_t frames[2];
    beheld_wire_ImuBatch imu;
    uint64_t imu_us;
    bool worn;
    bool private_;
    bool hot;
    uint64_t asleep_until_us; /* 0: awake */
    uint64_t reset_us;        /* 0: no restart was ordered */
} beheld_glasses;

void beheld_glasses_init(beheld_glasses *glasses, const beheld_hardware *hardware, void *board,
                         const beheld_start *start, uint64_t now_us);
void beheld_glasses_byte(beheld_glasses *glasses, uint8_t byte, uint64_t now_us);
void beheld_glasses_tick(beheld_glasses *glasses, uint64_t now_us);

/* One 8-bit image, row-major, taken at `t_us`. Goes out in chunks if that camera is on. */
void beheld_glasses_eye(beheld_glasses *glasses, const beheld_wire_EyeChunk *about,
                        const uint8_t *pixels, uint64_t t_us);
void beheld_glasses_imu(beheld_glasses *glasses, const int32_t gyro_mdeg_s[3],
                        const int32_t accel_mm_s2[3], uint64_t t_us);
void beheld_glasses_power(beheld_glasses *glasses, const char *rail, uint32_t power_uw,
                          uint32_t span_us, uint64_t t_us);
void beheld_glasses_battery(beheld_glasses *glasses, const beheld_wire_Battery *battery, uint64_t t_us);
void beheld_glasses_ambient(beheld_glasses *glasses, uint32_t illuminance_mlux, uint64_t t_us);
void beheld_glasses_worn(beheld_glasses *glasses, bool worn, uint64_t t_us);
void beheld_glasses_button(beheld_glasses *glasses, uint32_t button, bool pressed, uint64_t t_us);
void beheld_glasses_privacy(beheld_glasses *glasses, bool on, uint64_t t_us);
void beheld_glasses_fault(beheld_glasses *glasses, beheld_wire_FaultKind kind, const char *text,
                          uint64_t t_us);

#endif
