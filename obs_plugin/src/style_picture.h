/* SPDX-License-Identifier: GPL-2.0-or-later */
/* A picture file whose style is used. */
#pragma once

#include <stdbool.h>

/* On the bus client's thread: reads the picture of the settings and sends it, unless that was done. False when it has to
 * be called again, for want of a free slot. */
bool style_picture_work(void *instance);
