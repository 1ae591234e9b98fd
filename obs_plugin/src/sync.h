/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Settings and the daemon's parameters follow each other. */
#pragma once

#include "instance.h"

/* On the bus client's thread: the daemon said something. */
void sync_heard(void *instance, unsigned type, uint64_t sequence, const char *json, size_t length);

/* Tells the daemon the look of the settings, if it is new. */
void sync_send_look(struct instance *instance);
