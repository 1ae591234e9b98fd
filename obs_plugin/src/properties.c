/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "properties.h"

#include "../driftcam_bus.h"
#include "fields.h"

#include <limits.h>
#include <math.h>
#include <stdio.h>
#include <string.h>

#define PICTURE_FILES "*.png *.jpg *.jpeg *.webp *.bmp *.gif *.tif *.tiff"
#define LONGEST_SLIDER 1000 /* steps; beyond it a number is typed */
#define ADVANCED_GROUP "advanced_settings"

static obs_property_t *with_help(obs_property_t *property, const char *help)
{
    obs_property_set_long_description(property, obs_module_text(help));
    return property;
}

static void add_names(obs_property_t *list, struct json names)
{
    struct json item;
    char name[STATE_NAME_SIZE];
    for (size_t cursor = 0; json_next(names, &cursor, &item);)
        if (json_string(item, name, sizeof name))
            obs_property_list_add_string(list, name, name);
}

/* -- the look: what leads the picture, and the daemon's parameters */

static void add_style(obs_properties_t *properties, const struct daemon_state *state, const char *style)
{
    obs_property_t *list = with_help(obs_properties_add_list(properties, S_STYLE, obs_module_text("Style"),
                                                             OBS_COMBO_TYPE_EDITABLE, OBS_COMBO_FORMAT_STRING),
                                     "Style.Help");
    add_names(list, state->styles);
    if (!state->styles.text && *style)
        obs_property_list_add_string(list, style, style);
}

static void add_presets(obs_properties_t *properties, const struct daemon_state *state)
{
    obs_property_t *list = with_help(obs_properties_add_list(properties, S_PRESET, obs_module_text("Preset"),
                                                             OBS_COMBO_TYPE_LIST, OBS_COMBO_FORMAT_STRING),
                                     "Preset.Help");
    obs_property_list_add_string(list, obs_module_text("Preset.None"), "");
    add_names(list, state->presets);
}

/* The key of a parameter's texts: GuidanceScale for guidance_scale. */
static void text_key(char *key, size_t size, const char *name, const char *end)
{
    size_t length = 0;
    for (bool first = true; *name && length + 1 < size; name++) {
        if (*name == '_') {
            first = true;
            continue;
        }
        key[length++] = first && *name >= 'a' && *name <= 'z' ? (char)(*name - 'a' + 'A') : *name;
        first = false;
    }
    snprintf(key + length, size - length, "%s", end);
}

/* As translated here, or else as the daemon says. */
static const char *text_of(const char *name, const char *end, const char *otherwise)
{
    char key[80];
    const char *translated = otherwise;
    text_key(key, sizeof key, name, end);
    obs_module_get_string(key, &translated);
    return translated;
}

static obs_property_t *add_number(obs_properties_t *properties, const struct field *field, const char *label)
{
    char unit[40];
    obs_property_t *property = obs_properties_add_float_slider(properties, field->name, label, field->low, field->high,
                                                               field->step);
    snprintf(unit, sizeof unit, *field->unit ? " %s" : "%s", field->unit);
    obs_property_float_set_suffix(property, unit);
    return property;
}

static obs_property_t *add_integer(obs_properties_t *properties, const struct field *field, const char *label)
{
    char unit[40];
    int low = (int)fmax(field->low, INT_MIN), high = (int)fmin(field->high, INT_MAX), step = (int)fmax(field->step, 1.0);
    bool slides = (field->high - field->low) / step <= LONGEST_SLIDER;
    obs_property_t *property = (slides ? obs_properties_add_int_slider
                                       : obs_properties_add_int)(properties, field->name, label, low, high, step);
    snprintf(unit, sizeof unit, *field->unit ? " %s" : "%s", field->unit);
    obs_property_int_set_suffix(property, unit);
    return property;
}

static obs_property_t *add_choice(obs_properties_t *properties, const struct field *field, const char *label)
{
    struct json choice, shown;
    char value[128], text[128];
    obs_property_t *list = obs_properties_add_list(properties, field->name, label, OBS_COMBO_TYPE_LIST,
                                                   OBS_COMBO_FORMAT_STRING);
    for (size_t cursor = 0, at = 0; json_next(field->choices, &cursor, &choice);) {
        json_string(choice, value, sizeof value);
        bool named = json_next(field->labels, &at, &shown) && json_string(shown, text, sizeof text) && *text;
        obs_property_list_add_string(list, named ? text : value, value);
    }
    return list;
}

static void add_field(obs_properties_t *properties, const struct field *field)
{
    obs_property_t *property = NULL;
    const char *label = text_of(field->name, "", *field->label ? field->label : field->name);
    switch (field->kind) {
    case FIELD_NUMBER:
        property = add_number(properties, field, label);
        break;
    case FIELD_INTEGER:
        property = add_integer(properties, field, label);
        break;
    case FIELD_CHOICE:
        property = add_choice(properties, field, label);
        break;
    case FIELD_TEXT:
        property = obs_properties_add_text(properties, field->name, label, OBS_TEXT_DEFAULT);
        break;
    default:
        return;
    }
    obs_property_set_long_description(property, text_of(field->name, ".Help", field->about));
}

static bool in_group(const struct field *field, const char *group)
{
    return strcmp(field->group, group) == 0;
}

/* Whether there is a control for it here: of a session that has it, whose model it acts on. */
static bool has_control(const struct field *field, const struct daemon_state *state)
{
    return field->kind != FIELD_OTHER && look_is_parameter(field->name) && field_acts_on(field, state->model) &&
           json_member(state->parameters, field->name).text;
}

/* Whether the model takes a picture's style. */
static bool takes_pictures(const struct daemon_state *state)
{
    struct field field;
    return !field_find(state->fields, "style_vector", &field) || field_acts_on(&field, state->model);
}

static void add_group(obs_properties_t *properties, const struct daemon_state *state, const char *group)
{
    struct field field;
    for (size_t cursor = 0; field_next(state->fields, &cursor, &field);)
        if (has_control(&field, state) && in_group(&field, group))
            add_field(properties, &field);
}

/* Groups that a condition of the model brings along, each in a frame of its own. */
static void add_own_groups(obs_properties_t *properties, const struct daemon_state *state)
{
    struct field field;
    for (size_t cursor = 0; field_next(state->fields, &cursor, &field);) {
        char name[80];
        snprintf(name, sizeof name, "group %s", field.group);
        bool usual = in_group(&field, "Style") || in_group(&field, "Look") || in_group(&field, "More");
        if (usual || !has_control(&field, state) || obs_properties_get(properties, name))
            continue;
        obs_properties_t *group = obs_properties_create();
        add_group(group, state, field.group);
        obs_properties_add_group(properties, name, field.group, OBS_GROUP_NORMAL, group);
    }
}

static void add_look(obs_properties_t *properties, const struct daemon_state *state, const char *style)
{
    add_style(properties, state, style);
    with_help(obs_properties_add_text(properties, S_PROMPT, obs_module_text("Prompt"), OBS_TEXT_DEFAULT), "Prompt.Help");
    if (takes_pictures(state))
        obs_properties_add_path(properties, S_PICTURE, obs_module_text("StyleImage"), OBS_PATH_FILE, PICTURE_FILES, NULL);
    add_group(properties, state, "Style");
    add_group(properties, state, "Look");
    add_presets(properties, state);
    add_own_groups(properties, state);
}

/* -- the rest */

static bool show_advanced(obs_properties_t *properties, obs_property_t *property, obs_data_t *settings)
{
    obs_property_set_visible(obs_properties_get(properties, ADVANCED_GROUP), obs_data_get_bool(settings, S_ADVANCED));
    obs_property_set_visible(obs_properties_get(properties, S_LATENCY), obs_data_get_bool(settings, S_FIXED));
    (void)property;
    return true;
}

static void add_detail(obs_properties_t *properties, const struct daemon_state *state)
{
    struct look_size smallest = look_model_size(1, 1, 1, state->fields);
    struct look_size largest = look_model_size(1, 1, DRIFTCAM_MAX_SIDE, state->fields);
    with_help(obs_properties_add_int_slider(properties, S_DETAIL, obs_module_text("Detail"), (int)smallest.width,
                                            (int)largest.width, LOOK_GRAIN),
              "Detail.Help");
}

static void add_advanced(obs_properties_t *properties, const struct daemon_state *state, bool filter)
{
    obs_properties_t *group = obs_properties_create();
    obs_property_set_modified_callback(obs_properties_add_bool(properties, S_ADVANCED, obs_module_text("Advanced")),
                                       show_advanced);
    if (filter) {
        add_detail(group, state);
        add_group(group, state, "More");
    }
    obs_property_t *fixed = with_help(obs_properties_add_bool(group, S_FIXED, obs_module_text("FixedLatency")),
                                      "FixedLatency.Help");
    obs_property_set_modified_callback(fixed, show_advanced);
    obs_property_int_set_suffix(obs_properties_add_int(group, S_LATENCY, obs_module_text("Latency"), 20, 1000, 5),
                                " ms");
    with_help(obs_properties_add_text(group, S_SESSION, obs_module_text("Session"), OBS_TEXT_DEFAULT),
              filter ? "Session.FilterHelp" : "Session.OutputHelp");
    with_help(obs_properties_add_text(group, S_SOCKET, obs_module_text("Socket"), OBS_TEXT_DEFAULT), "Socket.Help");
    obs_properties_add_group(properties, ADVANCED_GROUP, obs_module_text("Advanced"), OBS_GROUP_NORMAL, group);
}

static bool reconnect(obs_properties_t *properties, obs_property_t *property, void *data)
{
    struct instance *instance = obs_properties_get_param(properties);
    bus_client_reconnect(instance->client);
    (void)property, (void)data;
    return false;
}

static bool refresh(obs_properties_t *properties, obs_property_t *property, void *data)
{
    struct instance *instance = obs_properties_get_param(properties);
    char text[1024];
    instance_describe(instance, text, sizeof text);
    bus_client_report(instance->client);
    obs_property_set_description(obs_properties_get(properties, "status"), text);
    (void)property, (void)data;
    return true;
}

static void add_buttons(obs_properties_t *properties, const char *address, bool filter)
{
    /* A filter has a parameter of that name. */
    const char *name = filter ? "refresh_status" : "refresh";
    obs_properties_add_button(properties, name, obs_module_text("Refresh"), refresh);
    obs_properties_add_button(properties, "reconnect", obs_module_text("Reconnect"), reconnect);
    if (strncmp(address, "http://", 7) != 0 && strncmp(address, "https://", 8) != 0)
        return;
    obs_property_t *page = obs_properties_add_button(properties, "page", obs_module_text("OpenPage"), NULL);
    obs_property_button_set_type(page, OBS_BUTTON_URL);
    obs_property_button_set_url(page, (char *)address); /* copied there */
}

obs_properties_t *properties_create(struct instance *instance)
{
    obs_properties_t *properties = obs_properties_create();
    char text[1024], style[LOOK_STYLE_SIZE];
    struct daemon_state state;
    pthread_mutex_lock(&instance->lock); /* not for as long as the dialogue is built */
    daemon_state_copy(&state, &instance->state);
    look_style(style, instance->settings, instance->state.fields);
    pthread_mutex_unlock(&instance->lock);
    bus_client_report(instance->client); /* new names open the dialogue anew */
    obs_properties_set_param(properties, instance, NULL);
    instance_describe(instance, text, sizeof text);
    obs_properties_add_text(properties, "status", text, OBS_TEXT_INFO);
    if (instance->filter)
        add_look(properties, &state, style);
    add_advanced(properties, &state, instance->filter);
    add_buttons(properties, state.page, instance->filter);
    daemon_state_free(&state);
    return properties;
}
