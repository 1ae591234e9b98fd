/* SPDX-License-Identifier: GPL-2.0-or-later */
/* What filter and output have in common: settings in, pictures and the daemon's state out. */
#pragma once

#include "bus_client.h"
#include "capture.h"
#include "daemon_state.h"
#include "look.h"
#include "pictures.h"

#include <obs-module.h>
#include <pthread.h>

#define FILTER_ID "driftcam_filter"
#define OUTPUT_ID "driftcam_output"

struct instance {
    obs_source_t *source;
    bool filter;
    struct bus_client *client;
    char own_session[32]; /* used unless the settings name one: two filters never share a look by accident */

    pthread_mutex_t lock; /* for what follows */
    obs_weak_source_t *weak; /* taken while OBS still holds the source; NULL before the first tick */
    /* Owned JSON objects, or none. */
    struct json settings;  /* as OBS has them, but for what follows */
    struct json following; /* settings that the daemon's parameters change, on their way to OBS's user interface thread */
    struct json sent;      /* changes of parameters that were not answered yet */
    struct json refused;   /* settings that the daemon did not want to open a session with */
    struct look_size size; /* of the model's picture, as the session has it or was asked for; 0: not known yet */
    uint32_t detail, usual_detail; /* chosen here (0: the daemon chooses); what is shown while nothing is chosen */
    unsigned sessions; /* that were seen, each after a connection */
    char picture_path[1024], sent_picture[1024];
    char preset[STATE_NAME_SIZE];
    struct daemon_state state;
    bool state_known; /* the report that follows a connection has come */
    uint64_t awaited, answered; /* sequences of the last of `sent`, and of the last answer */
    uint64_t asked; /* the sequence of the last change by the settings while it has no answer */
    char refusal[512];
    bool bad_picture; /* picture_path cannot be read */
    int64_t latency; /* fixed, ns; 0: as fast as it goes */

    /* On the graphics thread only. */
    struct shape {
        uint32_t width, height, detail, sessions;
    } shape; /* of the source, the detail or else the session that `size` was last made for */
    struct capture capture; /* of a filter */
    struct pictures pictures;
    gs_effect_t *effect;
    struct samples show_ms;

    struct instance *next; /* in the list of all */
};

struct instance *instance_create(obs_source_t *source, obs_data_t *settings, bool filter);
/* With the graphics context not entered. */
void instance_destroy(struct instance *instance);

void instance_defaults(obs_data_t *settings, bool filter);
/* The defaults that the daemon's table gives. With the lock held. */
void instance_table_defaults(struct instance *instance, obs_data_t *settings);
void instance_update(struct instance *instance, obs_data_t *settings);

/* In every tick. */
void instance_tick(struct instance *instance);

/* The source that is filtered has this size now. */
void instance_shape(struct instance *instance, uint32_t width, uint32_t height);

/* Takes the newest result; draws what is due and returns true. In the graphics context. */
bool instance_draw(struct instance *instance, uint32_t width, uint32_t height);

/* A line for people about connection, speed and delay; lines are separated by \n. */
void instance_describe(struct instance *instance, char *text, size_t size);

/* All numbers, for the websocket. */
void instance_report(struct instance *instance, obs_data_t *report);

/* Chooses the style `step` places further in the daemon's list. */
void instance_next_style(struct instance *instance, int step);

/* Calls `visit` for every filter and output, until it returns false. No instance is destroyed meanwhile. */
void instance_each(bool (*visit)(struct instance *instance, void *context), void *context);

void instance_module_load(void);
void instance_module_unload(void);
