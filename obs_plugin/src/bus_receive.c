/* SPDX-License-Identifier: GPL-2.0-or-later */
/* What a bus client does with the daemon's messages. Nothing in them is believed before it was checked. */
#include "bus_internal.h"
#include "json.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

void bus_close_descriptors(struct connection *link)
{
    while (link->descriptor_count)
        platform_close(link->descriptors[--link->descriptor_count]);
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

static bool handle_welcome(struct bus_client *client, struct connection *link, unsigned minor, struct json body)
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
    struct bus_slots fresh = {.count = (unsigned)slots, .bytes = (size_t)bytes, .frame = -1, .style = -1, .newest = -1,
                              .planes = minor >= 1};
    size_t size = fresh.count * fresh.bytes;
    if (filter && !(fresh.input = map_slots(link, link->descriptors[0], size, true)))
        return false;
    if (!(fresh.output = map_slots(link, link->descriptors[filter ? 1 : 0], size, false))) {
        bus_slots_clear(&fresh);
        return false;
    }
    bus_close_descriptors(link);
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
    client->setup.heard(client->setup.context, DRIFTCAM_WELCOME, link->hello_sequence, "", 0);
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
    if (!link->welcomed && message->type == DRIFTCAM_ERROR) {
        client->setup.heard(client->setup.context, DRIFTCAM_HELLO, 0, text, message->json_length);
        return handle_refusal(link, body);
    }
    if (message->type == DRIFTCAM_WELCOME)
        return handle_welcome(client, link, message->minor, body);
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

bool bus_parse(struct bus_client *client, struct connection *link)
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
