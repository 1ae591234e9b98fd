/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "sync.h"

#include "../driftcam_bus.h"
#include "fields.h"
#include "targets.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

static const struct json none;

/* Room for one JSON object. */
static struct json_writer room(void)
{
    return json_writer(bmalloc(DRIFTCAM_MAX_JSON), DRIFTCAM_MAX_JSON);
}

/* `kept` becomes what was written; the room is given back. An object that does not fit changes nothing. */
static void keep(struct json *kept, struct json_writer *writer)
{
    if (!writer->overflow)
        json_keep(kept, json_written(writer));
    bfree(writer->text);
}

static void merge(struct json *kept, struct json fresh)
{
    struct json_writer writer = room();
    json_write_merged(&writer, *kept, fresh);
    keep(kept, &writer);
}

/* -- from the settings to the daemon */

/* What the next session is opened with. Only a size that was chosen here: any other would be taken for a choice, too. */
static void renew_hello(struct instance *instance)
{
    struct json_writer writer = room();
    struct look_size size = instance->detail ? instance->size : (struct look_size){0};
    look_write_hello(&writer, instance->settings, instance->refused, size);
    bus_client_hello(instance->client, json_written(&writer));
    bfree(writer.text);
}

static void send(struct instance *instance, struct json changes)
{
    uint64_t sequence = changes.text ? bus_client_change(instance->client, changes) : 0;
    if (!sequence)
        return;
    instance->awaited = sequence;
    merge(&instance->sent, changes);
}

/* Takes away from `kept` the settings that differ between two states of them. */
static void forget_changed(struct json *kept, struct json before, struct json after)
{
    struct json name, value;
    struct json_writer writer = room();
    json_write(&writer, "{");
    for (size_t cursor = 0; json_next_member(*kept, &cursor, &name, &value);) {
        char text[64];
        json_string(name, text, sizeof text);
        if (!json_same(json_member(before, text), json_member(after, text)))
            continue;
        json_write_name(&writer, text);
        json_write_value(&writer, value);
    }
    json_write(&writer, "}");
    keep(kept, &writer);
}

/* Takes away those that `named` has. */
static void forget_named(struct json *kept, struct json named)
{
    forget_changed(kept, none, named);
}

void sync_settings(struct instance *instance, obs_data_t *settings)
{
    obs_data_t *chosen = obs_data_create(); /* a copy: OBS keeps the text that it makes in the object itself */
    obs_data_apply(chosen, settings);
    const char *text = obs_data_get_json(chosen);
    struct json fresh = json_parse(text, strlen(text));
    bool first = !instance->settings.text;
    struct json_writer changes = room();
    if (!first && look_write_changes(&changes, instance->settings, fresh, instance->state.fields)) {
        send(instance, json_written(&changes));
        instance->asked = instance->awaited;
    }
    bfree(changes.text);
    forget_changed(&instance->following, instance->settings, fresh);
    forget_changed(&instance->refused, instance->settings, fresh);
    json_keep(&instance->settings, fresh);
    obs_data_release(chosen);
    renew_hello(instance);
}

void sync_size(struct instance *instance, struct look_size size)
{
    char text[64];
    struct json_writer writer = json_writer(text, sizeof text);
    json_write(&writer, "{");
    json_write_name(&writer, "width");
    json_write_number(&writer, size.width);
    json_write_name(&writer, "height");
    json_write_number(&writer, size.height);
    json_write(&writer, "}");
    instance->size = size;
    send(instance, json_written(&writer));
    renew_hello(instance);
}

/* -- from the daemon to the settings */

/* In OBS's user interface thread, with no lock held: the settings become what they follow. */
static void follow(struct instance *instance, void *changed)
{
    obs_data_t *settings = obs_source_get_settings(instance->source);
    pthread_mutex_lock(&instance->lock);
    instance_table_defaults(instance, settings);
    struct json following = instance->following;
    if (following.length > 2) {
        /* Both at once, under the lock: nobody may take these for changes of the user's. */
        char *text = bstrdup_n(following.text, following.length);
        obs_data_t *values = obs_data_create_from_json(text);
        obs_data_apply(settings, values);
        obs_data_release(values);
        bfree(text);
        merge(&instance->settings, following);
        json_keep(&instance->following, none);
        *(bool *)changed = true;
    }
    pthread_mutex_unlock(&instance->lock);
    obs_data_release(settings);
}

static void follow_task(void *weak)
{
    obs_source_t *source = obs_weak_source_get_source(weak);
    if (source) {
        bool changed = false;
        target_with(source, follow, &changed);
        if (changed)
            obs_source_update(source, NULL);
        obs_source_update_properties(source);
        obs_source_release(source);
    }
    obs_weak_source_release(weak);
}

void sync_follow(struct instance *instance)
{
    pthread_mutex_lock(&instance->lock);
    obs_weak_source_t *weak = instance->weak;
    obs_weak_source_addref(weak);
    pthread_mutex_unlock(&instance->lock);
    if (weak)
        obs_queue_task(OBS_TASK_UI, follow_task, weak, false);
}

/* With the lock held: a request was answered. */
static void answered(struct instance *instance, uint64_t sequence)
{
    if (sequence > instance->answered)
        instance->answered = sequence;
    if (instance->answered >= instance->awaited)
        json_keep(&instance->sent, none);
}

/* A new connection: the daemon starts from what HELLO said, or from what others made of the session before. */
static void connected(struct instance *instance, uint64_t sequence)
{
    pthread_mutex_lock(&instance->lock);
    instance->state_known = false;
    answered(instance, sequence);
    if (instance->refused.length <= 2)
        instance->refusal[0] = 0;
    instance->sent_picture[0] = 0;
    bool picture = *instance->picture_path;
    pthread_mutex_unlock(&instance->lock);
    if (picture)
        bus_client_call(instance->client);
}

/* With the lock held. */
static void note_refusal(struct instance *instance, struct json body)
{
    char text[400], field[64], advice[300];
    json_string(json_member(body, "text"), text, sizeof text);
    json_string(json_member(body, "field"), field, sizeof field);
    json_string(json_member(body, "advice"), advice, sizeof advice);
    if (*text)
        snprintf(instance->refusal, sizeof instance->refusal, "%s", text);
    else
        snprintf(instance->refusal, sizeof instance->refusal, "%s: %s", field, advice);
}

static void refused(struct instance *instance, uint64_t sequence, struct json body)
{
    pthread_mutex_lock(&instance->lock);
    note_refusal(instance, body);
    answered(instance, sequence);
    pthread_mutex_unlock(&instance->lock);
    sync_follow(instance);
}

/* The daemon opens no session with one of the settings: it has no such parameter, or not this value. It is left out. */
static void hello_refused(struct instance *instance, struct json body)
{
    char field[64], text[128];
    json_string(json_member(body, "field"), field, sizeof field);
    const char *setting = look_setting(field);
    struct json_writer writer = json_writer(text, sizeof text);
    json_write(&writer, "{");
    json_write_name(&writer, setting);
    json_write(&writer, "true}");
    pthread_mutex_lock(&instance->lock);
    bool size = strcmp(setting, "width") == 0 || strcmp(setting, "height") == 0;
    if (size || json_member(instance->settings, setting).text) {
        note_refusal(instance, body);
        merge(&instance->refused, json_written(&writer));
        renew_hello(instance);
    }
    pthread_mutex_unlock(&instance->lock);
}

/* With the lock held: how large the model's picture is where no detail was chosen, as the session or the table has it.
 * False when that is nothing new. */
static bool note_usual_detail(struct instance *instance, double width, double height)
{
    double area = width * height;
    if (!(area >= 1.0 && area <= 1e9))
        return false;
    instance->usual_detail = (uint32_t)lround(sqrt(area));
    return true;
}

/* With the lock held. Where the size was not chosen here and is not being asked for it is the session's. */
static bool note_size(struct instance *instance, struct json body)
{
    struct field width, height;
    double size[] = {json_number(json_member(body, "width"), 0.0), json_number(json_member(body, "height"), 0.0)};
    if (instance->detail) {
        bool table = field_find(instance->state.fields, "width", &width) &&
                     field_find(instance->state.fields, "height", &height);
        return !instance->usual_detail && table &&
               note_usual_detail(instance, json_number(width.initial, 0.0), json_number(height.initial, 0.0));
    }
    bool same = size[0] == instance->size.width && size[1] == instance->size.height;
    if (same || json_member(instance->sent, "width").text || !note_usual_detail(instance, size[0], size[1]))
        return false;
    instance->size = (struct look_size){(uint32_t)size[0], (uint32_t)size[1]};
    return true;
}

/* With the lock held: what the settings have to follow. */
static bool write_follow(struct instance *instance, struct json_writer *writer, struct json body, bool first)
{
    struct json now = json_member(body, "parameters"), fields = instance->state.fields;
    if (!json_is_object(now) || !instance->filter)
        return false;
    if (first)
        return look_write_found(writer, instance->settings, now, instance->sent, fields);
    return instance->state_known &&
           look_write_followed(writer, instance->state.parameters, now, instance->sent, fields);
}

/* The daemon's state. */
static void informed(struct instance *instance, uint64_t sequence, struct json body)
{
    struct json_writer writer = room();
    pthread_mutex_lock(&instance->lock);
    bool first = !instance->state_known && daemon_state_is_report(body);
    if (instance->asked && sequence >= instance->asked)
        instance->asked = instance->refusal[0] = 0;
    bool choices = daemon_state_take_report(&instance->state, body);
    bool elsewhere = write_follow(instance, &writer, body, first);
    if (elsewhere && !writer.overflow) {
        merge(&instance->following, json_written(&writer));
        forget_named(&instance->refused, json_written(&writer));
    }
    daemon_state_take(&instance->state, body);
    bool size = note_size(instance, body);
    answered(instance, sequence);
    instance->sessions += first;
    instance->state_known |= first;
    pthread_mutex_unlock(&instance->lock);
    bfree(writer.text);
    if (elsewhere || choices || first || size)
        sync_follow(instance);
}

void sync_heard(void *context, unsigned type, uint64_t sequence, const char *text, size_t length)
{
    struct json body = json_parse(text, length);
    switch (type) {
    case DRIFTCAM_WELCOME:
        connected(context, sequence);
        break;
    case DRIFTCAM_HELLO:
        hello_refused(context, body);
        break;
    case DRIFTCAM_ERROR:
        refused(context, sequence, body);
        break;
    default:
        informed(context, sequence, body);
    }
}

void sync_free(struct instance *instance)
{
    json_keep(&instance->settings, none);
    json_keep(&instance->following, none);
    json_keep(&instance->sent, none);
    json_keep(&instance->refused, none);
    daemon_state_free(&instance->state);
}
