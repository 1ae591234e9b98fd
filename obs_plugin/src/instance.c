/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "instance.h"

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
    pthread_mutex_destroy(&instance->lock);
    bfree(instance);
}

void instance_defaults(obs_data_t *settings, bool filter)
{
    obs_data_set_default_string(settings, S_STYLE, "starry-night");
    obs_data_set_default_double(settings, S_STRENGTH, 0.8);
    obs_data_set_default_double(settings, S_FREEDOM, 0.1);
    obs_data_set_default_int(settings, S_STEPS, 1);
    obs_data_set_default_int(settings, S_DETAIL, 384);
    obs_data_set_default_int(settings, S_LATENCY, 250);
    obs_data_set_default_string(settings, S_SESSION, filter ? "" : "live");
}

static void read_look(struct instance *instance, obs_data_t *settings)
{
    struct look *look = &instance->look;
    snprintf(look->style, sizeof look->style, "%s", obs_data_get_string(settings, S_STYLE));
    snprintf(look->prompt, sizeof look->prompt, "%s", obs_data_get_string(settings, S_PROMPT));
    look->strength = obs_data_get_double(settings, S_STRENGTH);
    look->freedom = obs_data_get_double(settings, S_FREEDOM);
    look->steps = (int)obs_data_get_int(settings, S_STEPS);
    snprintf(instance->picture_path, sizeof instance->picture_path, "%s", obs_data_get_string(settings, S_PICTURE));
    look->forget_picture = !*instance->picture_path && *instance->sent_picture;
    instance->detail = (uint32_t)obs_data_get_int(settings, S_DETAIL);
    instance->latency = obs_data_get_bool(settings, S_FIXED) ? obs_data_get_int(settings, S_LATENCY) * 1000000 : 0;
}

void instance_update(struct instance *instance, obs_data_t *settings)
{
    const char *session = obs_data_get_string(settings, S_SESSION), *preset = obs_data_get_string(settings, S_PRESET);
    pthread_mutex_lock(&instance->lock);
    read_look(instance, settings);
    instance->bad_picture &= *instance->picture_path != 0;
    bool new_picture = *instance->picture_path && strcmp(instance->picture_path, instance->sent_picture) != 0;
    bool apply = instance->filter && *preset && strcmp(preset, instance->preset) != 0 && instance->state_known;
    snprintf(instance->preset, sizeof instance->preset, "%s", preset);
    pthread_mutex_unlock(&instance->lock);
    bus_client_address(instance->client, obs_data_get_string(settings, S_SOCKET),
                       *session ? session : instance->own_session, obs_source_get_name(instance->source));
    if (!instance->filter)
        return;
    sync_send_look(instance);
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
}

void instance_shape(struct instance *instance, uint32_t width, uint32_t height)
{
    uint32_t model_width, model_height;
    if (!width || !height)
        return;
    look_model_size(width, height, instance->detail ? instance->detail : 384, &model_width, &model_height);
    if (instance->look.width == model_width && instance->look.height == model_height)
        return;
    pthread_mutex_lock(&instance->lock);
    instance->look.width = model_width;
    instance->look.height = model_height;
    pthread_mutex_unlock(&instance->lock);
    sync_send_look(instance);
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

void instance_next_style(struct instance *instance, int step)
{
    char name[STATE_NAME_SIZE] = "";
    pthread_mutex_lock(&instance->lock);
    const struct name_list *styles = &instance->state.styles;
    size_t place = step > 0 ? styles->count - 1 : 0;
    for (size_t i = 0; i < styles->count; i++)
        if (strcmp(styles->names[i], instance->look.style) == 0)
            place = i;
    if (styles->count)
        snprintf(name, sizeof name, "%s", styles->names[(place + styles->count + (size_t)step) % styles->count]);
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
