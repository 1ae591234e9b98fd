/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Settings and the daemon's parameters follow each other, one by one: what one side did not change is never sent to it. */
#pragma once

#include "instance.h"

/* On the bus client's thread: the daemon said something. */
void sync_heard(void *instance, unsigned type, uint64_t sequence, const char *json, size_t length);

/* Has the settings follow soon, in OBS's user interface thread. Nothing before the first tick. */
void sync_follow(struct instance *instance);

/* Each of the following with the lock held. */

/* Tells the daemon what OBS's settings have that they did not have before. */
void sync_settings(struct instance *instance, obs_data_t *settings);

/* Tells the daemon the model's size. */
void sync_size(struct instance *instance, struct look_size size);

void sync_free(struct instance *instance);
