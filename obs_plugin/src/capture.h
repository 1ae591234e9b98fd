/* SPDX-License-Identifier: GPL-2.0-or-later */
/* From a source on the GPU to an input slot: drawn at the model's size, staged, copied one frame later.
 *
 * Everything here is called with the graphics context entered.
 */
#pragma once

#include "bus_client.h"
#include "samples.h"

#include <graphics/graphics.h>
#include <obs.h>

#define CAPTURES_KEPT 32 /* half a second at 60 fps: pictures between two results come a frame of the engine later */

/* A captured picture, kept on the GPU until its result is back: it has the alpha of the frame. */
struct captured {
    gs_texrender_t *render;
    int64_t pts; /* 0: not waiting for a result */
};

struct capture {
    struct captured kept[CAPTURES_KEPT];
    gs_texrender_t *full; /* the source at its own size, when it is much larger than the model's */
    gs_stagesurf_t *stage[2];
    uint32_t width, height; /* of the stages */
    unsigned turn;
    bool pending; /* stage[turn] holds a picture for `slot` */
    struct bus_picture slot;
    struct samples draw_ms, copy_ms;
};

/* Sends what was staged before, then captures `target` (of `parent`) at width × height if there is a free slot. */
void capture_frame(struct capture *capture, struct bus_client *client, obs_source_t *parent, obs_source_t *target,
                   uint32_t width, uint32_t height);

/* Gives the texture of the frame with time `pts`, or of the last one before it, away in exchange for `*render`, and
 * forgets all older ones. False, and nothing happens, when none is known. */
bool capture_exchange(struct capture *capture, int64_t pts, gs_texrender_t **render);

void capture_free(struct capture *capture, struct bus_client *client);
