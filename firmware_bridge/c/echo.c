/* For the tests: reads frames from standard input, decodes each packet with nanopb, encodes it anew and
 * writes it to standard output. What comes back must be what went in. The last line of standard error
 * tells how many packets were right and how many frames damaged. */
#include <stdio.h>

#include "frame.h"
#include "pb_decode.h"
#include "pb_encode.h"
#include "wire.pb.h"

int main(void)
{
    static beheld_receiver receiver;
    static beheld_wire_Packet packet;
    static uint8_t payload[BEHELD_MAX_PAYLOAD];
    static uint8_t frame[BEHELD_MAX_FRAME];
    unsigned right = 0;
    size_t length;
    int byte;

    beheld_receiver_init(&receiver);
    while ((byte = getchar()) != EOF) {
        pb_istream_t in;
        pb_ostream_t out = pb_ostream_from_buffer(payload, sizeof payload);

        if (!beheld_receive(&receiver, (uint8_t)byte, &length)) {
            continue;
        }
        in = pb_istream_from_buffer(receiver.content, length);
        packet = (beheld_wire_Packet)beheld_wire_Packet_init_zero;
        if (!pb_decode(&in, beheld_wire_Packet_fields, &packet) ||
            !pb_encode(&out, beheld_wire_Packet_fields, &packet)) {
            receiver.damaged++;
            continue;
        }
        right++;
        length = beheld_encode(payload, out.bytes_written, frame);
        fwrite(frame, 1, length, stdout);
    }
    fprintf(stderr, "%u %u\n", right, (unsigned)receiver.damaged);
    return 0;
}
