/* SPDX-License-Identifier: GPL-2.0-or-later */
/* JSON as the bus needs it: values are looked up in the received text itself; only json_keep() allocates. */
#pragma once

#include <stdbool.h>
#include <stddef.h>

/* The text of one value, without the space around it; `text` is NULL when there is none. */
struct json {
    const char *text;
    size_t length;
};

/* The value that `text` is; none when it is not valid JSON, is followed by something, or is nested too deeply. */
struct json json_parse(const char *text, size_t length);

/* The value of a member of an object; none when there is none. The value must come from json_parse(). */
struct json json_member(struct json object, const char *name);

/* Iterates over an array: start with *cursor = 0; false at the end. */
bool json_next(struct json array, size_t *cursor, struct json *item);

/* Iterates over the members of an object in the same way. `name` is a string. */
bool json_next_member(struct json object, size_t *cursor, struct json *name, struct json *value);

bool json_is_object(struct json value);
bool json_is_true(struct json value);
/* Whether the value is a string with something in it. */
bool json_is_text(struct json value);

/* Whether both are the same number or string, however written, or else the same text. None is the same as none. */
bool json_same(struct json one, struct json other);

/* `fallback` when the value is no number. */
double json_number(struct json value, double fallback);

/* Copies a string as UTF-8, cut at a whole character to fit; false (and an empty text) when it is no string. */
bool json_string(struct json value, char *text, size_t size);

/* Makes `kept` an own copy of `value`, or none; true when that is another text than before. json_keep(&kept, none) frees.
 * Without memory for it `kept` stays as it was. */
bool json_keep(struct json *kept, struct json value);

/* A text that is being written into a fixed room; too much sets `overflow` and ends it. */
struct json_writer {
    char *text;
    size_t size, length;
    bool overflow;
};

struct json_writer json_writer(char *text, size_t size);
void json_write(struct json_writer *writer, const char *raw);
void json_write_string(struct json_writer *writer, const char *text);
/* Nine digits, whatever the locale's comma. */
void json_write_number(struct json_writer *writer, double value);
/* A value as it is. */
void json_write_value(struct json_writer *writer, struct json value);
/* What comes before the value of a member: a comma if there is need of one, and its name. */
void json_write_name(struct json_writer *writer, const char *name);
/* The members of both objects but those of `old` that `fresh` has too; "{}" when both are none. */
void json_write_merged(struct json_writer *writer, struct json old, struct json fresh);
/* What was written so far, while the writer's text stays; none after an overflow. */
struct json json_written(const struct json_writer *writer);
