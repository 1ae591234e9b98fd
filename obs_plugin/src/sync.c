/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "sync.h"

#include "../driftcam_bus.h"

#include <stdio.h>
#include <string.h>

#define JSON_SIZE 4000

void sync_send_look(struct instance *instance)
{
    char json[JSON_SIZE];
    pthread_mutex_lock(&instance->lock); /* until the sequence is noted: the answer may be here at once */
    look_to_json(&instance->look, json, sizeof json);
    uint64_t sequence = *json ? bus_client_parameters(instance->client, json, false) : 0;
    if (sequence)
        instance->awaited = sequence;
    pthread_mutex_unlock(&instance->lock);
}

/* What the daemon changed, on its way to the settings in OBS's user interface thread. */
struct adoption {
    obs_weak_source_t *source;
    struct look look;
    bool look_changed;
};

static void adopt(void *argument)
{
    struct adoption *adoption = argument;
    obs_source_t *source = obs_weak_source_get_source(adoption->source);
    if (source) {
        if (adoption->look_changed) {
            obs_data_t *settings = obs_data_create();
            obs_data_set_string(settings, S_STYLE, adoption->look.style);
            obs_data_set_string(settings, S_PROMPT, "");
            obs_data_set_double(settings, S_STRENGTH, adoption->look.strength);
            obs_data_set_double(settings, S_FREEDOM, adoption->look.freedom);
            obs_data_set_int(settings, S_STEPS, adoption->look.steps);
            obs_source_update(source, settings);
            obs_data_release(settings);
        }
        obs_source_update_properties(source);
        obs_source_release(source);
    }
    obs_weak_source_release(adoption->source);
    bfree(adoption);
}

static void queue_adoption(struct instance *instance, const struct look *look)
{
    pthread_mutex_lock(&instance->lock);
    obs_weak_source_t *weak = instance->weak;
    obs_weak_source_addref(weak);
    pthread_mutex_unlock(&instance->lock);
    if (!weak)
        return;
    struct adoption *adoption = bzalloc(sizeof *adoption);
    adoption->source = weak;
    adoption->look_changed = look != NULL;
    if (look)
        adoption->look = *look;
    obs_queue_task(OBS_TASK_UI, adopt, adoption, false);
}

/* A new connection: the daemon starts from what HELLO said, or from what others made of the session before. */
static void connected(struct instance *instance, uint64_t sequence)
{
    pthread_mutex_lock(&instance->lock);
    instance->state_known = false;
    instance->answered = sequence;
    instance->refusal[0] = 0;
    instance->sent_picture[0] = 0;
    bool picture = *instance->picture_path;
    pthread_mutex_unlock(&instance->lock);
    if (picture)
        bus_client_call(instance->client);
}

static void refused(struct instance *instance, uint64_t sequence, struct json body)
{
    char text[400], field[64], advice[300];
    json_string(json_member(body, "text"), text, sizeof text);
    json_string(json_member(body, "field"), field, sizeof field);
    json_string(json_member(body, "advice"), advice, sizeof advice);
    pthread_mutex_lock(&instance->lock);
    if (*text)
        snprintf(instance->refusal, sizeof instance->refusal, "%s", text);
    else
        snprintf(instance->refusal, sizeof instance->refusal, "%s: %s", field, advice);
    if (sequence > instance->answered)
        instance->answered = sequence;
    pthread_mutex_unlock(&instance->lock);
    queue_adoption(instance, NULL);
}

/* With the lock held. Whether the daemon's look is another than that of the settings, by somebody else's doing. */
static bool changed_elsewhere(const struct instance *instance, const struct look *before, bool ours)
{
    const struct look *now = &instance->state.look;
    if (!instance->filter || ours || instance->awaited > instance->answered)
        return false;
    if (instance->state_known)
        return !look_same(before, now);
    return !*instance->look.prompt && !look_same(&instance->look, now);
}

/* With the lock held. Makes the daemon's look that of the settings, as adopt() will. */
static void take_over(struct instance *instance)
{
    char json[JSON_SIZE];
    struct look *look = &instance->look;
    const struct look *now = &instance->state.look;
    memcpy(look->style, now->style, sizeof look->style);
    look->prompt[0] = 0;
    look->strength = now->strength;
    look->freedom = now->freedom;
    look->steps = now->steps;
    look_to_json(look, json, sizeof json);
    bus_client_parameters(instance->client, json, true);
}

/* The daemon's state. */
static void informed(struct instance *instance, uint64_t sequence, struct json body)
{
    bool look_there = json_is_object(json_member(body, "parameters"));
    pthread_mutex_lock(&instance->lock);
    bool ours = sequence && sequence == instance->awaited, first = !instance->state_known;
    if (sequence > instance->answered)
        instance->answered = sequence;
    if (ours)
        instance->refusal[0] = 0;
    struct look before = instance->state.look;
    bool lists = daemon_state_take(&instance->state, body);
    bool elsewhere = look_there && changed_elsewhere(instance, &before, ours);
    if (elsewhere)
        take_over(instance);
    instance->state_known |= look_there;
    struct look look = instance->look;
    pthread_mutex_unlock(&instance->lock);
    if (elsewhere || lists || first)
        queue_adoption(instance, elsewhere ? &look : NULL);
}

void sync_heard(void *context, unsigned type, uint64_t sequence, const char *text, size_t length)
{
    struct json body = json_parse(text, length);
    if (type == 0)
        connected(context, sequence);
    else if (type == DRIFTCAM_ERROR)
        refused(context, sequence, body);
    else
        informed(context, sequence, body);
}
