/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The source "Driftcam Output": the stylised picture of one of the daemon's sessions, with its alpha. */
#include "output.h"

#include "properties.h"

static const char *output_name(void *type_data)
{
    (void)type_data;
    return obs_module_text("Output");
}

static void *output_create(obs_data_t *settings, obs_source_t *source)
{
    return instance_create(source, settings, false);
}

static void output_destroy(void *instance)
{
    instance_destroy(instance);
}

static void output_defaults(obs_data_t *settings)
{
    instance_defaults(settings, false);
}

static void output_update(void *instance, obs_data_t *settings)
{
    instance_update(instance, settings);
}

static obs_properties_t *output_properties(void *instance)
{
    return properties_create(instance);
}

/* Hidden: the connection ends, so that the daemon does not copy pictures that nobody sees. */
static void output_show(void *instance)
{
    bus_client_want(((struct instance *)instance)->client, true, false);
}

static void output_hide(void *instance)
{
    bus_client_want(((struct instance *)instance)->client, false, true);
}

static uint32_t output_width(void *data)
{
    struct instance *instance = data;
    struct bus_status status;
    bus_client_status(instance->client, &status);
    return status.width;
}

static uint32_t output_height(void *data)
{
    struct instance *instance = data;
    struct bus_status status;
    bus_client_status(instance->client, &status);
    return status.height;
}

static void output_tick(void *instance, float seconds)
{
    instance_tick(instance);
    (void)seconds;
}

static void output_render(void *instance, gs_effect_t *effect)
{
    instance_draw(instance, output_width(instance), output_height(instance));
    (void)effect;
}

static struct obs_source_info output_info = {
    .id = OUTPUT_ID,
    .type = OBS_SOURCE_TYPE_INPUT,
    .output_flags = OBS_SOURCE_VIDEO | OBS_SOURCE_CUSTOM_DRAW | OBS_SOURCE_SRGB,
    .icon_type = OBS_ICON_TYPE_CAMERA,
    .get_name = output_name,
    .create = output_create,
    .destroy = output_destroy,
    .get_defaults = output_defaults,
    .get_properties = output_properties,
    .update = output_update,
    .show = output_show,
    .hide = output_hide,
    .get_width = output_width,
    .get_height = output_height,
    .video_tick = output_tick,
    .video_render = output_render,
};

void output_register(void)
{
    obs_register_source(&output_info);
}
