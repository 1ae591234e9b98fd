/* SPDX-License-Identifier: GPL-2.0-or-later */
/* What an instance says about itself: to people, and in numbers. */
#include "platform.h"
#include "instance.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#define SILENCE 3000000000LL /* ns with frames outstanding: the daemon does not answer any more */

static void add(char *text, size_t size, const char *format, ...)
{
    size_t length = strlen(text);
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(text + length, size - length, format, arguments);
    va_end(arguments);
}

static const char *state_name(const struct bus_status *status)
{
    if (status->state == BUS_RESTING)
        return "resting";
    if (status->state == BUS_CONNECTING)
        return "connecting";
    return status->outstanding && platform_now() - status->heard > SILENCE ? "silent" : "connected";
}

static const char *state_text(const char *name)
{
    char key[64];
    snprintf(key, sizeof key, "Status.%s", name);
    return obs_module_text(key);
}

void instance_describe(struct instance *instance, char *text, size_t size)
{
    struct bus_status status;
    bus_client_status(instance->client, &status);
    const char *name = state_name(&status);
    double latency = samples_percentile(&instance->pictures.latency_ms, 0.5);
    double fps = rate_value(&instance->pictures.rate, platform_now());
    pthread_mutex_lock(&instance->lock);
    snprintf(text, size, "%s", state_text(name));
    if (status.state == BUS_CONNECTED)
        add(text, size, " · %s · %u×%u · %.1f fps · %.0f ms", status.server, status.width, status.height, fps, latency);
    else if (*status.trouble)
        add(text, size, ": %s", status.trouble);
    if (instance->latency > 0)
        latency = (double)instance->latency / 1e6;
    if (latency > 0 && instance->filter)
        add(text, size, "\n%s %.0f ms", obs_module_text("Status.SyncOffset"), latency);
    if (instance->bad_picture)
        add(text, size, "\n%s %s", obs_module_text("Status.BadPicture"), instance->picture_path);
    if (*instance->refusal)
        add(text, size, "\n%s", instance->refusal);
    else if (*instance->state.notice)
        add(text, size, "\n%s", instance->state.notice);
    pthread_mutex_unlock(&instance->lock);
}

static void report_stages(struct instance *instance, obs_data_t *report)
{
    struct {
        const char *name;
        const struct samples *samples;
    } stages[] = {{"latency", &instance->pictures.latency_ms},
                  {"draw", &instance->capture.draw_ms},
                  {"copy", &instance->capture.copy_ms},
                  {"upload", &instance->pictures.upload_ms},
                  {"show", &instance->show_ms}};
    for (size_t i = 0; i < sizeof stages / sizeof *stages; i++) {
        obs_data_t *stage = obs_data_create();
        obs_data_set_double(stage, "p50", samples_percentile(stages[i].samples, 0.5));
        obs_data_set_double(stage, "p95", samples_percentile(stages[i].samples, 0.95));
        obs_data_set_int(stage, "count", stages[i].samples->count);
        obs_data_set_obj(report, stages[i].name, stage);
        obs_data_release(stage);
    }
}

static void report_names(obs_data_t *report, const char *key, struct json list)
{
    struct json item;
    obs_data_array_t *names = obs_data_array_create();
    for (size_t cursor = 0; json_next(list, &cursor, &item);) {
        char text[STATE_NAME_SIZE];
        obs_data_t *name = obs_data_create();
        json_string(item, text, sizeof text);
        obs_data_set_string(name, "name", text);
        obs_data_array_push_back(names, name);
        obs_data_release(name);
    }
    obs_data_set_array(report, key, names);
    obs_data_array_release(names);
}

void instance_report(struct instance *instance, obs_data_t *report)
{
    struct bus_status status;
    char style[LOOK_STYLE_SIZE];
    bus_client_status(instance->client, &status);
    obs_data_set_string(report, "name", obs_source_get_name(instance->source));
    obs_data_set_string(report, "kind", instance->filter ? "filter" : "output");
    obs_data_set_string(report, "state", state_name(&status));
    obs_data_set_string(report, "trouble", status.trouble);
    obs_data_set_string(report, "server", status.server);
    obs_data_set_int(report, "width", status.width);
    obs_data_set_int(report, "height", status.height);
    obs_data_set_int(report, "sent", (long long)status.sent);
    obs_data_set_int(report, "dropped", (long long)status.dropped);
    obs_data_set_int(report, "results", (long long)status.results);
    obs_data_set_int(report, "skipped", (long long)status.skipped);
    obs_data_set_int(report, "connections", (long long)status.connections);
    obs_data_set_int(report, "attempts", (long long)status.attempts);
    obs_data_set_double(report, "fps", rate_value(&instance->pictures.rate, platform_now()));
    obs_data_set_double(report, "frame_ms", (double)obs_get_frame_interval_ns() / 1e6);
    report_stages(instance, report);
    pthread_mutex_lock(&instance->lock);
    obs_data_set_string(report, "session", *instance->state.session ? instance->state.session : instance->own_session);
    look_style(style, instance->settings, instance->state.fields);
    obs_data_set_string(report, "style", style);
    report_names(report, "styles", instance->state.styles);
    report_names(report, "presets", instance->state.presets);
    obs_data_set_string(report, "engine", instance->state.engine);
    obs_data_set_string(report, "notice", instance->state.notice);
    obs_data_set_string(report, "page", instance->state.page);
    obs_data_set_string(report, "refusal", instance->refusal);
    obs_data_set_string(report, "bad_picture", instance->bad_picture ? instance->picture_path : "");
    pthread_mutex_unlock(&instance->lock);
}
