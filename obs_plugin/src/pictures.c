/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "pictures.h"

#include "platform.h"

static struct picture *at(struct pictures *pictures, unsigned index)
{
    return &pictures->ring[(pictures->first + index) % PICTURES_KEPT];
}

/* A place behind the last picture; when there is none the oldest makes room. */
static struct picture *next_place(struct pictures *pictures)
{
    if (pictures->count == PICTURES_KEPT) {
        pictures->first = (pictures->first + 1) % PICTURES_KEPT;
        pictures->count--;
    }
    return at(pictures, pictures->count);
}

static bool upload(struct picture *picture, const struct bus_picture *result)
{
    if (!picture->colour || picture->width != result->width || picture->height != result->height) {
        gs_texture_destroy(picture->colour);
        picture->colour = gs_texture_create(result->width, result->height, GS_BGRA, 1, NULL, GS_DYNAMIC);
        picture->width = result->width;
        picture->height = result->height;
    }
    if (!picture->colour)
        return false;
    gs_texture_set_image(picture->colour, result->pixels, result->stride, false);
    return true;
}

/* `next` is shown instead of `shown`. */
static void follow(struct picture *shown, struct picture *next)
{
    if (!next->borrows)
        return;
    gs_texrender_t *mask = next->mask;
    next->mask = shown->mask;
    shown->mask = mask;
    next->masked = shown->masked;
    next->borrows = shown->masked = false;
}

/* Without a fixed latency the newest takes the place of the shown one: two textures do. */
static void show_newest(struct pictures *pictures)
{
    struct picture *shown = at(pictures, 0), *newest = at(pictures, pictures->count - 1);
    follow(shown, newest);
    struct picture before = *shown;
    *shown = *newest;
    *newest = before;
    pictures->count = 1;
}

void pictures_take(struct pictures *pictures, struct bus_client *client, struct capture *capture, int64_t latency)
{
    struct bus_picture result;
    if (!bus_client_take(client, &result))
        return;
    int64_t start = platform_now();
    struct picture *picture = next_place(pictures);
    bool good = upload(picture, &result);
    picture->pts = result.pts;
    picture->counted = false;
    picture->masked = capture && capture_exchange(capture, result.pts, &picture->mask);
    picture->borrows = capture && !picture->masked;
    bus_client_give_back(client, &result);
    if (!good)
        return;
    pictures->count++;
    if (latency <= 0 && pictures->count > 1)
        show_newest(pictures);
    samples_add(&pictures->upload_ms, (double)(platform_now() - start) / 1e6);
}

struct picture *pictures_due(struct pictures *pictures, int64_t now, int64_t latency)
{
    if (!pictures->count)
        return NULL;
    while (pictures->count > 1 && at(pictures, 1)->pts + latency <= now) {
        follow(at(pictures, 0), at(pictures, 1));
        pictures->first = (pictures->first + 1) % PICTURES_KEPT;
        pictures->count--;
    }
    struct picture *picture = at(pictures, 0);
    if (latency > 0 && !picture->counted && picture->pts + latency > now)
        return NULL; /* the very first one, not due yet */
    if (!picture->counted) {
        picture->counted = true;
        pictures->last_latency = now - picture->pts;
        samples_add(&pictures->latency_ms, (double)pictures->last_latency / 1e6);
        rate_add(&pictures->rate, now);
    }
    return picture;
}

void picture_draw(struct picture *picture, gs_effect_t *effect, uint32_t width, uint32_t height)
{
    bool linear = gs_get_linear_srgb(), before = gs_framebuffer_srgb_enabled();
    gs_texture_t *mask = picture->masked ? gs_texrender_get_texture(picture->mask) : NULL;
    gs_eparam_t *image = gs_effect_get_param_by_name(effect, "image");
    gs_enable_framebuffer_srgb(linear);
    if (linear)
        gs_effect_set_texture_srgb(image, picture->colour);
    else
        gs_effect_set_texture(image, picture->colour);
    if (mask)
        gs_effect_set_texture(gs_effect_get_param_by_name(effect, "mask"), mask);
    gs_blend_state_push();
    gs_blend_function(GS_BLEND_ONE, GS_BLEND_INVSRCALPHA);
    while (gs_effect_loop(effect, mask ? "Masked" : "Draw"))
        gs_draw_sprite(picture->colour, 0, width, height);
    gs_blend_state_pop();
    gs_enable_framebuffer_srgb(before);
}

void pictures_free(struct pictures *pictures)
{
    for (int i = 0; i < PICTURES_KEPT; i++) {
        gs_texture_destroy(pictures->ring[i].colour);
        gs_texrender_destroy(pictures->ring[i].mask);
    }
}
