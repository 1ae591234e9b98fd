/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Requests through obs-websocket (CallVendorRequest), for Stream Decks and scripts. docs/obs.md lists them. */
#include "vendor.h"

#include "fields.h"
#include "targets.h"

#include <callback/calldata.h>
#include <callback/proc.h>

#include <stdio.h>
#include <string.h>

#define GONE "the filter has just been removed"

typedef void (*vendor_callback)(obs_data_t *request, obs_data_t *response, void *context);

/* As obs-websocket reads it. */
struct vendor_request {
    vendor_callback callback;
    void *context;
};

static void fail(obs_data_t *response, const char *text)
{
    obs_data_set_bool(response, "ok", false);
    obs_data_set_string(response, "error", text);
}

static void add_report(obs_source_t *parent, struct instance *instance, void *streams)
{
    obs_data_t *report = obs_data_create();
    instance_report(instance, report);
    obs_data_set_string(report, "source", parent ? obs_source_get_name(parent) : "");
    obs_data_array_push_back(streams, report);
    obs_data_release(report);
}

static void stats(obs_data_t *request, obs_data_t *response, void *context)
{
    obs_data_array_t *streams = obs_data_array_create();
    targets_each(add_report, streams);
    obs_data_set_array(response, "streams", streams);
    obs_data_array_release(streams);
    obs_data_set_bool(response, "ok", true);
    (void)request, (void)context;
}

/* A request to change settings. */
struct wish {
    obs_data_t *request, *settings;
    char why[512]; /* empty: it can be done */
};

static void refuse_choice(struct wish *wish, const struct field *field)
{
    struct json choice;
    char name[128];
    size_t length = (size_t)snprintf(wish->why, sizeof wish->why, "%s: choose from:", field->name);
    for (size_t cursor = 0; json_next(field->choices, &cursor, &choice) && length < sizeof wish->why;) {
        json_string(choice, name, sizeof name);
        length += (size_t)snprintf(wish->why + length, sizeof wish->why - length, " %s", name);
    }
}

static void refuse(struct wish *wish, const struct field *field)
{
    if (field->kind == FIELD_CHOICE)
        refuse_choice(wish, field);
    else if (field->kind == FIELD_TEXT)
        snprintf(wish->why, sizeof wish->why, "%s: give a text", field->name);
    else
        snprintf(wish->why, sizeof wish->why, "%s: give a %snumber from %g to %g", field->name,
                 field->kind == FIELD_INTEGER ? "whole " : "", field->low, field->high);
}

/* Copies the value of a setting if it is given and the field takes it. */
static void take(struct wish *wish, const struct field *field, struct json given)
{
    struct json value = json_member(given, field->name);
    if (*wish->why || !value.text)
        return;
    if (!field_takes(field, value))
        refuse(wish, field);
    else if (field->kind == FIELD_NUMBER)
        obs_data_set_double(wish->settings, field->name, obs_data_get_double(wish->request, field->name));
    else if (field->kind == FIELD_INTEGER)
        obs_data_set_int(wish->settings, field->name, obs_data_get_int(wish->request, field->name));
    else
        obs_data_set_string(wish->settings, field->name, obs_data_get_string(wish->request, field->name));
}

static void take_parameters(struct wish *wish, struct json fields, struct json given)
{
    struct field field;
    for (size_t cursor = 0; field_next(fields, &cursor, &field);)
        if (look_is_parameter(field.name))
            take(wish, &field, given);
}

static void take_settings(struct instance *instance, void *context)
{
    struct wish *wish = context;
    const struct field own[] = {{.name = S_STYLE, .kind = FIELD_TEXT},
                                {.name = S_PROMPT, .kind = FIELD_TEXT},
                                {.name = S_PICTURE, .kind = FIELD_TEXT},
                                {.name = S_LATENCY, .kind = FIELD_NUMBER, .low = 20, .high = 1000}};
    const char *text = obs_data_get_json(wish->request);
    struct json given = json_parse(text, strlen(text));
    if (obs_data_has_user_value(wish->request, S_STYLE))
        obs_data_set_string(wish->settings, S_PROMPT, ""); /* words would win over the style */
    for (size_t i = 0; i < sizeof own / sizeof *own; i++)
        take(wish, &own[i], given);
    if (obs_data_has_user_value(wish->request, S_FIXED))
        obs_data_set_bool(wish->settings, S_FIXED, obs_data_get_bool(wish->request, S_FIXED));
    pthread_mutex_lock(&instance->lock);
    take_parameters(wish, instance->state.fields, given);
    pthread_mutex_unlock(&instance->lock);
}

static void set(obs_data_t *request, obs_data_t *response, void *context)
{
    struct wish wish = {.request = request, .settings = obs_data_create()};
    obs_source_t *target = target_find(request, wish.why, sizeof wish.why);
    if (target && !target_with(target, take_settings, &wish))
        snprintf(wish.why, sizeof wish.why, "%s", GONE);
    if (target && !*wish.why) {
        obs_source_update(target, wish.settings);
        obs_source_update_properties(target);
        obs_data_set_bool(response, "ok", true);
    } else {
        fail(response, wish.why);
    }
    obs_source_release(target);
    obs_data_release(wish.settings);
    (void)context;
}

/* A property of the dialogue that `set` could take, as the dialogue shows it. */
static obs_data_t *describe_property(obs_property_t *property)
{
    obs_data_t *described = obs_data_create();
    enum obs_property_type type = obs_property_get_type(property);
    const char *about = obs_property_long_description(property);
    obs_data_set_string(described, "name", obs_property_name(property));
    obs_data_set_string(described, "label", obs_property_description(property));
    obs_data_set_string(described, "about", about ? about : "");
    if (type == OBS_PROPERTY_FLOAT) {
        obs_data_set_double(described, "low", obs_property_float_min(property));
        obs_data_set_double(described, "high", obs_property_float_max(property));
        obs_data_set_double(described, "step", obs_property_float_step(property));
    } else if (type == OBS_PROPERTY_INT) {
        obs_data_set_int(described, "low", obs_property_int_min(property));
        obs_data_set_int(described, "high", obs_property_int_max(property));
        obs_data_set_int(described, "step", obs_property_int_step(property));
    }
    return described;
}

static const char *kind_name(enum obs_property_type type)
{
    switch (type) {
    case OBS_PROPERTY_BOOL:
        return "flag";
    case OBS_PROPERTY_INT:
        return "integer";
    case OBS_PROPERTY_FLOAT:
        return "number";
    case OBS_PROPERTY_TEXT:
    case OBS_PROPERTY_PATH:
        return "text";
    case OBS_PROPERTY_LIST:
        return "choice";
    default:
        return NULL;
    }
}

static void add_choices(obs_data_t *described, obs_property_t *property)
{
    obs_data_array_t *choices = obs_data_array_create();
    for (size_t i = 0; i < obs_property_list_item_count(property); i++) {
        obs_data_t *choice = obs_data_create();
        obs_data_set_string(choice, "value", obs_property_list_item_string(property, i));
        obs_data_set_string(choice, "label", obs_property_list_item_name(property, i));
        obs_data_array_push_back(choices, choice);
        obs_data_release(choice);
    }
    obs_data_set_array(described, "choices", choices);
    obs_data_array_release(choices);
}

static void describe_all(obs_properties_t *properties, const char *group, obs_data_array_t *all)
{
    for (obs_property_t *each = obs_properties_first(properties); each; obs_property_next(&each)) {
        enum obs_property_type type = obs_property_get_type(each);
        if (type == OBS_PROPERTY_GROUP)
            describe_all(obs_property_group_content(each), obs_property_description(each), all);
        if (!kind_name(type) || (type == OBS_PROPERTY_TEXT && obs_property_text_type(each) == OBS_TEXT_INFO))
            continue;
        obs_data_t *described = describe_property(each);
        obs_data_set_string(described, "kind", kind_name(type));
        obs_data_set_string(described, "group", group);
        if (type == OBS_PROPERTY_LIST)
            add_choices(described, each);
        obs_data_array_push_back(all, described);
        obs_data_release(described);
    }
}

static void describe(obs_data_t *request, obs_data_t *response, void *context)
{
    char why[512] = "";
    obs_source_t *target = target_find(request, why, sizeof why);
    obs_properties_t *properties = target ? obs_source_properties(target) : NULL;
    if (properties) {
        obs_data_array_t *all = obs_data_array_create();
        describe_all(properties, "", all);
        obs_data_set_array(response, "settings", all);
        obs_data_array_release(all);
        obs_properties_destroy(properties);
        obs_data_set_bool(response, "ok", true);
    } else {
        fail(response, *why ? why : GONE);
    }
    obs_source_release(target);
    (void)context;
}

static void apply_preset(struct instance *instance, void *name)
{
    bus_client_preset(instance->client, name);
}

static void preset(obs_data_t *request, obs_data_t *response, void *context)
{
    char why[512] = "", name[STATE_NAME_SIZE];
    snprintf(name, sizeof name, "%s", obs_data_get_string(request, "name"));
    obs_source_t *target = target_find(request, why, sizeof why);
    if (target && !*name)
        snprintf(why, sizeof why, "name: give the name of a preset");
    if (!*why && target_with(target, apply_preset, name))
        obs_data_set_bool(response, "ok", true);
    else
        fail(response, *why ? why : GONE);
    obs_source_release(target);
    (void)context;
}

static proc_handler_t *websocket(void)
{
    calldata_t call = {0};
    proc_handler_t *handler = NULL;
    if (proc_handler_call(obs_get_proc_handler(), "obs_websocket_api_get_ph", &call))
        handler = calldata_ptr(&call, "ph");
    calldata_free(&call);
    return handler;
}

static void *register_vendor(proc_handler_t *handler)
{
    calldata_t call = {0};
    calldata_set_string(&call, "name", "driftcam");
    proc_handler_call(handler, "vendor_register", &call);
    void *vendor = calldata_ptr(&call, "vendor");
    calldata_free(&call);
    return vendor;
}

static void register_request(proc_handler_t *handler, void *vendor, const char *type, vendor_callback callback)
{
    struct vendor_request request = {callback, NULL}; /* copied there */
    calldata_t call = {0};
    calldata_set_string(&call, "type", type);
    calldata_set_ptr(&call, "callback", &request);
    calldata_set_ptr(&call, "vendor", vendor);
    proc_handler_call(handler, "vendor_request_register", &call);
    if (!calldata_bool(&call, "success"))
        blog(LOG_WARNING, "[driftcam] obs-websocket refused the request %s", type);
    calldata_free(&call);
}

void vendor_register(void)
{
    proc_handler_t *handler = websocket();
    void *vendor = handler ? register_vendor(handler) : NULL;
    if (!vendor) {
        blog(LOG_INFO, "[driftcam] no obs-websocket: no remote control");
        return;
    }
    register_request(handler, vendor, "stats", stats);
    register_request(handler, vendor, "describe", describe);
    register_request(handler, vendor, "set", set);
    register_request(handler, vendor, "preset", preset);
}
