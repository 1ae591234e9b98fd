/* SPDX-License-Identifier: GPL-2.0-or-later */
/* How a picture shall look: as the settings of a filter, as the daemon's parameters, and as changes of either by the
 * other side. Knows neither OBS nor sockets.
 *
 * Settings are a JSON object as OBS saves them: only what was chosen. Parameters are one as the daemon says them. A setting
 * has the name of its parameter, but for the ones below. `fields` is the daemon's table (fields.h), for what was not chosen.
 */
#pragma once

#include "json.h"

#include <stdint.h>

/* Names of the settings, as they are saved and as obs-websocket sees them. */
#define S_STYLE "style"          /* NAME, or NAME:WEIGHT,NAME:WEIGHT */
#define S_PROMPT "prompt"        /* instead of the style when not empty */
#define S_PROMPTS "prompts"      /* JSON of several weighted texts that came from the daemon; the prompt shows them */
#define S_PICTURE "style_image"  /* path */
#define S_PRESET "preset"
#define S_ADVANCED "advanced"
#define S_DETAIL "detail"        /* the model's picture has about this many pixels squared */
#define S_FIXED "fixed_latency"
#define S_LATENCY "latency_ms"
#define S_SESSION "session"
#define S_SOCKET "socket"

#define LOOK_STYLE_SIZE 2048
#define LOOK_GRAIN 32 /* pixels per cell of the model */

/* Whether the setting of this name is a parameter of the same name. */
bool look_is_parameter(const char *name);

/* The style of the settings, or else that of the table; an empty text when there is none. */
void look_style(char style[LOOK_STYLE_SIZE], struct json settings, struct json fields);

/* Each of the following writes one JSON object; after an overflow there is none (json_written()). */

/* The model's size for a session that is opened with these settings; 0: as the daemon likes. */
struct look_size {
    uint32_t width, height;
};

/* The parameters to open a session with: what was chosen, but for the settings that `refused` (an object) names. */
void look_write_hello(struct json_writer *writer, struct json settings, struct json refused, struct look_size size);

/* The parameters that change when the settings `before` become `after`; false when none does. */
bool look_write_changes(struct json_writer *writer, struct json before, struct json after, struct json fields);

/* The settings that follow when the parameters `before` become `now`; false when none does. What `sent` (parameters that
 * were sent and not answered) names is left alone. */
bool look_write_followed(struct json_writer *writer, struct json before, struct json now, struct json sent,
                         struct json fields);

/* The settings that differ from the parameters of a session that is seen for the first time, `sent` as above. */
bool look_write_found(struct json_writer *writer, struct json settings, struct json now, struct json sent,
                      struct json fields);

/* The name of the setting that the daemon means when it refuses `field`. */
const char *look_setting(const char *field);

/* The model's size for a picture: its shape, about `detail`² pixels, whole cells of the model, within the table's
 * bounds. */
struct look_size look_model_size(uint32_t width, uint32_t height, uint32_t detail, struct json fields);

/* The same for a session whose size was not chosen here: its own as far as it has the shape, or else one of its area. */
struct look_size look_same_area(uint32_t width, uint32_t height, struct look_size now, struct json fields);
