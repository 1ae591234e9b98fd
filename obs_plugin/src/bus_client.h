/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The plugin's end of the frame bus (docs/bus.md): a thread of its own does all input and output, and reconnects.
 *
 * Every function may be called from any thread and returns at once. Nothing here knows OBS.
 */
#pragma once

#include "json.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define BUS_NAME_LIMIT 65 /* bytes of a name with its end mark */

enum bus_role { BUS_FILTER, BUS_SINK };

enum bus_state {
    BUS_RESTING,    /* nobody wants pictures, no connection */
    BUS_CONNECTING, /* no connection yet, or no more */
    BUS_CONNECTED,
};

struct bus_client;
struct bus_memory;

/* A picture in a slot, BGRA. It is the caller's until it is handed on. */
struct bus_picture {
    uint8_t *pixels; /* of a result: to be read only */
    size_t room;     /* bytes in the slot */
    uint32_t width, height, stride;
    int64_t pts; /* capture time, ns */
    unsigned slot;
    struct bus_memory *memory;
};

struct bus_status {
    enum bus_state state;
    uint32_t width, height; /* the model's size, 0 before the first WELCOME */
    uint64_t sent, dropped; /* frames given to the daemon; frames for which there was no slot */
    uint64_t results, skipped;
    uint64_t connections, attempts;
    uint32_t outstanding; /* input slots that the daemon has */
    int64_t heard;        /* when the daemon last said something, ns */
    char server[64];
    char trouble[256]; /* why there is no connection, or empty */
};

struct bus_setup {
    enum bus_role role;
    /* On the client's thread: a REPLY, ERROR or EVENT, and its JSON, of `length` bytes. `sequence` is 0 or that of the
     * request. `type` is WELCOME when a connection has just been made: requests up to `sequence` will not be answered.
     * It is HELLO, with the JSON of the ERROR, when the daemon refuses one. */
    void (*heard)(void *context, unsigned type, uint64_t sequence, const char *json, size_t length);
    /* On the client's thread, connected, after bus_client_call(): for what takes too long elsewhere. False to be called
     * again in the next round. May be NULL. */
    bool (*work)(void *context);
    void *context;
};

/* NULL when the system refuses a thread. The client rests until bus_client_want(). */
struct bus_client *bus_client_create(const struct bus_setup *setup);
void bus_client_destroy(struct bus_client *client);

/* Where to connect, and as whom. `path` may be empty for the default. A change makes a new connection. */
void bus_client_address(struct bus_client *client, const char *path, const char *session, const char *name);

/* Whether anybody looks at the pictures. Without, no attempt to connect is made; `leave` also ends a connection. */
void bus_client_want(struct bus_client *client, bool wanted, bool leave);

/* A new connection at once, whatever the back-off says. */
void bus_client_reconnect(struct bus_client *client);

/* The parameters, a JSON object, of a session that is opened with the next HELLO. Other ones than before are tried at once:
 * the old ones may be why there is no connection. */
void bus_client_hello(struct bus_client *client, struct json parameters);
/* Changes parameters of the session, by a JSON object. Those that were not sent yet stay beside the new ones. Returns the
 * request's sequence, 0 when there is none. */
uint64_t bus_client_change(struct bus_client *client, struct json changes);
/* Applies a preset. Forgotten when there is no connection. */
void bus_client_preset(struct bus_client *client, const char *name);
/* Asks for the state with the names of styles and presets, and the table of parameters. */
void bus_client_report(struct bus_client *client);

/* Has `work` called soon. Without a connection it is called after the next was made. */
void bus_client_call(struct bus_client *client);

/* A free input slot to fill; false when there is none, which counts as a dropped frame. */
bool bus_client_begin(struct bus_client *client, size_t bytes, struct bus_picture *picture);
enum bus_use { BUS_FRAME, BUS_STYLE, BUS_NOTHING };
/* Hands the filled slot on. An older frame that is still waiting to be sent is replaced. */
void bus_client_end(struct bus_client *client, struct bus_picture *picture, enum bus_use use);

/* The newest result that was not yet taken; give it back after use. */
bool bus_client_take(struct bus_client *client, struct bus_picture *picture);
void bus_client_give_back(struct bus_client *client, struct bus_picture *picture);

void bus_client_status(struct bus_client *client, struct bus_status *status);

/* Milliseconds before attempt number `failures` + 1. */
int bus_backoff(unsigned failures);
