#include "link.h"

#include <string.h>

#include "pb_decode.h"
#include "pb_encode.h"

static void greet(beheld_link *link, bool reply, uint64_t now_us);

void beheld_link_init(beheld_link *link, void *board, beheld_send send, beheld_act act,
                      const char *name, uint64_t digest, uint32_t boot, uint64_t now_us)
{
    memset(link, 0, sizeof *link);
    link->board = board;
    link->send = send;
    link->act = act;
    link->name = name;
    link->digest = digest;
    link->boot = boot;
    link->oldest_event = 1;
    link->next_event = 1;
    link->state = BEHELD_GREETING;
    link->heard_us = now_us;
    link->ticked_us = now_us;
    link->beat_us = now_us;
    beheld_receiver_init(&link->receiver);
    greet(link, false, now_us);
}

beheld_wire_Packet *beheld_link_packet(beheld_link *link)
{
    memset(&link->outgoing, 0, sizeof link->outgoing);
    return &link->outgoing;
}

bool beheld_link_send(beheld_link *link, uint64_t t_us)
{
    pb_ostream_t stream = pb_ostream_from_buffer(link->payload, sizeof link->payload);
    size_t length;

    if (link->state != BEHELD_READY && link->outgoing.which_body != beheld_wire_Packet_hello_tag) {
        link->sequence++; /* the gap tells the host what it has missed */
        return false;
    }
    link->outgoing.sequence = link->sequence;
    link->outgoing.t_us = t_us;
    if (!pb_encode(&stream, beheld_wire_Packet_fields, &link->outgoing)) {
        return false;
    }
    link->sequence++;
    length = beheld_encode(link->payload, stream.bytes_written, link->frame);
    link->send(link->board, link->frame, length);
    return true;
}

static void copy_text(char *out, size_t size, const char *text)
{
    size_t length = strlen(text);

    if (length >= size) {
        length = size - 1;
    }
    memcpy(out, text, length);
    out[length] = '\0';
}

static void greet(beheld_link *link, bool reply, uint64_t now_us)
{
    beheld_wire_Packet *packet = beheld_link_packet(link);

    packet->which_body = beheld_wire_Packet_hello_tag;
    packet->body.hello.digest = link->digest;
    packet->body.hello.reply = reply;
    packet->body.hello.boot = link->boot;
    packet->body.hello.to_boot = link->host_boot;
    copy_text(packet->body.hello.name, sizeof packet->body.hello.name, link->name);
    link->hello_us = now_us;
    (void)beheld_link_send(link, now_us);
}

static void send_event(beheld_link *link, uint32_t number)
{
    const beheld_event *event = &link->events[number % BEHELD_EVENTS];
    beheld_wire_Packet *packet = beheld_link_packet(link);

    packet->event = number;
    packet->oldest_event = link->oldest_event;
    packet->event_boot = link->boot;
    packet->which_body = event->body;
    switch (event->body) {
    case beheld_wire_Packet_worn_tag:
        packet->body.worn.worn = event->on;
        break;
    case beheld_wire_Packet_button_tag:
        packet->body.button.button = event->value;
        packet->body.button.pressed = event->on;
        break;
    case beheld_wire_Packet_privacy_switch_tag:
        packet->body.privacy_switch.on = event->on;
        break;
    default:
        packet->which_body = beheld_wire_Packet_fault_tag;
        packet->body.fault.kind = (beheld_wire_FaultKind)event->value;
        copy_text(packet->body.fault.text, sizeof packet->body.fault.text,
                  event->text == NULL ? "" : event->text);
        break;
    }
    (void)beheld_link_send(link, event->t_us);
}

static void send_waiting_events(beheld_link *link, uint64_t now_us)
{
    link->event_us = now_us;
    for (uint32_t number = link->oldest_event; number != link->next_event; number++) {
        send_event(link, number);
    }
}

void beheld_link_event(beheld_link *link, beheld_event event)
{
    if (link->next_event - link->oldest_event == BEHELD_EVENTS) {
        link->oldest_event++;
        link->gave_up = true;
    }
    link->events[link->next_event % BEHELD_EVENTS] = event;
    link->next_event++;
    send_event(link, link->next_event - 1u);
}

bool beheld_link_events_waiting(const beheld_link *link)
{
    return link->oldest_event != link->next_event;
}

static void take_events_received(beheld_link *link, const beheld_wire_EventsReceived *received)
{
    /* Numbers from before our start, or of events we do not have, say nothing. */
    if (received->boot == link->boot &&
        received->upto - link->oldest_event < link->next_event - link->oldest_event) {
        link->oldest_event = received->upto + 1u;
    }
}

static void take_hello(beheld_link *link, const beheld_wire_Hello *hello, uint64_t now_us)
{
    bool same = hello->digest == link->digest;
    bool known = hello->to_boot == link->boot; /* else it is for whoever was here before us */

    if (same && hello->boot != link->host_boot) { /* its sequence numbers begin anew */
        link->host_boot = hello->boot;
        link->new_host = true;
        for (size_t i = 0; i < BEHELD_REMEMBERED; i++) {
            link->answers[i].used = false;
        }
    }
    link->state = !same ? BEHELD_REFUSED : known ? BEHELD_READY : BEHELD_GREETING;
    if (!hello->reply || (same && !known)) {
        /* When refused too, so that the host can name both versions. */
        greet(link, known || !same, now_us);
    }
    if (link->state == BEHELD_READY) {
        send_waiting_events(link, now_us);
    }
}

/* Who sends it may have started anew, and we have missed the greeting. */
static void take_heartbeat(beheld_link *link, const beheld_wire_Heartbeat *beat, uint64_t now_us)
{
    if (beat->boot != link->host_boot) {
        link->state = BEHELD_GREETING;
        greet(link, false, now_us);
    }
}

static void send_ack(beheld_link *link, const beheld_wire_Ack *ack, uint64_t now_us)
{
    beheld_wire_Packet *packet = beheld_link_packet(link);

    packet->which_body = beheld_wire_Packet_ack_tag;
    packet->body.ack = *ack;
    (void)beheld_link_send(link, now_us);
}

/* A command that was carried out before is answered again and not carried out again. */
static void take_command(beheld_link *link, uint64_t now_us)
{
    uint32_t sequence = link->incoming.sequence;
    beheld_answer *answer;

    for (size_t i = 0; i < BEHELD_REMEMBERED; i++) {
        if (link->answers[i].used && link->answers[i].sequence == sequence) {
            send_ack(link, &link->answers[i].ack, now_us);
            return;
        }
    }
    answer = &link->answers[link->next_answer++ % BEHELD_REMEMBERED];
    memset(answer, 0, sizeof *answer);
    answer->used = true;
    answer->sequence = sequence;
    answer->ack.of_sequence = sequence;
    link->act(link->board, link, &link->incoming, &answer->ack);
    send_ack(link, &answer->ack, now_us);
}

static void take_time_request(beheld_link *link, uint64_t now_us)
{
    uint64_t host_us = link->incoming.body.time_request.host_us;
    beheld_wire_Packet *packet = beheld_link_packet(link);

    packet->which_body = beheld_wire_Packet_time_reply_tag;
    packet->body.time_reply.host_us = host_us;
    packet->body.time_reply.received_us = now_us;
    (void)beheld_link_send(link, now_us);
}

static bool is_command(pb_size_t body)
{
    return body >= beheld_wire_Packet_set_camera_tag && body <= beheld_wire_Packet_get_info_tag;
}

static void take(beheld_link *link, size_t length, uint64_t now_us)
{
    pb_istream_t stream = pb_istream_from_buffer(link->receiver.content, length);

    memset(&link->incoming, 0, sizeof link->incoming);
    if (!pb_decode(&stream, beheld_wire_Packet_fields, &link->incoming)) {
        link->receiver.damaged++;
        return;
    }
    link->received++;
    link->heard_us = now_us;
    if (link->incoming.which_body == beheld_wire_Packet_hello_tag) {
        take_hello(link, &link->incoming.body.hello, now_us);
    } else if (link->state != BEHELD_READY) {
        return;
    } else if (link->incoming.which_body == beheld_wire_Packet_time_request_tag) {
        take_time_request(link, now_us);
    } else if (link->incoming.which_body == beheld_wire_Packet_events_received_tag) {
        take_events_received(link, &link->incoming.body.events_received);
    } else if (link->incoming.which_body == beheld_wire_Packet_heartbeat_tag) {
        take_heartbeat(link, &link->incoming.body.heartbeat, now_us);
    } else if (is_command(link->incoming.which_body)) {
        take_command(link, now_us);
    }
}

void beheld_link_byte(beheld_link *link, uint8_t byte, uint64_t now_us)
{
    size_t length;

    if (beheld_receive(&link->receiver, byte, &length)) {
        take(link, length, now_us);
    }
}

void beheld_link_tick(beheld_link *link, uint64_t now_us)
{
    beheld_wire_Packet *packet;
    uint64_t awake_us = link->ticked_us + BEHELD_AWAKE_US;

    /* Who was busy had no time to listen: what came meanwhile waits, and is no silence of the host. */
    if (now_us > awake_us) {
        link->heard_us += now_us - awake_us;
        link->heard_us = link->heard_us < now_us ? link->heard_us : now_us;
    }
    link->ticked_us = now_us;
    if (link->state != BEHELD_GREETING && now_us - link->heard_us > BEHELD_SILENCE_US) {
        link->state = BEHELD_GREETING;
    }
    if (link->state == BEHELD_GREETING && now_us - link->hello_us >= BEHELD_HELLO_US) {
        greet(link, false, now_us);
    }
    if (link->state == BEHELD_READY && beheld_link_events_waiting(link) &&
        now_us - link->event_us >= BEHELD_EVENT_US) {
        send_waiting_events(link, now_us);
    }
    if (link->state == BEHELD_READY && now_us - link->beat_us >= BEHELD_HEARTBEAT_US) {
        link->beat_us = now_us;
        packet = beheld_link_packet(link);
        packet->which_body = beheld_wire_Packet_heartbeat_tag;
        packet->body.heartbeat.received = link->received;
        packet->body.heartbeat.damaged = link->receiver.damaged;
        packet->body.heartbeat.boot = link->boot;
        (void)beheld_link_send(link, now_us);
    }
}
