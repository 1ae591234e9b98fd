/* SPDX-License-Identifier: GPL-2.0-or-later */
/* What a stream says about itself: to people, and in numbers. */
#include "platform.h"
#include "stream.h"

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

void stream_describe(struct stream *stream, char *text, size_t size)
{
    struct bus_status status;
    bus_client_status(stream->client, &status);
    const char *name = state_name(&status);
    double latency = samples_percentile(&stream->pictures.latency_ms, 0.5);
    double fps = rate_value(&stream->pictures.rate, platform_now());
    pthread_mutex_lock(&stream->lock);
    snprintf(text, size, "%s", state_text(name));
    if (status.state == BUS_CONNECTED)
        add(text, size, " · %s · %u×%u · %.1f fps · %.0f ms", status.server, status.width, status.height, fps, latency);
    else if (*status.trouble)
        add(text, size, ": %s", status.trouble);
    if (stream->latency > 0)
        latency = (double)stream->latency / 1e6;
    if (latency > 0 && stream->filter)
        add(text, size, "\n%s %.0f ms", obs_module_text("Status.SyncOffset"), latency);
    if (stream->bad_picture)
        add(text, size, "\n%s %s", obs_module_text("Status.BadPicture"), stream->picture_path);
    if (*stream->refusal)
        add(text, size, "\n%s", stream->refusal);
    else if (*stream->state.notice)
        add(text, size, "\n%s", stream->state.notice);
    pthread_mutex_unlock(&stream->lock);
}

static void report_stages(struct stream *stream, obs_data_t *report)
{
    struct {
        const char *name;
        const struct samples *samples;
    } stages[] = {{"latency", &stream->pictures.latency_ms},
                  {"draw", &stream->capture.draw_ms},
                  {"copy", &stream->capture.copy_ms},
                  {"upload", &stream->pictures.upload_ms},
                  {"show", &stream->show_ms}};
    for (size_t i = 0; i < sizeof stages / sizeof *stages; i++) {
        obs_data_t *stage = obs_data_create();
        obs_data_set_double(stage, "p50", samples_percentile(stages[i].samples, 0.5));
        obs_data_set_double(stage, "p95", samples_percentile(stages[i].samples, 0.95));
        obs_data_set_int(stage, "count", stages[i].samples->count);
        obs_data_set_obj(report, stages[i].name, stage);
        obs_data_release(stage);
    }
}

static void report_names(obs_data_t *report, const char *key, const struct name_list *list)
{
    obs_data_array_t *names = obs_data_array_create();
    for (size_t i = 0; i < list->count; i++) {
        obs_data_t *name = obs_data_create();
        obs_data_set_string(name, "name", list->names[i]);
        obs_data_array_push_back(names, name);
        obs_data_release(name);
    }
    obs_data_set_array(report, key, names);
    obs_data_array_release(names);
}

void stream_report(struct stream *stream, obs_data_t *report)
{
    struct bus_status status;
    bus_client_status(stream->client, &status);
    obs_data_set_string(report, "name", obs_source_get_name(stream->source));
    obs_data_set_string(report, "kind", stream->filter ? "filter" : "output");
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
    obs_data_set_double(report, "fps", rate_value(&stream->pictures.rate, platform_now()));
    obs_data_set_double(report, "frame_ms", (double)obs_get_frame_interval_ns() / 1e6);
    report_stages(stream, report);
    pthread_mutex_lock(&stream->lock);
    obs_data_set_string(report, "session", *stream->state.session ? stream->state.session : stream->own_session);
    obs_data_set_string(report, "style", stream->look.style);
    report_names(report, "styles", &stream->state.styles);
    report_names(report, "presets", &stream->state.presets);
    obs_data_set_string(report, "engine", stream->state.engine);
    obs_data_set_string(report, "notice", stream->state.notice);
    obs_data_set_string(report, "page", stream->state.page);
    obs_data_set_string(report, "refusal", stream->refusal);
    obs_data_set_string(report, "bad_picture", stream->bad_picture ? stream->picture_path : "");
    pthread_mutex_unlock(&stream->lock);
}
