/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The last measurements of something, and their percentiles. Not thread-safe. */
#pragma once

#include <stdint.h>

#define SAMPLES_KEPT 128

struct samples {
    float values[SAMPLES_KEPT];
    unsigned count;
};

void samples_add(struct samples *samples, double value);
/* `share` 0 to 1; 0 without samples. */
double samples_percentile(const struct samples *samples, double share);

/* Times of the last events; their rate. */
struct rate {
    int64_t times[32];
    unsigned count;
};

void rate_add(struct rate *rate, int64_t now);
/* Events a second; 0 when the last is more than two seconds ago. */
double rate_value(const struct rate *rate, int64_t now);
