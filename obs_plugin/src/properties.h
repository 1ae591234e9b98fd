/* SPDX-License-Identifier: GPL-2.0-or-later */
#pragma once

#include "instance.h"

/* The dialogue of a filter or output, filled from what the daemon said last. */
obs_properties_t *properties_create(struct instance *instance);
