/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "daemon_state.h"

#include <string.h>

/* True when the list is there and differs. */
static bool take_names(struct name_list *list, struct json names)
{
    static _Thread_local struct name_list fresh; /* 8 KB: not on OBS's stacks */
    struct json item;
    size_t cursor = 0;
    if (!names.text)
        return false;
    memset(&fresh, 0, sizeof fresh);
    while (fresh.count < STATE_MOST_NAMES && json_next(names, &cursor, &item))
        if (json_string(item, fresh.names[fresh.count], STATE_NAME_SIZE))
            fresh.count++;
    if (memcmp(&fresh, list, sizeof fresh) == 0)
        return false;
    *list = fresh;
    return true;
}

static void take_text(char *text, size_t size, struct json value)
{
    if (value.text)
        json_string(value, text, size);
}

bool daemon_state_take(struct daemon_state *state, struct json report)
{
    if (!json_is_object(report))
        return false;
    look_from_json(&state->look, json_member(report, "parameters"));
    state->version = json_number(json_member(report, "version"), state->version);
    state->fps = json_number(json_member(report, "fps"), state->fps);
    state->latency_ms = json_number(json_member(report, "latency_ms"), state->latency_ms);
    take_text(state->session, sizeof state->session, json_member(report, "session"));
    take_text(state->engine, sizeof state->engine, json_member(report, "engine"));
    take_text(state->notice, sizeof state->notice, json_member(report, "notice"));
    take_text(state->page, sizeof state->page, json_member(report, "page"));
    bool styles = take_names(&state->styles, json_member(report, "styles"));
    bool presets = take_names(&state->presets, json_member(report, "presets"));
    return styles || presets;
}
