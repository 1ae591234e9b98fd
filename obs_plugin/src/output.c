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
    return stream_create(source, settings, false);
}

static void output_destroy(void *stream)
{
    stream_destroy(stream);
}

static void output_defaults(obs_data_t *settings)
{
    stream_defaults(settings, false);
}

static void output_update(void *stream, obs_data_t *settings)
{
    stream_update(stream, settings);
}

static obs_properties_t *output_properties(void *stream)
{
    return properties_create(stream);
}

/* Hidden: the connection ends, so that the daemon does not copy pictures that nobody sees. */
static void output_show(void *stream)
{
    bus_client_want(((struct stream *)stream)->client, true, false);
}

static void output_hide(void *stream)
{
    bus_client_want(((struct stream *)stream)->client, false, true);
}

static uint32_t output_width(void *data)
{
    struct stream *stream = data;
    struct bus_status status;
    bus_client_status(stream->client, &status);
    return status.width;
}

static uint32_t output_height(void *data)
{
    struct stream *stream = data;
    struct bus_status status;
    bus_client_status(stream->client, &status);
    return status.height;
}

static void output_tick(void *stream, float seconds)
{
    stream_tick(stream);
    (void)seconds;
}

static void output_render(void *stream, gs_effect_t *effect)
{
    stream_draw(stream, output_width(stream), output_height(stream));
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
