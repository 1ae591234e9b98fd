/* SPDX-License-Identifier: GPL-2.0-or-later */
/* What the daemon has said about a session. Knows neither OBS nor sockets. */
#pragma once

#include "json.h"

#define STATE_NAME_SIZE 260 /* of a preset: 64 characters of up to four bytes */

/* The JSON values are owned copies, or none. */
struct daemon_state {
    struct json parameters;
    struct json fields;          /* the table of parameters */
    struct json styles, presets; /* arrays of names */
    char session[64], engine[24], model[24], notice[256], page[256];
};

/* Takes what the JSON of an EVENT or REPLY says of the session; the rest stays. */
void daemon_state_take(struct daemon_state *state, struct json message);

/* Whether a message is the answer to a REPORT. */
bool daemon_state_is_report(struct json message);

/* Takes what can be chosen from such an answer; a daemon that sends no table has none. True when anything has changed. */
bool daemon_state_take_report(struct daemon_state *state, struct json message);

void daemon_state_copy(struct daemon_state *copy, const struct daemon_state *state);
void daemon_state_free(struct daemon_state *state);
