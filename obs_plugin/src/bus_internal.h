/* SPDX-License-Identifier: GPL-2.0-or-later */
/* What the parts of the bus client share: bus_client.c (calls of others), bus_thread.c and bus_receive.c (its thread). */
#pragma once

#include "../driftcam_bus.h"
#include "bus_client.h"
#include "platform.h"

#include <pthread.h>

#define BUS_ENVELOPE_SIZE 1024 /* of a HELLO around its parameters */
#define BUS_PARAMETERS_SIZE (DRIFTCAM_MAX_JSON - BUS_ENVELOPE_SIZE)
#define BUS_PATH_SIZE 256
#define BUS_SESSION_SIZE 33
_Static_assert(BUS_NAME_LIMIT == DRIFTCAM_MAX_NAME + 1, "the header's limit");
#define BUS_MOST_SLOTS 16
#define BUS_MOST_UNANSWERED 4 /* requests; the daemon allows 8 */

/* Mapped slots. A thread that works in them holds a reference, so that the end of a connection never pulls them away. */
struct bus_memory {
    void *base;
    size_t size;
    unsigned references;
};

/* Who has which slot. Bits of `…_free`, `…_out` are slots. */
struct bus_slots {
    struct bus_memory *input, *output;
    unsigned count;
    size_t bytes;
    unsigned input_free, input_out;
    int frame, style; /* filled slots that wait to be sent, or -1 */
    struct driftcam_message frame_message, style_message;
    bool planes; /* the daemon knows PLANE; one of version 1.0 takes STYLE_PICTURE alone */
    unsigned output_ours, to_release;
    int newest; /* a result that nobody took yet, or -1 */
    struct driftcam_message newest_message;
};

/* Requests that wait to be sent (their sequences; 0 when there is none), and how many the daemon has not answered. */
struct bus_requests {
    uint64_t sequence; /* of the last one made */
    uint64_t parameters, preset, report;
    unsigned unanswered;
    char preset_name[260]; /* 64 characters of up to four bytes */
};

struct bus_client {
    struct bus_setup setup;
    pthread_t thread;
    int bell;

    pthread_mutex_t lock; /* held for moments only: never while anything is copied, sent or mapped */
    bool quit, wanted, leave, again, call;
    char path[BUS_PATH_SIZE], session[BUS_SESSION_SIZE], name[BUS_NAME_LIMIT];
    char hello[BUS_PARAMETERS_SIZE], changes[BUS_PARAMETERS_SIZE]; /* parameters; empty texts for none */
    struct bus_requests requests;
    struct bus_slots slots;
    struct bus_status status;
};

/* With the lock held: the memory is unmapped with its last reference. */
void bus_memory_release(struct bus_memory *memory);
/* With the lock held: no slots any more. */
void bus_slots_clear(struct bus_slots *slots);

void *bus_thread(void *client);

#define RECEIVE_SIZE (sizeof(struct driftcam_message) + DRIFTCAM_MAX_JSON)
#define SEND_SIZE (sizeof(struct driftcam_message) + DRIFTCAM_MAX_JSON + 1)

/* A connection; all of it belongs to the thread. */
struct connection {
    int socket;
    bool welcomed;
    unsigned failures;
    int64_t retry_at, welcome_until;
    uint64_t hello_sequence;
    int descriptors[PLATFORM_MAX_DESCRIPTORS], descriptor_count;
    size_t received, to_send, sent;
    char trouble[256];
    char in[RECEIVE_SIZE], out[SEND_SIZE];
};

/* Works off whole messages in the receive buffer; false, with the trouble set, when the daemon breaks the protocol. */
bool bus_parse(struct bus_client *client, struct connection *link);

void bus_close_descriptors(struct connection *link);
