/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Finds Driftcam's filters and outputs among OBS's sources. */
#pragma once

#include "instance.h"

/* Calls `visit` for every filter with the source it is on, and for every output with NULL. */
void targets_each(void (*visit)(obs_source_t *parent, struct instance *instance, void *context), void *context);

/* The filter that a request means: "source" and "filter" by name; without "filter" the first on the source; without both
 * the only one there is. NULL with the reason. Release it. */
obs_source_t *target_find(obs_data_t *request, char *why, size_t size);

/* Calls `use` with the instance of `source`; false when it is gone. */
bool target_with(obs_source_t *source, void (*use)(struct instance *instance, void *context), void *context);
