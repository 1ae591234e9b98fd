/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The daemon's table of parameters: what there is to set, from where to where. Knows neither OBS nor sockets. */
#pragma once

#include "json.h"

enum field_kind {
    FIELD_OTHER, /* not for a plain control: styles, prompts, a vector, what a newer daemon may have */
    FIELD_NUMBER,
    FIELD_INTEGER,
    FIELD_CHOICE,
    FIELD_TEXT,
};

/* One parameter. */
struct field {
    char name[64], label[128], group[64], unit[32], about[512]; /* all but the name for people */
    enum field_kind kind;
    double low, high, step;        /* of a number */
    struct json initial;           /* the first value, or none */
    struct json choices, labels;   /* arrays of texts: values, and what people are told of each */
    struct json models;            /* an array of the models' names that it acts on; none: on all */
};

/* Iterates over the table as the daemon sent it. With none, from a daemon that has no such table, over what every such
 * daemon has. Start with *cursor = 0; false at the end. */
bool field_next(struct json fields, size_t *cursor, struct field *field);

bool field_find(struct json fields, const char *name, struct field *field);

/* Whether it acts on the model of this name; one whose name is empty is not known and has all. */
bool field_acts_on(const struct field *field, const char *model);

/* Whether `value` is one that the field takes, as far as the table says. */
bool field_takes(const struct field *field, struct json value);
