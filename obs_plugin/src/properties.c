/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "properties.h"

#include <stdio.h>
#include <string.h>

#define PICTURE_FILES "*.png *.jpg *.jpeg *.webp *.bmp *.gif *.tif *.tiff"

static obs_property_t *with_help(obs_property_t *property, const char *help)
{
    obs_property_set_long_description(property, obs_module_text(help));
    return property;
}

static void add_style(obs_properties_t *properties, const struct daemon_state *state, const char *style)
{
    obs_property_t *list = with_help(obs_properties_add_list(properties, S_STYLE, obs_module_text("Style"),
                                                             OBS_COMBO_TYPE_EDITABLE, OBS_COMBO_FORMAT_STRING),
                                     "Style.Help");
    const struct name_list *names = &state->styles;
    for (size_t i = 0; i < names->count; i++)
        obs_property_list_add_string(list, names->names[i], names->names[i]);
    if (!names->count && *style)
        obs_property_list_add_string(list, style, style);
}

static void add_presets(obs_properties_t *properties, const struct daemon_state *state)
{
    obs_property_t *list = with_help(obs_properties_add_list(properties, S_PRESET, obs_module_text("Preset"),
                                                             OBS_COMBO_TYPE_LIST, OBS_COMBO_FORMAT_STRING),
                                     "Preset.Help");
    const struct name_list *names = &state->presets;
    obs_property_list_add_string(list, obs_module_text("Preset.None"), "");
    for (size_t i = 0; i < names->count; i++)
        obs_property_list_add_string(list, names->names[i], names->names[i]);
}

static void add_look(obs_properties_t *properties, const struct daemon_state *state, const char *style)
{
    add_style(properties, state, style);
    with_help(obs_properties_add_text(properties, S_PROMPT, obs_module_text("Prompt"), OBS_TEXT_DEFAULT), "Prompt.Help");
    obs_properties_add_path(properties, S_PICTURE, obs_module_text("StyleImage"), OBS_PATH_FILE, PICTURE_FILES, NULL);
    with_help(obs_properties_add_float_slider(properties, S_STRENGTH, obs_module_text("Strength"), 0.0, 1.0, 0.01),
              "Strength.Help");
    with_help(obs_properties_add_float_slider(properties, S_FREEDOM, obs_module_text("Freedom"), 0.0, 1.0, 0.01),
              "Freedom.Help");
    add_presets(properties, state);
}

static const char *advanced_names[] = {S_STEPS, S_DETAIL, S_FIXED, S_LATENCY, S_SESSION, S_SOCKET};

static bool show_advanced(obs_properties_t *properties, obs_property_t *property, obs_data_t *settings)
{
    bool advanced = obs_data_get_bool(settings, S_ADVANCED), fixed = obs_data_get_bool(settings, S_FIXED);
    for (size_t i = 0; i < sizeof advanced_names / sizeof *advanced_names; i++) {
        obs_property_t *hidden = obs_properties_get(properties, advanced_names[i]);
        if (hidden)
            obs_property_set_visible(hidden, advanced && (fixed || strcmp(advanced_names[i], S_LATENCY) != 0));
    }
    (void)property;
    return true;
}

static void add_advanced(obs_properties_t *properties, bool filter)
{
    obs_property_set_modified_callback(obs_properties_add_bool(properties, S_ADVANCED, obs_module_text("Advanced")),
                                       show_advanced);
    if (filter) {
        with_help(obs_properties_add_int_slider(properties, S_STEPS, obs_module_text("Steps"), 1, 8, 1), "Steps.Help");
        with_help(obs_properties_add_int_slider(properties, S_DETAIL, obs_module_text("Detail"), 128, 1024, 32),
                  "Detail.Help");
    }
    obs_property_t *fixed = with_help(obs_properties_add_bool(properties, S_FIXED, obs_module_text("FixedLatency")),
                                      "FixedLatency.Help");
    obs_property_set_modified_callback(fixed, show_advanced);
    obs_property_int_set_suffix(obs_properties_add_int(properties, S_LATENCY, obs_module_text("Latency"), 20, 1000, 5),
                                " ms");
    with_help(obs_properties_add_text(properties, S_SESSION, obs_module_text("Session"), OBS_TEXT_DEFAULT),
              filter ? "Session.FilterHelp" : "Session.OutputHelp");
    with_help(obs_properties_add_text(properties, S_SOCKET, obs_module_text("Socket"), OBS_TEXT_DEFAULT), "Socket.Help");
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

static void add_buttons(obs_properties_t *properties, const char *address)
{
    obs_properties_add_button(properties, "refresh", obs_module_text("Refresh"), refresh);
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
    pthread_mutex_lock(&instance->lock); /* not for as long as the dialogue is built */
    struct daemon_state *state = bmemdup(&instance->state, sizeof *state);
    memcpy(style, instance->look.style, sizeof style);
    pthread_mutex_unlock(&instance->lock);
    bus_client_report(instance->client); /* new names open the dialogue anew */
    obs_properties_set_param(properties, instance, NULL);
    instance_describe(instance, text, sizeof text);
    obs_properties_add_text(properties, "status", text, OBS_TEXT_INFO);
    if (instance->filter)
        add_look(properties, state, style);
    add_advanced(properties, instance->filter);
    add_buttons(properties, state->page);
    bfree(state);
    return properties;
}
