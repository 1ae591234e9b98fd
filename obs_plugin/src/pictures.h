/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Stylised pictures on the GPU: the one that is shown, and with a fixed latency those that are not due yet.
 *
 * Everything here is called with the graphics context entered.
 */
#pragma once

#include "bus_client.h"
#include "capture.h"
#include "samples.h"

#include <graphics/graphics.h>

#define PICTURES_KEPT 64 /* one second at 60 fps, and a little */

struct picture {
    gs_texture_t *colour;
    uint32_t width, height;
    gs_texrender_t *mask; /* the frame it was made from, for its alpha; may be NULL */
    bool masked, borrows; /* borrows: there was no other frame since the picture before, whose mask it takes over */
    int64_t pts;
    bool counted;
};

struct pictures {
    struct picture ring[PICTURES_KEPT];
    unsigned first, count; /* the shown one (ring[first]), then those that wait */
    struct samples upload_ms, latency_ms;
    struct rate rate;
    int64_t last_latency;
};

/* Uploads the newest result, if there is one. `capture` may be NULL. With `latency` > 0 (ns) the pictures before it wait
 * for their time, otherwise it replaces them. */
void pictures_take(struct pictures *pictures, struct bus_client *client, struct capture *capture, int64_t latency);

/* What to show at `now`: the newest picture that is due; NULL before the first. */
struct picture *pictures_due(struct pictures *pictures, int64_t now, int64_t latency);

/* Draws it over width × height; `effect` is data/driftcam.effect. */
void picture_draw(struct picture *picture, gs_effect_t *effect, uint32_t width, uint32_t height);

void pictures_free(struct pictures *pictures);
