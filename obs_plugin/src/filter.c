/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The effect filter "Driftcam": any source goes to the daemon and comes back stylised. */
#include "filter.h"

#include "platform.h"
#include "properties.h"

#define UNSEEN 1000000000LL /* ns without being drawn: hidden or disabled */

struct filter {
    struct instance *instance;
    bool drawn; /* in this tick: OBS draws a source several times, for preview and program */
    bool seen;
    int64_t drawn_at;
    obs_hotkey_id next_style, previous_style;
    bool hotkeys; /* registered */
};

static const char *filter_name(void *type_data)
{
    (void)type_data;
    return obs_module_text("Filter");
}

static void next_style(void *data, obs_hotkey_id id, obs_hotkey_t *hotkey, bool pressed)
{
    struct filter *filter = data;
    if (pressed)
        instance_next_style(filter->instance, id == filter->next_style ? 1 : -1);
    (void)hotkey;
}

/* On the source that is filtered: OBS gives filters themselves none. */
static void register_hotkeys(struct filter *filter, obs_source_t *parent)
{
    filter->next_style = obs_hotkey_register_source(parent, "Driftcam.NextStyle", obs_module_text("Hotkey.NextStyle"),
                                                    next_style, filter);
    filter->previous_style = obs_hotkey_register_source(
        parent, "Driftcam.PreviousStyle", obs_module_text("Hotkey.PreviousStyle"), next_style, filter);
    filter->hotkeys = true;
}

static void filter_removed(void *data, obs_source_t *parent)
{
    struct filter *filter = data;
    if (filter->hotkeys) {
        obs_hotkey_unregister(filter->next_style);
        obs_hotkey_unregister(filter->previous_style);
    }
    filter->hotkeys = false;
    (void)parent;
}

static void *filter_create(obs_data_t *settings, obs_source_t *source)
{
    struct filter *filter = bzalloc(sizeof *filter);
    filter->instance = instance_create(source, settings, true);
    if (!filter->instance) {
        bfree(filter);
        return NULL;
    }
    return filter;
}

static void filter_destroy(void *data)
{
    struct filter *filter = data;
    filter_removed(filter, NULL);
    instance_destroy(filter->instance);
    bfree(filter);
}

static void filter_defaults(obs_data_t *settings)
{
    instance_defaults(settings, true);
}

static void filter_update(void *data, obs_data_t *settings)
{
    struct filter *filter = data;
    instance_update(filter->instance, settings);
}

static obs_properties_t *filter_properties(void *data)
{
    struct filter *filter = data;
    return properties_create(filter->instance);
}

static void filter_tick(void *data, float seconds)
{
    struct filter *filter = data;
    filter->drawn = false;
    instance_tick(filter->instance);
    if (filter->seen && platform_now() - filter->drawn_at > UNSEEN) {
        filter->seen = false;
        bus_client_want(filter->instance->client, false, false);
    }
    (void)seconds;
}

static void capture_once(struct filter *filter, obs_source_t *parent, obs_source_t *target)
{
    struct bus_status status;
    if (filter->drawn)
        return;
    filter->drawn = true;
    filter->drawn_at = platform_now();
    instance_shape(filter->instance, obs_source_get_base_width(target), obs_source_get_base_height(target));
    if (!filter->hotkeys)
        register_hotkeys(filter, parent);
    if (!filter->seen)
        bus_client_want(filter->instance->client, true, false);
    filter->seen = true;
    bus_client_status(filter->instance->client, &status);
    if (status.state == BUS_CONNECTED)
        capture_frame(&filter->instance->capture, filter->instance->client, parent, target, status.width,
                      status.height);
}

static void filter_render(void *data, gs_effect_t *effect)
{
    struct filter *filter = data;
    obs_source_t *parent = obs_filter_get_parent(filter->instance->source);
    obs_source_t *target = obs_filter_get_target(filter->instance->source);
    if (parent && target) {
        uint32_t width = obs_source_get_base_width(target), height = obs_source_get_base_height(target);
        capture_once(filter, parent, target);
        if (width && height && instance_draw(filter->instance, width, height))
            return;
    }
    /* Asked again: the filter may be removed by another thread at any moment, and OBS does not check. */
    if (obs_filter_get_parent(filter->instance->source) && obs_filter_get_target(filter->instance->source))
        obs_source_skip_video_filter(filter->instance->source);
    (void)effect;
}

static struct obs_source_info filter_info = {
    .id = FILTER_ID,
    .type = OBS_SOURCE_TYPE_FILTER,
    .output_flags = OBS_SOURCE_VIDEO | OBS_SOURCE_SRGB,
    .get_name = filter_name,
    .create = filter_create,
    .destroy = filter_destroy,
    .get_defaults = filter_defaults,
    .get_properties = filter_properties,
    .update = filter_update,
    .video_tick = filter_tick,
    .video_render = filter_render,
    .filter_remove = filter_removed,
};

void filter_register(void)
{
    obs_register_source(&filter_info);
}
