/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The thread of a bus client: connects and sends what waits. It never waits but in platform_wait(). */
#include "bus_internal.h"
#include "json.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define WELCOME_PATIENCE 10000000000LL /* ns */

int bus_backoff(unsigned failures)
{
    return failures >= 5 ? 5000 : 250 << failures;
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
    bus_close_descriptors(link);
    link->socket = PLATFORM_NONE;
    link->received = link->to_send = link->sent = 0;
    link->retry_at = platform_now() + bus_backoff(link->failures++) * 1000000LL;
    link->welcomed = false;
    pthread_mutex_lock(&client->lock);
    bus_slots_clear(&client->slots);
    pthread_mutex_unlock(&client->lock);
    set_state(client, BUS_CONNECTING, why);
}

/* Puts a message, with JSON of at most DRIFTCAM_MAX_JSON bytes, into the empty send buffer. */
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
    char json[BUS_PARAMETERS_SIZE + BUS_ENVELOPE_SIZE];
    struct json_writer writer = json_writer(json, sizeof json);
    json_write(&writer, client->setup.role == BUS_FILTER ? "{\"role\":\"filter\"" : "{\"role\":\"sink\"");
    json_write(&writer, ",\"format\":\"BGRA8\",\"width\":0,\"height\":0,\"session\":");
    json_write_string(&writer, *client->session ? client->session : "live");
    json_write(&writer, ",\"name\":");
    json_write_string(&writer, client->name);
    if (*client->hello && client->setup.role == BUS_FILTER) {
        json_write(&writer, ",\"parameters\":");
        json_write(&writer, client->hello);
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
        put(link, message, DRIFTCAM_PARAMETERS, client->changes);
    } else if (requests->preset) {
        char json[2 * sizeof requests->preset_name];
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
        if (slots->planes)
            put(link, slots->style_message, DRIFTCAM_PLANE, "{\"name\":\"style_picture\"}");
        else
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
        if (!bus_parse(client, link))
            return false;
        if (link->welcomed)
            bus_close_descriptors(link); /* none is due any more */
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
