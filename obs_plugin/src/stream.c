/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "stream.h"

#include "platform.h"
#include "style_picture.h"
#include "sync.h"

#include <util/threading.h>

#include <stdio.h>
#include <string.h>

static struct stream *all;
static pthread_mutex_t all_lock;

void stream_module_load(void)
{
    pthread_mutex_init(&all_lock, NULL);
}

void stream_module_unload(void)
{
    pthread_mutex_destroy(&all_lock);
}

void stream_each(bool (*visit)(struct stream *stream, void *context), void *context)
{
    pthread_mutex_lock(&all_lock);
    for (struct stream *stream = all; stream && visit(stream, context);)
        stream = stream->next;
    pthread_mutex_unlock(&all_lock);
}

static void enlist(struct stream *stream)
{
    pthread_mutex_lock(&all_lock);
    stream->next = all;
    all = stream;
    pthread_mutex_unlock(&all_lock);
}

static void delist(struct stream *stream)
{
    pthread_mutex_lock(&all_lock);
    struct stream **place = &all;
    while (*place && *place != stream)
        place = &(*place)->next;
    if (*place)
        *place = stream->next;
    pthread_mutex_unlock(&all_lock);
}

/* No two filters of this user's programs get the same name, but by an accident of 1 in 4 thousand million. */
static void name_session(struct stream *stream)
{
    uint64_t hash = 14695981039346656037u;
    uint64_t parts[] = {(uint64_t)platform_now(), (uint64_t)(uintptr_t)stream};
    for (size_t i = 0; i < sizeof parts; i++)
        hash = (hash ^ ((uint8_t *)parts)[i]) * 1099511628211u;
    snprintf(stream->own_session, sizeof stream->own_session, "obs-%08x", (unsigned)(hash ^ hash >> 32));
}

struct stream *stream_create(obs_source_t *source, obs_data_t *settings, bool filter)
{
    struct stream *stream = bzalloc(sizeof *stream);
    stream->source = source;
    stream->filter = filter;
    pthread_mutex_init(&stream->lock, NULL);
    name_session(stream);
    struct bus_setup setup = {.role = filter ? BUS_FILTER : BUS_SINK,
                              .heard = sync_heard,
                              .work = style_picture_work,
                              .context = stream};
    stream->client = bus_client_create(&setup);
    if (!stream->client) {
        pthread_mutex_destroy(&stream->lock);
        bfree(stream);
        return NULL;
    }
    char *path = obs_module_file("driftcam.effect");
    obs_enter_graphics();
    stream->effect = path ? gs_effect_create_from_file(path, NULL) : NULL;
    obs_leave_graphics();
    bfree(path);
    if (!stream->effect)
        blog(LOG_ERROR, "[driftcam] data/driftcam.effect is missing or cannot be compiled: install the plugin again");
    stream_update(stream, settings);
    enlist(stream);
    return stream;
}

void stream_destroy(struct stream *stream)
{
    delist(stream);
    obs_enter_graphics();
    capture_free(&stream->capture, stream->client);
    pictures_free(&stream->pictures);
    gs_effect_destroy(stream->effect);
    obs_leave_graphics();
    bus_client_destroy(stream->client);
    obs_weak_source_release(stream->weak);
    pthread_mutex_destroy(&stream->lock);
    bfree(stream);
}

void stream_defaults(obs_data_t *settings, bool filter)
{
    obs_data_set_default_string(settings, S_STYLE, "starry-night");
    obs_data_set_default_double(settings, S_STRENGTH, 0.8);
    obs_data_set_default_double(settings, S_FREEDOM, 0.1);
    obs_data_set_default_int(settings, S_STEPS, 1);
    obs_data_set_default_int(settings, S_DETAIL, 384);
    obs_data_set_default_int(settings, S_LATENCY, 250);
    obs_data_set_default_string(settings, S_SESSION, filter ? "" : "live");
}

static void read_look(struct stream *stream, obs_data_t *settings)
{
    struct look *look = &stream->look;
    snprintf(look->style, sizeof look->style, "%s", obs_data_get_string(settings, S_STYLE));
    snprintf(look->prompt, sizeof look->prompt, "%s", obs_data_get_string(settings, S_PROMPT));
    look->strength = obs_data_get_double(settings, S_STRENGTH);
    look->freedom = obs_data_get_double(settings, S_FREEDOM);
    look->steps = (int)obs_data_get_int(settings, S_STEPS);
    snprintf(stream->picture_path, sizeof stream->picture_path, "%s", obs_data_get_string(settings, S_PICTURE));
    look->forget_picture = !*stream->picture_path && *stream->sent_picture;
    stream->detail = (uint32_t)obs_data_get_int(settings, S_DETAIL);
    stream->latency = obs_data_get_bool(settings, S_FIXED) ? obs_data_get_int(settings, S_LATENCY) * 1000000 : 0;
}

void stream_update(struct stream *stream, obs_data_t *settings)
{
    const char *session = obs_data_get_string(settings, S_SESSION), *preset = obs_data_get_string(settings, S_PRESET);
    pthread_mutex_lock(&stream->lock);
    read_look(stream, settings);
    stream->bad_picture &= *stream->picture_path != 0;
    bool new_picture = *stream->picture_path && strcmp(stream->picture_path, stream->sent_picture) != 0;
    bool apply = stream->filter && *preset && strcmp(preset, stream->preset) != 0 && stream->state_known;
    snprintf(stream->preset, sizeof stream->preset, "%s", preset);
    pthread_mutex_unlock(&stream->lock);
    bus_client_address(stream->client, obs_data_get_string(settings, S_SOCKET),
                       *session ? session : stream->own_session, obs_source_get_name(stream->source));
    if (!stream->filter)
        return;
    sync_send_look(stream);
    if (new_picture)
        bus_client_call(stream->client);
    if (apply)
        bus_client_preset(stream->client, preset);
}

void stream_tick(struct stream *stream)
{
    if (stream->weak)
        return;
    /* When the last reference to a source goes, its weak one may be freed before the source is destroyed. */
    obs_weak_source_t *weak = obs_source_get_weak_source(stream->source);
    pthread_mutex_lock(&stream->lock);
    stream->weak = weak;
    pthread_mutex_unlock(&stream->lock);
}

void stream_shape(struct stream *stream, uint32_t width, uint32_t height)
{
    uint32_t model_width, model_height;
    if (!width || !height)
        return;
    look_model_size(width, height, stream->detail ? stream->detail : 384, &model_width, &model_height);
    if (stream->look.width == model_width && stream->look.height == model_height)
        return;
    pthread_mutex_lock(&stream->lock);
    stream->look.width = model_width;
    stream->look.height = model_height;
    pthread_mutex_unlock(&stream->lock);
    sync_send_look(stream);
}

bool stream_draw(struct stream *stream, uint32_t width, uint32_t height)
{
    int64_t now = platform_now(), latency = stream->latency;
    pictures_take(&stream->pictures, stream->client, stream->filter ? &stream->capture : NULL, latency);
    struct picture *picture = pictures_due(&stream->pictures, now, latency);
    if (!picture || !stream->effect)
        return false;
    int64_t start = platform_now();
    picture_draw(picture, stream->effect, width ? width : picture->width, height ? height : picture->height);
    samples_add(&stream->show_ms, (double)(platform_now() - start) / 1e6);
    return true;
}

void stream_next_style(struct stream *stream, int step)
{
    char name[STATE_NAME_SIZE] = "";
    pthread_mutex_lock(&stream->lock);
    const struct name_list *styles = &stream->state.styles;
    size_t place = step > 0 ? styles->count - 1 : 0;
    for (size_t i = 0; i < styles->count; i++)
        if (strcmp(styles->names[i], stream->look.style) == 0)
            place = i;
    if (styles->count)
        snprintf(name, sizeof name, "%s", styles->names[(place + styles->count + (size_t)step) % styles->count]);
    pthread_mutex_unlock(&stream->lock);
    if (!*name)
        return;
    obs_data_t *settings = obs_data_create();
    obs_data_set_string(settings, S_STYLE, name);
    obs_data_set_string(settings, S_PROMPT, "");
    obs_source_update(stream->source, settings);
    obs_data_release(settings);
    obs_source_update_properties(stream->source);
}
