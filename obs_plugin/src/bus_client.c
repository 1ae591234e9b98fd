/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "bus_internal.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static void lock(struct bus_client *client)
{
    pthread_mutex_lock(&client->lock);
}

static void unlock(struct bus_client *client)
{
    pthread_mutex_unlock(&client->lock);
}

static void unlock_and_ring(struct bus_client *client)
{
    unlock(client);
    platform_ring(client->bell);
}

struct bus_client *bus_client_create(const struct bus_setup *setup)
{
    struct bus_client *client = calloc(1, sizeof *client);
    if (!client)
        return NULL;
    client->setup = *setup;
    client->slots.frame = client->slots.style = client->slots.newest = -1;
    pthread_mutex_init(&client->lock, NULL);
    client->bell = platform_bell();
    if (client->bell >= 0 && pthread_create(&client->thread, NULL, bus_thread, client) == 0)
        return client;
    if (client->bell >= 0)
        platform_close(client->bell);
    pthread_mutex_destroy(&client->lock);
    free(client);
    return NULL;
}

void bus_client_destroy(struct bus_client *client)
{
    if (!client)
        return;
    lock(client);
    client->quit = true;
    unlock_and_ring(client);
    pthread_join(client->thread, NULL);
    platform_close(client->bell);
    pthread_mutex_destroy(&client->lock);
    free(client);
}

/* Cut to fit, but not inside a character. */
static void copy_text(char *copy, size_t size, const char *text)
{
    size_t length = strlen(text);
    if (length >= size)
        for (length = size - 1; length && ((unsigned char)text[length] & 0xc0) == 0x80;)
            length--;
    memcpy(copy, text, length);
    copy[length] = 0;
}

void bus_client_address(struct bus_client *client, const char *path, const char *session, const char *name)
{
    lock(client);
    bool same = strcmp(client->path, path) == 0 && strcmp(client->session, session) == 0;
    snprintf(client->path, sizeof client->path, "%s", path);
    snprintf(client->session, sizeof client->session, "%s", session);
    copy_text(client->name, sizeof client->name, name);
    client->again |= !same;
    unlock_and_ring(client);
}

void bus_client_want(struct bus_client *client, bool wanted, bool leave)
{
    lock(client);
    bool same = client->wanted == wanted && client->leave == (leave && !wanted);
    client->wanted = wanted;
    client->leave = leave && !wanted;
    unlock(client);
    if (!same)
        platform_ring(client->bell);
}

void bus_client_reconnect(struct bus_client *client)
{
    lock(client);
    client->again = true;
    unlock_and_ring(client);
}

static void copy_json(char copy[BUS_PARAMETERS_SIZE], struct json value)
{
    memcpy(copy, value.text, value.length);
    copy[value.length] = 0;
}

void bus_client_hello(struct bus_client *client, struct json parameters)
{
    if (!parameters.text || parameters.length >= BUS_PARAMETERS_SIZE)
        return;
    lock(client);
    bool same = strlen(client->hello) == parameters.length &&
                memcmp(client->hello, parameters.text, parameters.length) == 0;
    copy_json(client->hello, parameters);
    bool again = !same && client->status.state == BUS_CONNECTING;
    client->again |= again;
    unlock(client);
    if (again)
        platform_ring(client->bell);
}

uint64_t bus_client_change(struct bus_client *client, struct json changes)
{
    char merged[BUS_PARAMETERS_SIZE];
    struct json_writer writer = json_writer(merged, sizeof merged);
    lock(client);
    struct json unsent = {client->changes, client->requests.parameters ? strlen(client->changes) : 0};
    json_write_merged(&writer, unsent.length ? unsent : (struct json){0}, changes);
    struct json all = json_written(&writer);
    uint64_t sequence = all.text ? ++client->requests.sequence : 0;
    if (sequence) {
        copy_json(client->changes, all);
        client->requests.parameters = sequence;
    }
    unlock_and_ring(client);
    return sequence;
}

void bus_client_preset(struct bus_client *client, const char *name)
{
    lock(client);
    snprintf(client->requests.preset_name, sizeof client->requests.preset_name, "%s", name);
    client->requests.preset = ++client->requests.sequence;
    unlock_and_ring(client);
}

void bus_client_report(struct bus_client *client)
{
    lock(client);
    client->requests.report = ++client->requests.sequence;
    unlock_and_ring(client);
}

void bus_client_call(struct bus_client *client)
{
    lock(client);
    client->call = true;
    unlock_and_ring(client);
}

void bus_memory_release(struct bus_memory *memory)
{
    if (memory && --memory->references == 0) {
        platform_unmap(memory->base, memory->size);
        free(memory);
    }
}

void bus_slots_clear(struct bus_slots *slots)
{
    bus_memory_release(slots->input);
    bus_memory_release(slots->output);
    *slots = (struct bus_slots){.frame = -1, .style = -1, .newest = -1};
}

bool bus_client_begin(struct bus_client *client, size_t bytes, struct bus_picture *picture)
{
    lock(client);
    struct bus_slots *slots = &client->slots;
    bool room = slots->input && bytes <= slots->bytes && (slots->input_free || slots->frame >= 0);
    if (room) {
        /* No slot is free but one waits to be sent: what is in it is older, so it may be overwritten. */
        if (!slots->input_free) {
            slots->input_free = 1u << slots->frame;
            slots->frame = -1;
            client->status.dropped++;
        }
        unsigned slot = (unsigned)__builtin_ctz(slots->input_free);
        slots->input_free &= ~(1u << slot);
        slots->input->references++;
        *picture = (struct bus_picture){.pixels = (uint8_t *)slots->input->base + slot * slots->bytes,
                                        .room = slots->bytes,
                                        .slot = slot,
                                        .memory = slots->input};
    } else if (slots->input) {
        client->status.dropped++;
    }
    unlock(client);
    return room;
}

void bus_client_end(struct bus_client *client, struct bus_picture *picture, enum bus_use use)
{
    struct driftcam_message message = {.slot = (uint16_t)picture->slot,
                                       .width = picture->width,
                                       .height = picture->height,
                                       .stride = picture->stride,
                                       .pixel_format = DRIFTCAM_BGRA8,
                                       .pts = picture->pts,
                                       .payload_size = (uint64_t)picture->stride * picture->height};
    lock(client);
    struct bus_slots *slots = &client->slots;
    if (slots->input == picture->memory) { /* otherwise the connection has ended meanwhile */
        int *waiting = use == BUS_STYLE ? &slots->style : &slots->frame;
        if (use == BUS_NOTHING) {
            slots->input_free |= 1u << picture->slot;
        } else {
            if (*waiting >= 0) {
                slots->input_free |= 1u << *waiting;
                client->status.dropped++;
            }
            *waiting = (int)picture->slot;
            if (use == BUS_STYLE)
                message.sequence = ++client->requests.sequence;
            *(use == BUS_STYLE ? &slots->style_message : &slots->frame_message) = message;
        }
    }
    bus_memory_release(picture->memory);
    picture->memory = NULL;
    unlock_and_ring(client);
}

bool bus_client_take(struct bus_client *client, struct bus_picture *picture)
{
    lock(client);
    struct bus_slots *slots = &client->slots;
    bool there = slots->newest >= 0;
    if (there) {
        const struct driftcam_message *message = &slots->newest_message;
        slots->output->references++;
        *picture = (struct bus_picture){.pixels = (uint8_t *)slots->output->base + message->slot * slots->bytes,
                                        .room = slots->bytes,
                                        .width = message->width,
                                        .height = message->height,
                                        .stride = message->stride,
                                        .pts = message->pts,
                                        .slot = message->slot,
                                        .memory = slots->output};
        slots->newest = -1;
    }
    unlock(client);
    return there;
}

void bus_client_give_back(struct bus_client *client, struct bus_picture *picture)
{
    lock(client);
    if (client->slots.output == picture->memory)
        client->slots.to_release |= 1u << picture->slot;
    bus_memory_release(picture->memory);
    picture->memory = NULL;
    unlock_and_ring(client);
}

void bus_client_status(struct bus_client *client, struct bus_status *status)
{
    lock(client);
    *status = client->status;
    status->outstanding = (uint32_t)__builtin_popcount(client->slots.input_out);
    unlock(client);
}
