/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The plugin's end of the bus without OBS, driven by lines on stdin; answers are lines on stdout. */
#define _GNU_SOURCE
#include "../../obs_plugin/driftcam_bus.h"
#include "../../obs_plugin/src/bus_client.h"
#include "../../obs_plugin/src/daemon_state.h"
#include "../../obs_plugin/src/look.h"
#include "../../obs_plugin/src/platform.h"

#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

static struct bus_client *client;
static struct daemon_state state;
static pthread_mutex_t state_lock = PTHREAD_MUTEX_INITIALIZER;
static atomic_uint heard_replies, heard_errors, heard_events, works;

static void heard(void *context, unsigned type, uint64_t sequence, const char *text, size_t length)
{
    (void)context, (void)sequence;
    heard_replies += type == DRIFTCAM_REPLY;
    heard_errors += type == DRIFTCAM_ERROR;
    heard_events += type == DRIFTCAM_EVENT;
    pthread_mutex_lock(&state_lock);
    daemon_state_take(&state, json_parse(text, length));
    daemon_state_take_report(&state, json_parse(text, length));
    pthread_mutex_unlock(&state_lock);
}

static bool work(void *context)
{
    (void)context;
    return ++works % 2 == 0; /* every other call asks for another */
}

static void frame(unsigned width, unsigned height, long long pts, int value, enum bus_use use)
{
    struct bus_picture picture;
    if (!bus_client_begin(client, (size_t)width * height * 4, &picture)) {
        puts("none");
        return;
    }
    picture.width = width;
    picture.height = height;
    picture.stride = width * 4;
    picture.pts = pts;
    memset(picture.pixels, value, (size_t)picture.stride * height);
    bus_client_end(client, &picture, use);
    puts("sent");
}

static void take(void)
{
    struct bus_picture picture;
    if (!bus_client_take(client, &picture)) {
        puts("none");
        return;
    }
    unsigned long long sum = 0;
    for (uint32_t y = 0; y < picture.height; y++)
        for (uint32_t x = 0; x < picture.width * 4; x++)
            sum += picture.pixels[(size_t)y * picture.stride + x];
    printf("%u %u %lld %llu\n", picture.width, picture.height, (long long)picture.pts, sum);
    bus_client_give_back(client, &picture);
}

static size_t count_of(struct json array)
{
    struct json item;
    size_t cursor = 0, count = 0;
    while (json_next(array, &cursor, &item))
        count++;
    return count;
}

/* As the settings would show it. */
static void style_of(struct json parameters, char style[LOOK_STYLE_SIZE])
{
    const struct json none = {0};
    char text[8192];
    struct json_writer writer = json_writer(text, sizeof text);
    look_write_followed(&writer, none, parameters, none, none);
    json_string(json_member(json_written(&writer), "style"), style, LOOK_STYLE_SIZE);
}

static void status(void)
{
    struct bus_status s;
    char style[LOOK_STYLE_SIZE];
    bus_client_status(client, &s);
    pthread_mutex_lock(&state_lock);
    style_of(state.parameters, style);
    printf("%d %u %u %llu %llu %llu %llu %llu %llu %u|%s|%s|%s|%zu|%zu|%u %u %u %u\n", s.state, s.width, s.height,
           (unsigned long long)s.sent, (unsigned long long)s.dropped, (unsigned long long)s.results,
           (unsigned long long)s.skipped, (unsigned long long)s.connections, (unsigned long long)s.attempts,
           s.outstanding, s.server, s.trouble, style, count_of(state.styles), count_of(state.presets),
           heard_replies, heard_errors, heard_events, works);
    pthread_mutex_unlock(&state_lock);
}

static struct json parsed(const char *text)
{
    return json_parse(text, strlen(text));
}

static atomic_bool storming;

/* As the graphics thread of an OBS that never rests. */
static void *storm(void *argument)
{
    unsigned count = 0;
    (void)argument;
    while (storming) {
        struct bus_picture picture;
        struct bus_status now;
        bus_client_status(client, &now);
        if (bus_client_begin(client, 64 * 48 * 4, &picture)) {
            picture.width = 64, picture.height = 48, picture.stride = 256, picture.pts = platform_now();
            memset(picture.pixels, (int)count, 64 * 48 * 4);
            bus_client_end(client, &picture, count % 50 == 7 ? BUS_STYLE : count % 11 == 3 ? BUS_NOTHING : BUS_FRAME);
        }
        if (bus_client_take(client, &picture)) {
            volatile uint8_t seen = 0;
            for (size_t i = 0; i < (size_t)picture.stride * picture.height; i += 64)
                seen ^= picture.pixels[i];
            bus_client_give_back(client, &picture);
        }
        if (++count % 97 == 0)
            bus_client_reconnect(client);
        if (count % 31 == 0)
            bus_client_change(client, parsed(count % 62 ? "{\"strength\":0.5}" : "{\"strength\":0.7}"));
        if (count % 37 == 0)
            bus_client_hello(client, parsed(count % 74 ? "{\"strength\":0.5}" : "{\"strength\":0.7}"));
        if (count % 41 == 0)
            bus_client_want(client, count % 82 != 0, count % 164 == 0);
        nanosleep(&(struct timespec){.tv_nsec = 1000000}, NULL);
    }
    return NULL;
}

static void run_storm(int milliseconds)
{
    pthread_t threads[3];
    storming = true;
    for (int i = 0; i < 3; i++)
        pthread_create(&threads[i], NULL, storm, NULL);
    nanosleep(&(struct timespec){milliseconds / 1000, milliseconds % 1000 * 1000000L}, NULL);
    storming = false;
    for (int i = 0; i < 3; i++)
        pthread_join(threads[i], NULL);
    bus_client_want(client, true, false);
    puts("over");
}

static void obey(char *line)
{
    unsigned width, height;
    long long pts;
    int value;
    char name[256];
    if (sscanf(line, "frame %u %u %lld %d", &width, &height, &pts, &value) == 4)
        frame(width, height, pts, value, BUS_FRAME);
    else if (sscanf(line, "style %u %u %d", &width, &height, &value) == 3)
        frame(width, height, 0, value, BUS_STYLE);
    else if (strcmp(line, "take") == 0)
        take();
    else if (strcmp(line, "status") == 0)
        status();
    else if (strncmp(line, "change ", 7) == 0)
        printf("%llu\n", (unsigned long long)bus_client_change(client, parsed(line + 7)));
    else if (strncmp(line, "hello ", 6) == 0)
        bus_client_hello(client, parsed(line + 6)), puts("ok");
    else if (sscanf(line, "preset %255s", name) == 1)
        bus_client_preset(client, name), puts("ok");
    else if (strcmp(line, "reconnect") == 0)
        bus_client_reconnect(client), puts("ok");
    else if (strcmp(line, "call") == 0)
        bus_client_call(client), puts("ok");
    else if (sscanf(line, "want %d", &value) == 1)
        bus_client_want(client, value == 1, value == 2), puts("ok");
    else if (sscanf(line, "storm %d", &value) == 1)
        run_storm(value);
    else
        puts("what?");
    fflush(stdout);
}

int main(int count, char **arguments)
{
    static char line[65536];
    struct bus_setup setup = {.role = strcmp(arguments[1], "sink") == 0 ? BUS_SINK : BUS_FILTER,
                              .heard = heard,
                              .work = work};
    client = bus_client_create(&setup);
    bus_client_address(client, arguments[2], "test", count > 3 ? arguments[3] : "harness");
    bus_client_want(client, true, false);
    while (fgets(line, sizeof line, stdin)) {
        line[strcspn(line, "\n")] = 0;
        obey(line);
    }
    bus_client_destroy(client);
    daemon_state_free(&state);
    return 0;
}
