/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "daemon_state.h"

#include <string.h>

static void take_text(char *text, size_t size, struct json value)
{
    if (value.text)
        json_string(value, text, size);
}

bool daemon_state_is_report(struct json message)
{
    return json_member(message, "styles").text != NULL;
}

bool daemon_state_take_report(struct daemon_state *state, struct json message)
{
    if (!daemon_state_is_report(message))
        return false;
    bool styles = json_keep(&state->styles, json_member(message, "styles"));
    bool presets = json_keep(&state->presets, json_member(message, "presets"));
    bool fields = json_keep(&state->fields, json_member(message, "fields"));
    return styles || presets || fields;
}

void daemon_state_take(struct daemon_state *state, struct json message)
{
    struct json parameters = json_member(message, "parameters");
    if (json_is_object(parameters))
        json_keep(&state->parameters, parameters);
    take_text(state->session, sizeof state->session, json_member(message, "session"));
    take_text(state->engine, sizeof state->engine, json_member(message, "engine"));
    take_text(state->model, sizeof state->model, json_member(message, "model"));
    take_text(state->notice, sizeof state->notice, json_member(message, "notice"));
    take_text(state->page, sizeof state->page, json_member(message, "page"));
}

void daemon_state_copy(struct daemon_state *copy, const struct daemon_state *state)
{
    *copy = *state;
    copy->parameters = copy->fields = copy->styles = copy->presets = (struct json){0};
    json_keep(&copy->parameters, state->parameters);
    json_keep(&copy->fields, state->fields);
    json_keep(&copy->styles, state->styles);
    json_keep(&copy->presets, state->presets);
}

void daemon_state_free(struct daemon_state *state)
{
    const struct json none = {0};
    json_keep(&state->parameters, none);
    json_keep(&state->fields, none);
    json_keep(&state->styles, none);
    json_keep(&state->presets, none);
}
