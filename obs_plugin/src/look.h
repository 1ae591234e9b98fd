/* SPDX-License-Identifier: GPL-2.0-or-later */
/* How a picture shall look, as the settings say it, and as the bus wants to hear it. Knows neither OBS nor sockets. */
#pragma once

#include "json.h"

#include <stdint.h>

#define LOOK_STYLE_SIZE 256
#define LOOK_PROMPT_SIZE 1024

struct look {
    char style[LOOK_STYLE_SIZE]; /* NAME, or NAME:WEIGHT,NAME:WEIGHT */
    char prompt[LOOK_PROMPT_SIZE]; /* instead of the style when not empty */
    bool forget_picture;           /* a style picture was sent before and is not wanted any more */
    double strength, freedom;      /* 0 to 1 */
    int steps;
    uint32_t width, height; /* of the model's picture; 0: as the daemon likes */
};

/* The JSON for PARAMETERS and HELLO; an empty text when it does not fit into `size`. */
void look_to_json(const struct look *look, char *text, size_t size);

/* Takes from `parameters` (of an EVENT or REPLY) what it has. The prompt is left alone: the daemon knows styles only. */
void look_from_json(struct look *look, struct json parameters);

/* Whether both ask for the same picture as far as the daemon tells: style, strength, freedom and steps. */
bool look_same(const struct look *one, const struct look *other);

/* The model's size for a picture: its shape, about `detail`² pixels, whole cells of the model (32), 64 to 1024. */
void look_model_size(uint32_t width, uint32_t height, uint32_t detail, uint32_t *model_width, uint32_t *model_height);
