/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "instance.h"

#include "fields.h"
#include "platform.h"
#include "style_picture.h"
#include "sync.h"

#include <util/threading.h>

#include <stdio.h>
#include <string.h>

static struct instance *all;
static pthread_mutex_t all_lock;

void instance_module_load(void)
{
    pthread_mutex_init(&all_lock, NULL);
}

void instance_module_unload(void)
{
    pthread_mutex_destroy(&all_lock);
}

void instance_each(bool (*visit)(struct instance *instance, void *context), void *context)
{
    pthread_mutex_lock(&all_lock);
    for (struct instance *instance = all; instance && visit(instance, context);)
        instance = instance->next;
    pthread_mutex_unlock(&all_lock);
}

static void enlist(struct instance *instance)
{
    pthread_mutex_lock(&all_lock);
    instance->next = all;
    all = instance;
    pthread_mutex_unlock(&all_lock);
}

static void delist(struct instance *instance)
{
    pthread_mutex_lock(&all_lock);
    struct instance **place = &all;
    while (*place && *place != instance)
        place = &(*place)->next;
    if (*place)
        *place = instance->next;
    pthread_mutex_unlock(&all_lock);
}

/* No two filters of this user's programs get the same name, but by an accident of 1 in 4 thousand million. */
static void name_session(struct instance *instance)
{
    uint64_t hash = 14695981039346656037u;
    uint64_t parts[] = {(uint64_t)platform_now(), (uint64_t)(uintptr_t)instance};
    for (size_t i = 0; i < sizeof parts; i++)
        hash = (hash ^ ((uint8_t *)parts)[i]) * 1099511628211u;
    snprintf(instance->own_session, sizeof instance->own_session, "obs-%08x", (unsigned)(hash ^ hash >> 32));
}

struct instance *instance_create(obs_source_t *source, obs_data_t *settings, bool filter)
{
    struct instance *instance = bzalloc(sizeof *instance);
    instance->source = source;
    instance->filter = filter;
    pthread_mutex_init(&instance->lock, NULL);
    name_session(instance);
    struct bus_setup setup = {.role = filter ? BUS_FILTER : BUS_SINK,
                              .heard = sync_heard,
                              .work = style_picture_work,
                              .context = instance};
    instance->client = bus_client_create(&setup);
    if (!instance->client) {
        pthread_mutex_destroy(&instance->lock);
        bfree(instance);
        return NULL;
    }
    char *path = obs_module_file("driftcam.effect");
    obs_enter_graphics();
    instance->effect = path ? gs_effect_create_from_file(path, NULL) : NULL;
    obs_leave_graphics();
    bfree(path);
    if (!instance->effect)
        blog(LOG_ERROR, "[driftcam] data/driftcam.effect is missing or cannot be compiled: install the plugin again");
    instance_update(instance, settings);
    enlist(instance);
    return instance;
}

void instance_destroy(struct instance *instance)
{
    delist(instance);
    obs_enter_graphics();
    capture_free(&instance->capture, instance->client);
    pictures_free(&instance->pictures);
    gs_effect_destroy(instance->effect);
    obs_leave_graphics();
    bus_client_destroy(instance->client);
    obs_weak_source_release(instance->weak);
    sync_free(instance);
    pthread_mutex_destroy(&instance->lock);
    bfree(instance);
}

void instance_defaults(obs_data_t *settings, bool filter)
{
    obs_data_set_default_int(settings, S_LATENCY, 250);
    obs_data_set_default_string(settings, S_SESSION, filter ? "" : "live");
}

static void set_default(obs_data_t *settings, const struct field *field)
{
    char text[1024];
    switch (field->kind) {
    case FIELD_NUMBER:
        obs_data_set_default_double(settings, field->name, json_number(field->initial, field->low));
        break;
    case FIELD_INTEGER:
        obs_data_set_default_int(settings, field->name, (long long)json_number(field->initial, field->low));
        break;
    case FIELD_CHOICE:
    case FIELD_TEXT:
        json_string(field->initial, text, sizeof text);
        obs_data_set_default_string(settings, field->name, text);
        break;
    default:
        break;
    }
}

void instance_table_defaults(struct instance *instance, obs_data_t *settings)
{
    struct field field;
    char style[LOOK_STYLE_SIZE];
    struct json fields = instance->state.fields;
    for (size_t cursor = 0; field_next(fields, &cursor, &field);)
        if (field.initial.text && look_is_parameter(field.name))
            set_default(settings, &field);
    look_style(style, (struct json){0}, fields);
    obs_data_set_default_string(settings, S_STYLE, style);
    if (instance->usual_detail)
        obs_data_set_default_int(settings, S_DETAIL, instance->usual_detail);
}

/* With the lock held: what has nothing to do with the look. */
static void read_settings(struct instance *instance, obs_data_t *settings)
{
    snprintf(instance->picture_path, sizeof instance->picture_path, "%s", obs_data_get_string(settings, S_PICTURE));
    snprintf(instance->preset, sizeof instance->preset, "%s", obs_data_get_string(settings, S_PRESET));
    if (!*instance->picture_path)
        instance->sent_picture[0] = 0;
    instance->bad_picture &= *instance->picture_path != 0;
    bool chosen = obs_data_has_user_value(settings, S_DETAIL); /* else it is what the daemon has chosen */
    instance->detail = chosen ? (uint32_t)obs_data_get_int(settings, S_DETAIL) : 0;
    instance->latency = obs_data_get_bool(settings, S_FIXED) ? obs_data_get_int(settings, S_LATENCY) * 1000000 : 0;
}

void instance_update(struct instance *instance, obs_data_t *settings)
{
    char preset[STATE_NAME_SIZE];
    const char *session = obs_data_get_string(settings, S_SESSION);
    bus_client_address(instance->client, obs_data_get_string(settings, S_SOCKET),
                       *session ? session : instance->own_session, obs_source_get_name(instance->source));
    if (!instance->filter) {
        pthread_mutex_lock(&instance->lock);
        read_settings(instance, settings);
        pthread_mutex_unlock(&instance->lock);
        return;
    }
    pthread_mutex_lock(&instance->lock);
    memcpy(preset, instance->preset, sizeof preset);
    read_settings(instance, settings);
    sync_settings(instance, settings);
    bool new_picture = *instance->picture_path && strcmp(instance->picture_path, instance->sent_picture) != 0;
    bool apply = *instance->preset && strcmp(preset, instance->preset) != 0 && instance->state_known;
    memcpy(preset, instance->preset, sizeof preset);
    pthread_mutex_unlock(&instance->lock);
    if (new_picture)
        bus_client_call(instance->client);
    if (apply)
        bus_client_preset(instance->client, preset);
}

void instance_tick(struct instance *instance)
{
    if (instance->weak)
        return;
    /* When the last reference to a source goes, its weak one may be freed before the source is destroyed. */
    obs_weak_source_t *weak = obs_source_get_weak_source(instance->source);
    pthread_mutex_lock(&instance->lock);
    instance->weak = weak;
    pthread_mutex_unlock(&instance->lock);
    sync_follow(instance); /* the daemon may have spoken before */
}

void instance_shape(struct instance *instance, uint32_t width, uint32_t height)
{
    struct shape shape = {width, height, instance->detail, instance->detail ? 0 : instance->sessions};
    bool known = shape.detail || shape.sessions;
    if (!width || !height || !known || memcmp(&shape, &instance->shape, sizeof shape) == 0)
        return;
    instance->shape = shape;
    pthread_mutex_lock(&instance->lock);
    struct look_size size = shape.detail ? look_model_size(width, height, shape.detail, instance->state.fields)
                                         : look_same_area(width, height, instance->size, instance->state.fields);
    if (size.width != instance->size.width || size.height != instance->size.height)
        sync_size(instance, size);
    pthread_mutex_unlock(&instance->lock);
}

bool instance_draw(struct instance *instance, uint32_t width, uint32_t height)
{
    int64_t now = platform_now(), latency = instance->latency;
    pictures_take(&instance->pictures, instance->client, instance->filter ? &instance->capture : NULL, latency);
    struct picture *picture = pictures_due(&instance->pictures, now, latency);
    if (!picture || !instance->effect)
        return false;
    int64_t start = platform_now();
    picture_draw(picture, instance->effect, width ? width : picture->width, height ? height : picture->height);
    samples_add(&instance->show_ms, (double)(platform_now() - start) / 1e6);
    return true;
}

/* The style `step` places further in the daemon's list, which is a ring; none when there is no list. */
static struct json neighbour(struct json styles, const char *style, int step)
{
    struct json item, found = {0};
    char name[LOOK_STYLE_SIZE];
    long count = 0, place = -1;
    for (size_t cursor = 0; json_next(styles, &cursor, &item); count++)
        if (json_string(item, name, sizeof name) && strcmp(name, style) == 0)
            place = count;
    long wanted = place >= 0 ? (place + step + count) % count : step > 0 ? 0 : count - 1;
    for (size_t cursor = 0; wanted-- >= 0 && json_next(styles, &cursor, &item);)
        found = item;
    return found;
}

void instance_next_style(struct instance *instance, int step)
{
    char style[LOOK_STYLE_SIZE], name[LOOK_STYLE_SIZE];
    pthread_mutex_lock(&instance->lock);
    look_style(style, instance->settings, instance->state.fields);
    json_string(neighbour(instance->state.styles, style, step), name, sizeof name);
    pthread_mutex_unlock(&instance->lock);
    if (!*name)
        return;
    obs_data_t *settings = obs_data_create();
    obs_data_set_string(settings, S_STYLE, name);
    obs_data_set_string(settings, S_PROMPT, "");
    obs_source_update(instance->source, settings);
    obs_data_release(settings);
    obs_source_update_properties(instance->source);
}
