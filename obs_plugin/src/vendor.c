/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Requests through obs-websocket (CallVendorRequest), for Stream Decks and scripts. docs/obs.md lists them. */
#include "vendor.h"

#include "targets.h"

#include <callback/calldata.h>
#include <callback/proc.h>

#include <stdio.h>
#include <string.h>

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

/* Copies a number if it is given; false with the reason when it is out of range. */
static bool take_number(obs_data_t *request, obs_data_t *settings, const char *name, double low, double high, char *why,
                        size_t size)
{
    if (!obs_data_has_user_value(request, name))
        return true;
    double value = obs_data_get_double(request, name);
    obs_data_item_t *item = obs_data_item_byname(request, name);
    bool number = obs_data_item_gettype(item) == OBS_DATA_NUMBER;
    obs_data_item_release(&item);
    if (!number || !(value >= low && value <= high)) {
        snprintf(why, size, "%s: give a number from %g to %g", name, low, high);
        return false;
    }
    if (high > 1.0)
        obs_data_set_int(settings, name, (long long)value);
    else
        obs_data_set_double(settings, name, value);
    return true;
}

static void take_text(obs_data_t *request, obs_data_t *settings, const char *name)
{
    if (obs_data_has_user_value(request, name))
        obs_data_set_string(settings, name, obs_data_get_string(request, name));
}

static bool take_settings(obs_data_t *request, obs_data_t *settings, char *why, size_t size)
{
    if (obs_data_has_user_value(request, S_STYLE))
        obs_data_set_string(settings, S_PROMPT, ""); /* words would win over the style */
    take_text(request, settings, S_STYLE);
    take_text(request, settings, S_PROMPT);
    take_text(request, settings, S_PICTURE);
    if (obs_data_has_user_value(request, S_FIXED))
        obs_data_set_bool(settings, S_FIXED, obs_data_get_bool(request, S_FIXED));
    return take_number(request, settings, S_STRENGTH, 0, 1, why, size) &&
           take_number(request, settings, S_FREEDOM, 0, 1, why, size) &&
           take_number(request, settings, S_STEPS, 1, 8, why, size) &&
           take_number(request, settings, S_LATENCY, 20, 1000, why, size);
}

static void set(obs_data_t *request, obs_data_t *response, void *context)
{
    char why[512] = "";
    obs_data_t *settings = obs_data_create();
    obs_source_t *target = target_find(request, why, sizeof why);
    if (target && take_settings(request, settings, why, sizeof why)) {
        obs_source_update(target, settings);
        obs_source_update_properties(target);
        obs_data_set_bool(response, "ok", true);
    } else {
        fail(response, why);
    }
    obs_source_release(target);
    obs_data_release(settings);
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
        fail(response, *why ? why : "the filter has just been removed");
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
    register_request(handler, vendor, "set", set);
    register_request(handler, vendor, "preset", preset);
}
