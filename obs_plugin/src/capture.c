/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "capture.h"

#include "platform.h"

#include <string.h>

#define STALE 500000000LL /* ns: a staged picture from before the source was hidden */

static void draw_target(obs_source_t *parent, obs_source_t *target)
{
    uint32_t flags = obs_source_get_output_flags(parent);
    bool draws_itself = flags & (OBS_SOURCE_CUSTOM_DRAW | OBS_SOURCE_ASYNC);
    if (target == parent && !draws_itself)
        obs_source_default_render(target);
    else
        obs_source_video_render(target);
}

/* Draws the target over width × height of `render`; colours come out multiplied by alpha. */
static bool draw_source(gs_texrender_t *render, obs_source_t *parent, obs_source_t *target, uint32_t width,
                        uint32_t height)
{
    struct vec4 clear;
    vec4_zero(&clear);
    gs_texrender_reset(render);
    if (!gs_texrender_begin(render, width, height))
        return false;
    gs_blend_state_push();
    gs_blend_function_separate(GS_BLEND_SRCALPHA, GS_BLEND_INVSRCALPHA, GS_BLEND_ONE, GS_BLEND_INVSRCALPHA);
    gs_clear(GS_CLEAR_COLOR, &clear, 0.0f, 0);
    gs_ortho(0.0f, (float)obs_source_get_base_width(target), 0.0f, (float)obs_source_get_base_height(target), -100.0f,
             100.0f);
    draw_target(parent, target);
    gs_blend_state_pop();
    gs_texrender_end(render);
    return true;
}

/* Plain sampling would flicker where many pixels become one: this effect takes eight of them. */
static bool draw_smaller(gs_texrender_t *render, gs_texture_t *full, uint32_t width, uint32_t height)
{
    gs_effect_t *effect = obs_get_base_effect(OBS_EFFECT_BILINEAR_LOWRES);
    gs_texrender_reset(render);
    if (!effect || !gs_texrender_begin(render, width, height))
        return false;
    gs_blend_state_push();
    gs_blend_function(GS_BLEND_ONE, GS_BLEND_ZERO);
    gs_ortho(0.0f, (float)width, 0.0f, (float)height, -100.0f, 100.0f);
    gs_effect_set_texture(gs_effect_get_param_by_name(effect, "image"), full);
    while (gs_effect_loop(effect, "Draw"))
        gs_draw_sprite(full, 0, width, height);
    gs_blend_state_pop();
    gs_texrender_end(render);
    return true;
}

static bool draw(struct capture *capture, gs_texrender_t *render, obs_source_t *parent, obs_source_t *target,
                 uint32_t width, uint32_t height)
{
    uint32_t source_width = obs_source_get_base_width(target), source_height = obs_source_get_base_height(target);
    if (!source_width || !source_height)
        return false;
    if (source_width <= width * 3 / 2 && source_height <= height * 3 / 2)
        return draw_source(render, parent, target, width, height);
    if (!capture->full)
        capture->full = gs_texrender_create(GS_BGRA, GS_ZS_NONE);
    return draw_source(capture->full, parent, target, source_width, source_height) &&
           draw_smaller(render, gs_texrender_get_texture(capture->full), width, height);
}

static void copy_rows(struct bus_picture *slot, const uint8_t *pixels, uint32_t stride)
{
    if (stride == slot->stride) {
        memcpy(slot->pixels, pixels, (size_t)stride * slot->height);
        return;
    }
    for (uint32_t row = 0; row < slot->height; row++)
        memcpy(slot->pixels + (size_t)row * slot->stride, pixels + (size_t)row * stride, slot->stride);
}

static void send_staged(struct capture *capture, struct bus_client *client)
{
    uint8_t *pixels;
    uint32_t stride;
    if (!capture->pending)
        return;
    capture->pending = false;
    enum bus_use use = BUS_NOTHING;
    int64_t start = platform_now();
    if (start - capture->slot.pts < STALE && gs_stagesurface_map(capture->stage[capture->turn], &pixels, &stride)) {
        copy_rows(&capture->slot, pixels, stride);
        gs_stagesurface_unmap(capture->stage[capture->turn]);
        use = BUS_FRAME;
    }
    samples_add(&capture->copy_ms, (double)(platform_now() - start) / 1e6);
    bus_client_end(client, &capture->slot, use);
}

static bool fit_stages(struct capture *capture, uint32_t width, uint32_t height)
{
    if (capture->width == width && capture->height == height)
        return capture->stage[0] && capture->stage[1];
    for (int i = 0; i < 2; i++) {
        gs_stagesurface_destroy(capture->stage[i]);
        capture->stage[i] = gs_stagesurface_create(width, height, GS_BGRA);
    }
    capture->width = width;
    capture->height = height;
    return capture->stage[0] && capture->stage[1];
}

static struct captured *free_place(struct capture *capture)
{
    struct captured *oldest = capture->kept;
    for (int i = 0; i < CAPTURES_KEPT; i++)
        if (capture->kept[i].pts < oldest->pts)
            oldest = &capture->kept[i];
    if (!oldest->render)
        oldest->render = gs_texrender_create(GS_BGRA, GS_ZS_NONE);
    return oldest;
}

void capture_frame(struct capture *capture, struct bus_client *client, obs_source_t *parent, obs_source_t *target,
                   uint32_t width, uint32_t height)
{
    send_staged(capture, client);
    if (!fit_stages(capture, width, height) || !bus_client_begin(client, (size_t)width * height * 4, &capture->slot))
        return;
    int64_t start = platform_now();
    struct captured *place = free_place(capture);
    place->pts = 0;
    if (!draw(capture, place->render, parent, target, width, height)) {
        bus_client_end(client, &capture->slot, BUS_NOTHING);
        return;
    }
    capture->turn ^= 1;
    gs_stage_texture(capture->stage[capture->turn], gs_texrender_get_texture(place->render));
    capture->slot.width = width;
    capture->slot.height = height;
    capture->slot.stride = width * 4;
    capture->slot.pts = place->pts = (int64_t)obs_get_video_frame_time();
    capture->pending = true;
    samples_add(&capture->draw_ms, (double)(platform_now() - start) / 1e6);
}

bool capture_exchange(struct capture *capture, int64_t pts, gs_texrender_t **render)
{
    struct captured *found = NULL;
    for (int i = 0; i < CAPTURES_KEPT; i++)
        if (capture->kept[i].pts && capture->kept[i].pts <= pts && (!found || capture->kept[i].pts > found->pts))
            found = &capture->kept[i];
    if (!found)
        return false;
    gs_texrender_t *given = found->render;
    found->render = *render;
    *render = given;
    for (int i = 0; i < CAPTURES_KEPT; i++)
        if (capture->kept[i].pts <= pts)
            capture->kept[i].pts = 0;
    return true;
}

void capture_free(struct capture *capture, struct bus_client *client)
{
    if (capture->pending)
        bus_client_end(client, &capture->slot, BUS_NOTHING);
    capture->pending = false;
    gs_texrender_destroy(capture->full);
    for (int i = 0; i < CAPTURES_KEPT; i++)
        gs_texrender_destroy(capture->kept[i].render);
    for (int i = 0; i < 2; i++)
        gs_stagesurface_destroy(capture->stage[i]);
}
