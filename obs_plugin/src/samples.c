/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "samples.h"

#include <stdlib.h>
#include <string.h>

#define RATE_KEPT (sizeof((struct rate *)0)->times / sizeof(int64_t))

void samples_add(struct samples *samples, double value)
{
    samples->values[samples->count++ % SAMPLES_KEPT] = (float)value;
}

static int compare(const void *one, const void *other)
{
    float a = *(const float *)one, b = *(const float *)other;
    return (a > b) - (a < b);
}

double samples_percentile(const struct samples *samples, double share)
{
    unsigned count = samples->count < SAMPLES_KEPT ? samples->count : SAMPLES_KEPT;
    float sorted[SAMPLES_KEPT];
    if (!count)
        return 0.0;
    memcpy(sorted, samples->values, count * sizeof *sorted);
    qsort(sorted, count, sizeof *sorted, compare);
    return sorted[(unsigned)(share * (count - 1) + 0.5)];
}

void rate_add(struct rate *rate, int64_t now)
{
    rate->times[rate->count++ % RATE_KEPT] = now;
}

double rate_value(const struct rate *rate, int64_t now)
{
    unsigned kept = rate->count < RATE_KEPT ? rate->count : RATE_KEPT;
    if (kept < 2)
        return 0.0;
    int64_t last = rate->times[(rate->count - 1) % RATE_KEPT], first = rate->times[(rate->count - kept) % RATE_KEPT];
    if (now - last > 2000000000 || last <= first)
        return 0.0;
    return (kept - 1) * 1e9 / (double)(last - first);
}
