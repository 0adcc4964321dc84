/* The microcontroller's side of the conversation: hello, sequence numbers, commands once and only
 * once, events kept until they are confirmed, heartbeats, time replies. No allocation, no I/O, no
 * operating system.
 *
 * The board gives two functions: `send` puts bytes on the line, `act` carries out a command. It calls
 * `beheld_link_byte` for each byte received and `beheld_link_tick` now and then (every 10 ms or so),
 * both with its clock in microseconds. */
#ifndef BEHELD_LINK_H
#define BEHELD_LINK_H

#include "frame.h"
#include "wire.pb.h"

#define BEHELD_REMEMBERED 8u /* answers kept for commands that come again */
#define BEHELD_EVENTS 32u    /* events kept until the host has them; then the oldest is given up */
#define BEHELD_EVENT_US 100000u
#define BEHELD_SILENCE_US 3000000u
#define BEHELD_AWAKE_US 500000u /* not ticked for longer: the board was busy */
#define BEHELD_HELLO_US 100000u
#define BEHELD_HEARTBEAT_US 1000000u

typedef enum {
    BEHELD_GREETING, /* we say hello until we are answered */
    BEHELD_READY,
    BEHELD_REFUSED, /* the host has other message definitions */
} beheld_state;

typedef struct beheld_link beheld_link;

typedef void (*beheld_send)(void *board, const uint8_t *bytes, size_t length);
/* Carry out one command; fill `ack->result` and, if refused, `ack->text`. */
typedef void (*beheld_act)(void *board, beheld_link *link, const beheld_wire_Packet *command,
                           beheld_wire_Ack *ack);

typedef struct {
    bool used;
    uint32_t sequence;
    beheld_wire_Ack ack;
} beheld_answer;

/* What must not be lost: Worn and PrivacySwitch (`on`), Button (`value`, `on`), Fault (`value` is its
 * kind; `text` a string that stays). */
typedef struct {
    uint64_t t_us;
    pb_size_t body; /* beheld_wire_Packet_worn_tag, ... */
    uint32_t value;
    bool on;
    const char *text;
} beheld_event;

struct beheld_link {
    void *board;
    beheld_send send;
    beheld_act act;
    const char *name;
    uint64_t digest;
    uint32_t boot;      /* ours: another number after each start, not 0 */
    uint32_t host_boot; /* the host's, 0 while unknown */
    bool new_host;      /* another host program has greeted; whoever looks clears it */
    beheld_state state;
    beheld_receiver receiver;
    uint32_t sequence; /* of the next packet we send */
    uint32_t received;
    uint64_t heard_us;
    uint64_t ticked_us;
    uint64_t hello_us;
    uint64_t beat_us;
    beheld_answer answers[BEHELD_REMEMBERED];
    uint32_t next_answer;
    beheld_event events[BEHELD_EVENTS];
    uint32_t oldest_event; /* numbers, from 1 */
    uint32_t next_event;
    bool gave_up;      /* an event, for want of room; whoever looks clears it */
    uint64_t event_us; /* when unconfirmed events were sent last */
    beheld_wire_Packet incoming; /* kept here, not on the stack of a small board */
    beheld_wire_Packet outgoing;
    uint8_t payload[BEHELD_MAX_PAYLOAD];
    uint8_t frame[BEHELD_MAX_FRAME];
};

void beheld_link_init(beheld_link *link, void *board, beheld_send send, beheld_act act,
                      const char *name, uint64_t digest, uint32_t boot, uint64_t now_us);

void beheld_link_byte(beheld_link *link, uint8_t byte, uint64_t now_us);
void beheld_link_tick(beheld_link *link, uint64_t now_us);

/* A packet to fill and send: clear it, set `which_body` and `body`, then `beheld_link_send`. */
beheld_wire_Packet *beheld_link_packet(beheld_link *link);

/* Send `link->outgoing` with the next sequence number. `t_us` is when what it tells of happened.
 * While the link is not ready it is dropped (false), and the host will count it as lost; what does not fit
 * a payload is dropped as well. */
bool beheld_link_send(beheld_link *link, uint64_t t_us);

/* Keep an event and send it, again and again, until the host has confirmed it. */
void beheld_link_event(beheld_link *link, beheld_event event);
bool beheld_link_events_waiting(const beheld_link *link);

#endif
