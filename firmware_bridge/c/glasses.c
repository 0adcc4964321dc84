#include "glasses.h"

#include <string.h>

#define CHUNK sizeof(((beheld_wire_EyeChunk *)0)->pixels.bytes)

static void act(void *context, beheld_link *link, const beheld_wire_Packet *command,
                beheld_wire_Ack *ack);

static void put(void *context, const uint8_t *bytes, size_t length)
{
    beheld_glasses *glasses = context;

    glasses->hardware->send(glasses->board, bytes, length);
}

static void say(beheld_glasses *glasses, beheld_wire_LogLevel level, const char *text, uint64_t now_us)
{
    beheld_wire_Packet *packet = beheld_link_packet(&glasses->link);

    packet->which_body = beheld_wire_Packet_log_tag;
    packet->body.log.level = level;
    strncpy(packet->body.log.text, text, sizeof packet->body.log.text - 1u);
    (void)beheld_link_send(&glasses->link, now_us);
}

static void camera_off(beheld_glasses *glasses, uint32_t camera)
{
    beheld_wire_SetCamera off = beheld_wire_SetCamera_init_zero;

    off.camera = (beheld_wire_Camera)camera;
    glasses->cameras[camera] = off;
    glasses->hardware->camera(glasses->board, &off);
}

/* The scene camera first, then the eyes and their lamps; the indicator last, so that it never says
 * less than what is going on. */
static void everything_off(beheld_glasses *glasses)
{
    beheld_wire_SetLeds dark = beheld_wire_SetLeds_init_zero;

    for (uint32_t camera = 0; camera < BEHELD_CAMERAS; camera++) {
        camera_off(glasses, camera);
    }
    for (uint32_t eye = 0; eye < 2u; eye++) {
        dark.eye = (beheld_wire_Eye)eye;
        glasses->hardware->leds(glasses->board, &dark);
    }
    glasses->hardware->indicator(glasses->board, beheld_wire_Indicator_INDICATOR_OFF);
}

void beheld_glasses_init(beheld_glasses *glasses, const beheld_hardware *hardware, void *board,
                         const beheld_start *start, uint64_t now_us)
{
    memset(glasses, 0, sizeof *glasses);
    glasses->hardware = hardware;
    glasses->board = board;
    glasses->start = *start;
    beheld_link_init(&glasses->link, glasses, put, act, start->firmware, start->digest,
                     start->boot, now_us);
    everything_off(glasses);
    if (start->cause != beheld_wire_FaultKind_FAULT_NONE) {
        beheld_glasses_fault(glasses, start->cause, "restarted", now_us);
    }
}

static bool awake(const beheld_glasses *glasses)
{
    return glasses->asleep_until_us == 0;
}

static void wake(beheld_glasses *glasses)
{
    if (!awake(glasses)) {
        glasses->asleep_until_us = 0;
        glasses->hardware->sleep(glasses->board, 0);
    }
}

static void tell_states(beheld_glasses *glasses, uint64_t now_us)
{
    beheld_event worn = {.t_us = now_us, .body = beheld_wire_Packet_worn_tag, .on = glasses->worn};
    beheld_event private_ = {.t_us = now_us,
                             .body = beheld_wire_Packet_privacy_switch_tag,
                             .on = glasses->private_};

    beheld_link_event(&glasses->link, worn);
    beheld_link_event(&glasses->link, private_);
    say(glasses, beheld_wire_LogLevel_LOG_INFO, glasses->start.firmware, now_us);
}

void beheld_glasses_byte(beheld_glasses *glasses, uint8_t byte, uint64_t now_us)
{
    beheld_link_byte(&glasses->link, byte, now_us);
}

void beheld_glasses_tick(beheld_glasses *glasses, uint64_t now_us)
{
    beheld_link *link = &glasses->link;

    beheld_link_tick(link, now_us);
    /* A program that has not heard of us must know where we stand; and what was given up may have been
     * that the switch was closed. To tell it must not push out others in its turn. */
    if (link->state == BEHELD_READY && (link->new_host || link->gave_up) &&
        link->next_event - link->oldest_event <= BEHELD_EVENTS - 2u) {
        link->new_host = false;
        link->gave_up = false;
        tell_states(glasses, now_us);
    }
    if (!awake(glasses) && now_us >= glasses->asleep_until_us) {
        wake(glasses);
    }
    if (glasses->reset_us != 0 && (now_us - glasses->reset_us >= BEHELD_RESET_WAIT_US ||
                                   !beheld_link_events_waiting(&glasses->link))) {
        glasses->reset_us = 0;
        glasses->hardware->reset(glasses->board);
    }
}

/* --- commands ----------------------------------------------------------------------------------- */

static void refuse(beheld_wire_Ack *ack, const char *why)
{
    ack->result = beheld_wire_Result_RESULT_REFUSED;
    strncpy(ack->text, why, sizeof ack->text - 1u);
}

static void set_camera(beheld_glasses *glasses, const beheld_wire_SetCamera *setting,
                       beheld_wire_Ack *ack)
{
    bool on = setting->mode != beheld_wire_CameraMode_CAMERA_OFF;

    if ((uint32_t)setting->camera >= BEHELD_CAMERAS) {
        refuse(ack, "no such camera");
    } else if (on && glasses->private_) {
        refuse(ack, "the privacy switch is on");
    } else if (on && glasses->hot) {
        refuse(ack, "too hot");
    } else if (on && !awake(glasses)) {
        refuse(ack, "asleep");
    } else if (setting->rate_hz > 120u) {
        refuse(ack, "rate above 120 Hz");
    } else {
        glasses->cameras[setting->camera] = *setting;
        glasses->hardware->camera(glasses->board, setting);
    }
}

static void set_leds(beheld_glasses *glasses, const beheld_wire_SetLeds *setting,
                     beheld_wire_Ack *ack)
{
    if (setting->current_ma > BEHELD_MOST_LED_MA) {
        refuse(ack, "LED current above 50 mA");
    } else if (setting->strobe_us > BEHELD_LONGEST_STROBE_US) {
        refuse(ack, "strobe above 5000 us");
    } else if (setting->current_ma > 0 && glasses->private_) {
        refuse(ack, "the privacy switch is on");
    } else {
        glasses->hardware->leds(glasses->board, setting);
    }
}

static void set_indicator(beheld_glasses *glasses, beheld_wire_Indicator light, beheld_wire_Ack *ack)
{
    if (light == beheld_wire_Indicator_INDICATOR_RECORDING && glasses->private_) {
        refuse(ack, "the privacy switch is on");
    } else {
        glasses->hardware->indicator(glasses->board, light);
    }
}

static void go_to_sleep(beheld_glasses *glasses, uint32_t duration_ms, uint64_t now_us)
{
    everything_off(glasses);
    glasses->asleep_until_us = now_us + (uint64_t)duration_ms * 1000u;
    glasses->hardware->sleep(glasses->board, duration_ms);
}

static void send_info(beheld_glasses *glasses, uint64_t now_us)
{
    beheld_wire_Packet *packet = beheld_link_packet(&glasses->link);
    beheld_wire_Info *info = &packet->body.info;

    packet->which_body = beheld_wire_Packet_info_tag;
    strncpy(info->firmware, glasses->start.firmware, sizeof info->firmware - 1u);
    strncpy(info->board, glasses->start.board, sizeof info->board - 1u);
    info->uptime_s = (uint32_t)(now_us / 1000000u);
    info->resets = glasses->start.resets;
    (void)beheld_link_send(&glasses->link, now_us);
}

static void act(void *context, beheld_link *link, const beheld_wire_Packet *command,
                beheld_wire_Ack *ack)
{
    beheld_glasses *glasses = context;
    uint64_t now_us = link->heard_us;

    switch (command->which_body) {
    case beheld_wire_Packet_set_camera_tag:
        set_camera(glasses, &command->body.set_camera, ack);
        break;
    case beheld_wire_Packet_set_leds_tag:
        set_leds(glasses, &command->body.set_leds, ack);
        break;
    case beheld_wire_Packet_set_indicator_tag:
        set_indicator(glasses, command->body.set_indicator.indicator, ack);
        break;
    case beheld_wire_Packet_haptic_tag:
        glasses->hardware->haptic(glasses->board, &command->body.haptic);
        break;
    case beheld_wire_Packet_sleep_tag:
        go_to_sleep(glasses, command->body.sleep.duration_ms, now_us);
        break;
    case beheld_wire_Packet_reboot_tag:
        glasses->reset_us = now_us;
        break;
    case beheld_wire_Packet_get_info_tag:
        send_info(glasses, now_us);
        break;
    default:
        ack->result = beheld_wire_Result_RESULT_UNKNOWN_COMMAND;
        break;
    }
}

/* --- sensors ------------------------------------------------------------------------------------ */

void beheld_glasses_eye(beheld_glasses *glasses, const beheld_wire_EyeChunk *about,
                        const uint8_t *pixels, uint64_t t_us)
{
    uint32_t eye = about->eye == beheld_wire_Eye_EYE_RIGHT ? 1u : 0u;
    size_t size = (size_t)about->width_px * about->height_px;

    if (!awake(glasses) ||
        glasses->cameras[beheld_wire_Camera_CAMERA_EYE_LEFT + eye].mode ==
            beheld_wire_CameraMode_CAMERA_OFF) {
        return; /* a rail that is off gives no picture */
    }
    for (size_t offset = 0; offset < size; offset += CHUNK) {
        beheld_wire_Packet *packet = beheld_link_packet(&glasses->link);
        beheld_wire_EyeChunk *chunk = &packet->body.eye_chunk;
        size_t length = size - offset < CHUNK ? size - offset : CHUNK;

        packet->which_body = beheld_wire_Packet_eye_chunk_tag;
        chunk->eye = about->eye;
        chunk->camera = about->camera;
        chunk->frame = glasses->frames[eye];
        chunk->width_px = about->width_px;
        chunk->height_px = about->height_px;
        chunk->exposure_us = about->exposure_us;
        chunk->offset = (uint32_t)offset;
        chunk->pixels.size = (pb_size_t)length;
        memcpy(chunk->pixels.bytes, pixels + offset, length);
        (void)beheld_link_send(&glasses->link, t_us);
    }
    glasses->frames[eye]++;
}

void beheld_glasses_imu(beheld_glasses *glasses, const int32_t gyro_mdeg_s[3],
                        const int32_t accel_mm_s2[3], uint64_t t_us)
{
    beheld_wire_ImuBatch *batch = &glasses->imu;
    beheld_wire_Packet *packet;

    if (!awake(glasses)) {
        batch->gyro_mdeg_s_count = batch->accel_mm_s2_count = 0;
        glasses->imu_us = 0;
        return;
    }
    for (uint32_t axis = 0; axis < 3u; axis++) {
        batch->gyro_mdeg_s[batch->gyro_mdeg_s_count++] = gyro_mdeg_s[axis];
        batch->accel_mm_s2[batch->accel_mm_s2_count++] = accel_mm_s2[axis];
    }
    if (batch->gyro_mdeg_s_count < 3u * BEHELD_IMU_BATCH) {
        return;
    }
    if (glasses->imu_us != 0) { /* the mean distance since the end of the last batch */
        batch->interval_us = (uint32_t)((t_us - glasses->imu_us) / BEHELD_IMU_BATCH);
    }
    glasses->imu_us = t_us;
    packet = beheld_link_packet(&glasses->link);
    packet->which_body = beheld_wire_Packet_imu_batch_tag;
    packet->body.imu_batch = *batch;
    (void)beheld_link_send(&glasses->link, t_us);
    batch->gyro_mdeg_s_count = batch->accel_mm_s2_count = 0;
}

void beheld_glasses_power(beheld_glasses *glasses, const char *rail, uint32_t power_uw,
                          uint32_t span_us, uint64_t t_us)
{
    beheld_wire_Packet *packet = beheld_link_packet(&glasses->link);

    packet->which_body = beheld_wire_Packet_power_tag;
    strncpy(packet->body.power.rail, rail, sizeof packet->body.power.rail - 1u);
    packet->body.power.power_uw = power_uw;
    packet->body.power.span_us = span_us;
    (void)beheld_link_send(&glasses->link, t_us);
}

void beheld_glasses_battery(beheld_glasses *glasses, const beheld_wire_Battery *battery, uint64_t t_us)
{
    beheld_wire_Packet *packet;

    if (!glasses->hot && battery->temperature_cdeg >= BEHELD_HOTTEST_CDEG) {
        glasses->hot = true;
        everything_off(glasses);
        beheld_glasses_fault(glasses, beheld_wire_FaultKind_FAULT_OVERHEATED, "cameras are off", t_us);
    } else if (glasses->hot && battery->temperature_cdeg <= BEHELD_COOLED_CDEG) {
        glasses->hot = false;
    }
    packet = beheld_link_packet(&glasses->link);
    packet->which_body = beheld_wire_Packet_battery_tag;
    packet->body.battery = *battery;
    (void)beheld_link_send(&glasses->link, t_us);
}

void beheld_glasses_ambient(beheld_glasses *glasses, uint32_t illuminance_mlux, uint64_t t_us)
{
    beheld_wire_Packet *packet = beheld_link_packet(&glasses->link);

    packet->which_body = beheld_wire_Packet_ambient_light_tag;
    packet->body.ambient_light.illuminance_mlux = illuminance_mlux;
    (void)beheld_link_send(&glasses->link, t_us);
}

void beheld_glasses_worn(beheld_glasses *glasses, bool worn, uint64_t t_us)
{
    beheld_event event = {.t_us = t_us, .body = beheld_wire_Packet_worn_tag, .on = worn};

    if (glasses->worn != worn) {
        glasses->worn = worn;
        wake(glasses);
        beheld_link_event(&glasses->link, event);
    }
}

void beheld_glasses_button(beheld_glasses *glasses, uint32_t button, bool pressed, uint64_t t_us)
{
    beheld_event event = {.t_us = t_us,
                          .body = beheld_wire_Packet_button_tag,
                          .value = button,
                          .on = pressed};

    wake(glasses);
    beheld_link_event(&glasses->link, event);
}

/* Hardware order: camera rails off, light off, and only then is it told. */
void beheld_glasses_privacy(beheld_glasses *glasses, bool on, uint64_t t_us)
{
    beheld_event event = {.t_us = t_us, .body = beheld_wire_Packet_privacy_switch_tag, .on = on};

    if (glasses->private_ != on) {
        glasses->private_ = on;
        if (on) {
            everything_off(glasses);
        }
        beheld_link_event(&glasses->link, event);
    }
}

void beheld_glasses_fault(beheld_glasses *glasses, beheld_wire_FaultKind kind, const char *text,
                          uint64_t t_us)
{
    beheld_event event = {.t_us = t_us,
                          .body = beheld_wire_Packet_fault_tag,
                          .value = (uint32_t)kind,
                          .text = text};

    beheld_link_event(&glasses->link, event);
}
