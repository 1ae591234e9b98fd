/* SPDX-License-Identifier: GPL-2.0-or-later */
/* What the daemon has said about a session. Knows neither OBS nor sockets. */
#pragma once

#include "look.h"

#define STATE_MOST_NAMES 128
#define STATE_NAME_SIZE 64

struct name_list {
    size_t count;
    char names[STATE_MOST_NAMES][STATE_NAME_SIZE];
};

struct daemon_state {
    struct look look;
    double version, fps, latency_ms;
    char session[64], engine[24], notice[256], page[256];
    struct name_list styles, presets;
};

/* Takes what the JSON of an EVENT, REPLY or report has; the rest stays. True when one of the lists has changed. */
bool daemon_state_take(struct daemon_state *state, struct json report);
