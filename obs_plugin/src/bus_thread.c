/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The thread of a bus client: connects, sends what waits, takes in what comes. It never waits but in platform_wait(). */
#include "bus_internal.h"
#include "json.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define WELCOME_PATIENCE 10000000000LL /* ns */
#define RECEIVE_SIZE (sizeof(struct driftcam_message) + DRIFTCAM_MAX_JSON)
#define SEND_SIZE (sizeof(struct driftcam_message) + BUS_PARAMETERS_SIZE + 1024)

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

int bus_backoff(unsigned failures)
{
    return failures >= 5 ? 5000 : 250 << failures;
}

static void close_descriptors(struct connection *link)
{
    while (link->descriptor_count)
        platform_close(link->descriptors[--link->descriptor_count]);
}

static void set_state(struct bus_client *client, enum bus_state state, const char *trouble)
{
    pthread_mutex_lock(&client->lock);
    client->status.state = state;
    snprintf(client->status.trouble, sizeof client->status.trouble, "%s", trouble);
    pthread_mutex_unlock(&client->lock);
}

/* Ends the connection, or the attempt to make one; the next waits for the back-off. */
static void disconnect(struct bus_client *client, struct connection *link, const char *why)
{
    if (link->socket != PLATFORM_NONE)
        platform_close(link->socket);
    close_descriptors(link);
    link->socket = PLATFORM_NONE;
    link->received = link->to_send = link->sent = 0;
    link->retry_at = platform_now() + bus_backoff(link->failures++) * 1000000LL;
    link->welcomed = false;
    pthread_mutex_lock(&client->lock);
    bus_slots_clear(&client->slots);
    pthread_mutex_unlock(&client->lock);
    set_state(client, BUS_CONNECTING, why);
}

/* Puts a message into the empty send buffer. */
static void put(struct connection *link, struct driftcam_message message, unsigned type, const char *json)
{
    size_t length = strlen(json);
    memcpy(message.magic, DRIFTCAM_MAGIC, sizeof message.magic);
    message.major = DRIFTCAM_MAJOR;
    message.minor = DRIFTCAM_MINOR;
    message.type = (uint16_t)type;
    message.json_length = (uint32_t)length;
    memcpy(link->out, &message, sizeof message);
    memcpy(link->out + sizeof message, json, length);
    link->to_send = sizeof message + length;
    link->sent = 0;
}

/* With the lock held. */
static void put_hello(struct bus_client *client, struct connection *link)
{
    char json[BUS_PARAMETERS_SIZE + 512];
    struct json_writer writer = json_writer(json, sizeof json);
    json_write(&writer, client->setup.role == BUS_FILTER ? "{\"role\":\"filter\"" : "{\"role\":\"sink\"");
    json_write(&writer, ",\"format\":\"BGRA8\",\"width\":0,\"height\":0,\"session\":");
    json_write_string(&writer, *client->session ? client->session : "live");
    json_write(&writer, ",\"name\":");
    json_write_string(&writer, client->name);
    if (*client->parameters && client->setup.role == BUS_FILTER) {
        json_write(&writer, ",\"parameters\":");
        json_write(&writer, client->parameters);
    }
    json_write(&writer, "}");
    client->requests.parameters = 0;
    link->hello_sequence = client->requests.sequence;
    put(link, (struct driftcam_message){0}, DRIFTCAM_HELLO, json);
}

static void connect_now(struct bus_client *client, struct connection *link)
{
    char path[BUS_PATH_SIZE];
    const char *why = "";
    pthread_mutex_lock(&client->lock);
    snprintf(path, sizeof path, "%s", client->path);
    client->status.attempts++;
    pthread_mutex_unlock(&client->lock);
    if (*path || platform_default_path(path, sizeof path, &why))
        link->socket = platform_connect(path, &why);
    if (link->socket == PLATFORM_NONE) {
        disconnect(client, link, why);
        return;
    }
    link->welcome_until = platform_now() + WELCOME_PATIENCE;
    pthread_mutex_lock(&client->lock);
    put_hello(client, link);
    pthread_mutex_unlock(&client->lock);
}

/* With the lock held. Whether a request was put into the empty send buffer. */
static bool put_request(struct bus_client *client, struct connection *link)
{
    struct bus_slots *slots = &client->slots;
    struct bus_requests *requests = &client->requests;
    struct driftcam_message message = {0};
    if (requests->unanswered >= BUS_MOST_UNANSWERED)
        return false;
    if (requests->parameters) {
        message.sequence = requests->parameters;
        requests->parameters = 0;
        put(link, message, DRIFTCAM_PARAMETERS, client->parameters);
    } else if (requests->preset) {
        char json[512];
        struct json_writer writer = json_writer(json, sizeof json);
        json_write(&writer, "{\"name\":");
        json_write_string(&writer, requests->preset_name);
        json_write(&writer, "}");
        message.sequence = requests->preset;
        requests->preset = 0;
        put(link, message, DRIFTCAM_PRESET, writer.overflow ? "{}" : json);
    } else if (requests->report) {
        message.sequence = requests->report;
        requests->report = 0;
        put(link, message, DRIFTCAM_REPORT, "");
    } else if (slots->style >= 0) {
        slots->input_out |= 1u << slots->style;
        slots->style = -1;
        put(link, slots->style_message, DRIFTCAM_STYLE_PICTURE, "");
    } else {
        return false;
    }
    requests->unanswered++;
    return true;
}

/* With the lock held: the most urgent message that waits goes into the empty send buffer. */
static void put_next(struct bus_client *client, struct connection *link)
{
    struct bus_slots *slots = &client->slots;
    if (slots->to_release) {
        struct driftcam_message message = {.slot = (uint16_t)__builtin_ctz(slots->to_release)};
        slots->to_release &= ~(1u << message.slot);
        slots->output_ours &= ~(1u << message.slot);
        put(link, message, DRIFTCAM_RESULT_RELEASE, "");
    } else if (!put_request(client, link) && slots->frame >= 0) {
        slots->input_out |= 1u << slots->frame;
        slots->frame = -1;
        client->status.sent++;
        put(link, slots->frame_message, DRIFTCAM_FRAME, "");
    }
}

/* False when the connection is gone. */
static bool send_waiting(struct bus_client *client, struct connection *link)
{
    for (;;) {
        if (!link->to_send && link->welcomed) {
            pthread_mutex_lock(&client->lock);
            put_next(client, link);
            pthread_mutex_unlock(&client->lock);
        }
        if (!link->to_send)
            return true;
        ptrdiff_t sent = platform_send(link->socket, link->out + link->sent, link->to_send - link->sent);
        if (sent <= 0)
            return sent == 0;
        link->sent += (size_t)sent;
        if (link->sent == link->to_send)
            link->to_send = link->sent = 0;
    }
}

static bool broken(struct connection *link, const char *why)
{
    snprintf(link->trouble, sizeof link->trouble, "%s", why);
    return false;
}

static struct bus_memory *map_slots(struct connection *link, int descriptor, size_t size, bool writable)
{
    const char *why = "out of memory";
    struct bus_memory *memory = calloc(1, sizeof *memory);
    if (memory && (memory->base = platform_map(descriptor, size, writable, &why))) {
        memory->size = size;
        memory->references = 1;
        return memory;
    }
    free(memory);
    broken(link, why);
    return NULL;
}

/* Each handler returns false, with the trouble set, when the daemon breaks the protocol. */

static bool handle_welcome(struct bus_client *client, struct connection *link, struct json body)
{
    bool filter = client->setup.role == BUS_FILTER;
    double slots = json_number(json_member(body, "slots"), 0), bytes = json_number(json_member(body, "slot_bytes"), 0);
    double width = json_number(json_member(body, "width"), 0), height = json_number(json_member(body, "height"), 0);
    if (link->welcomed || link->descriptor_count != (filter ? 2 : 1))
        return broken(link, "the daemon handed over the wrong number of memories");
    if (!(slots >= 1 && slots <= BUS_MOST_SLOTS && bytes >= 4 && bytes <= 4.0 * DRIFTCAM_MAX_SIDE * DRIFTCAM_MAX_SIDE))
        return broken(link, "the daemon's memory has an impossible size");
    if (!(width >= 1 && width <= DRIFTCAM_MAX_SIDE && height >= 1 && height <= DRIFTCAM_MAX_SIDE))
        return broken(link, "the daemon's picture has an impossible size");
    struct bus_slots fresh = {.count = (unsigned)slots, .bytes = (size_t)bytes, .frame = -1, .style = -1, .newest = -1};
    size_t size = fresh.count * fresh.bytes;
    if (filter && !(fresh.input = map_slots(link, link->descriptors[0], size, true)))
        return false;
    if (!(fresh.output = map_slots(link, link->descriptors[filter ? 1 : 0], size, false))) {
        bus_slots_clear(&fresh);
        return false;
    }
    close_descriptors(link);
    fresh.input_free = filter ? (1u << fresh.count) - 1 : 0;
    link->welcomed = true;
    link->failures = 0;
    pthread_mutex_lock(&client->lock);
    client->slots = fresh;
    client->status.state = BUS_CONNECTED;
    client->status.connections++;
    client->status.width = (uint32_t)width;
    client->status.height = (uint32_t)height;
    client->status.trouble[0] = 0;
    client->requests.preset = 0;
    client->requests.unanswered = 0;
    client->requests.report = ++client->requests.sequence;
    json_string(json_member(body, "server"), client->status.server, sizeof client->status.server);
    pthread_mutex_unlock(&client->lock);
    client->setup.heard(client->setup.context, 0, link->hello_sequence, "", 0);
    return true;
}

static bool handle_release(struct bus_client *client, struct connection *link, const struct driftcam_message *message)
{
    pthread_mutex_lock(&client->lock);
    struct bus_slots *slots = &client->slots;
    bool out = message->slot < slots->count && slots->input_out & 1u << message->slot;
    if (out) {
        slots->input_out &= ~(1u << message->slot);
        slots->input_free |= 1u << message->slot;
    }
    pthread_mutex_unlock(&client->lock);
    return out || broken(link, "the daemon gave back a slot that it did not have");
}

static bool fits(const struct driftcam_message *m, size_t slot_bytes)
{
    return m->pixel_format == DRIFTCAM_BGRA8 && m->width >= 1 && m->width <= DRIFTCAM_MAX_SIDE && m->height >= 1 &&
           m->height <= DRIFTCAM_MAX_SIDE && m->stride >= m->width * 4 && m->stride <= slot_bytes &&
           m->payload_size == (uint64_t)m->stride * m->height && m->payload_size <= slot_bytes;
}

/* A placeholder, a picture that says why there is no result, goes back unseen: viewers of a stream shall not read it. */
static bool handle_result(struct bus_client *client, struct connection *link, const struct driftcam_message *message,
                          struct json body)
{
    bool placeholder = json_is_true(json_member(body, "placeholder"));
    pthread_mutex_lock(&client->lock);
    struct bus_slots *slots = &client->slots;
    bool good = message->slot < slots->count && !(slots->output_ours & 1u << message->slot) &&
                fits(message, slots->bytes);
    if (good && placeholder) {
        slots->output_ours |= 1u << message->slot;
        slots->to_release |= 1u << message->slot;
    } else if (good) {
        if (slots->newest >= 0) {
            slots->to_release |= 1u << slots->newest;
            client->status.skipped++;
        }
        slots->output_ours |= 1u << message->slot;
        slots->newest = message->slot;
        slots->newest_message = *message;
        client->status.results++;
    }
    pthread_mutex_unlock(&client->lock);
    return good || broken(link, "the daemon announced a picture that cannot be");
}

static bool handle_refusal(struct connection *link, struct json body)
{
    char text[200], advice[200];
    json_string(json_member(body, "text"), text, sizeof text);
    json_string(json_member(body, "advice"), advice, sizeof advice);
    return broken(link, *text ? text : *advice ? advice : "the daemon refused without a reason");
}

static void note_state(struct bus_client *client, const struct driftcam_message *message, struct json body)
{
    double width = json_number(json_member(body, "width"), 0), height = json_number(json_member(body, "height"), 0);
    pthread_mutex_lock(&client->lock);
    if (message->type != DRIFTCAM_EVENT && client->requests.unanswered)
        client->requests.unanswered--;
    if (width >= 1 && width <= DRIFTCAM_MAX_SIDE && height >= 1 && height <= DRIFTCAM_MAX_SIDE) {
        client->status.width = (uint32_t)width;
        client->status.height = (uint32_t)height;
    }
    pthread_mutex_unlock(&client->lock);
}

static bool handle(struct bus_client *client, struct connection *link, const struct driftcam_message *message,
                   const char *text)
{
    struct json body = json_parse(text, message->json_length);
    if (message->json_length && !json_is_object(body))
        return broken(link, "the daemon sent text that cannot be read");
    if (!link->welcomed && message->type == DRIFTCAM_ERROR)
        return handle_refusal(link, body);
    if (message->type == DRIFTCAM_WELCOME)
        return handle_welcome(client, link, body);
    if (!link->welcomed)
        return broken(link, "the daemon did not say welcome");
    switch (message->type) {
    case DRIFTCAM_RELEASE:
        return handle_release(client, link, message);
    case DRIFTCAM_RESULT:
        return handle_result(client, link, message, body);
    case DRIFTCAM_REPLY:
    case DRIFTCAM_EVENT:
    case DRIFTCAM_ERROR:
        note_state(client, message, body);
        client->setup.heard(client->setup.context, message->type, message->sequence, text, message->json_length);
        return true;
    default: /* a newer daemon may say more than this plugin understands */
        return message->minor > DRIFTCAM_MINOR || broken(link, "the daemon sent a message that makes no sense");
    }
}

/* Works off whole messages in the receive buffer; false when the daemon breaks the protocol. */
static bool parse(struct bus_client *client, struct connection *link)
{
    size_t at = 0;
    while (link->received - at >= sizeof(struct driftcam_message)) {
        struct driftcam_message message;
        memcpy(&message, link->in + at, sizeof message);
        if (memcmp(message.magic, DRIFTCAM_MAGIC, sizeof message.magic) != 0)
            return broken(link, "what answers there is not Driftcam");
        if (message.major != DRIFTCAM_MAJOR) {
            snprintf(link->trouble, sizeof link->trouble, "the daemon speaks version %u.%u, this plugin %u.%u",
                     message.major, message.minor, DRIFTCAM_MAJOR, DRIFTCAM_MINOR);
            return false;
        }
        if (message.json_length > DRIFTCAM_MAX_JSON)
            return broken(link, "the daemon sent a text that is too long");
        if (link->received - at < sizeof message + message.json_length)
            break;
        if (!handle(client, link, &message, link->in + at + sizeof message))
            return false;
        at += sizeof message + message.json_length;
    }
    link->received -= at;
    memmove(link->in, link->in + at, link->received);
    return true;
}

/* False when the connection is gone or must end; the trouble says why. */
static bool receive(struct bus_client *client, struct connection *link)
{
    for (;;) {
        size_t room = sizeof link->in - link->received;
        ptrdiff_t got = platform_receive(link->socket, link->in + link->received, room, link->descriptors,
                                         &link->descriptor_count);
        if (got <= 0)
            return got == 0;
        link->received += (size_t)got;
        pthread_mutex_lock(&client->lock);
        client->status.heard = platform_now();
        pthread_mutex_unlock(&client->lock);
        if (!parse(client, link))
            return false;
        if (link->welcomed)
            close_descriptors(link); /* none is due any more */
    }
}

static void do_work(struct bus_client *client)
{
    pthread_mutex_lock(&client->lock);
    bool call = client->call;
    client->call = false;
    pthread_mutex_unlock(&client->lock);
    if (!call || !client->setup.work || client->setup.work(client->setup.context))
        return;
    pthread_mutex_lock(&client->lock);
    client->call = true;
    pthread_mutex_unlock(&client->lock);
}

/* One round with a connection. */
static void converse(struct bus_client *client, struct connection *link)
{
    snprintf(link->trouble, sizeof link->trouble, "the daemon has gone");
    int timeout = -1;
    if (!link->welcomed) {
        int64_t left = link->welcome_until - platform_now();
        if (left <= 0) {
            disconnect(client, link, "the daemon does not answer");
            return;
        }
        timeout = (int)(left / 1000000) + 1;
    } else {
        do_work(client);
    }
    if (!send_waiting(client, link)) {
        disconnect(client, link, receive(client, link) ? "the daemon has gone" : link->trouble);
        return;
    }
    platform_wait(client->bell, link->socket, link->to_send > 0, timeout);
    if (!receive(client, link))
        disconnect(client, link, link->trouble);
}

void *bus_thread(void *argument)
{
    struct bus_client *client = argument;
    struct connection *link = calloc(1, sizeof *link);
    bool quit = !link;
    if (link)
        link->socket = PLATFORM_NONE;
    while (!quit) {
        pthread_mutex_lock(&client->lock);
        quit = client->quit;
        bool again = client->again, wanted = client->wanted, leave = client->leave;
        client->again = false;
        pthread_mutex_unlock(&client->lock);
        if (link->socket != PLATFORM_NONE && (quit || again || leave))
            disconnect(client, link, "");
        if (again || leave)
            link->retry_at = link->failures = 0;
        if (quit)
            break;
        int64_t wait = link->retry_at - platform_now();
        if (link->socket != PLATFORM_NONE) {
            converse(client, link);
        } else if (!wanted) {
            set_state(client, BUS_RESTING, "");
            platform_wait(client->bell, PLATFORM_NONE, false, -1);
        } else if (wait > 0) {
            platform_wait(client->bell, PLATFORM_NONE, false, (int)(wait / 1000000) + 1);
        } else {
            connect_now(client, link);
        }
    }
    free(link);
    return NULL;
}
