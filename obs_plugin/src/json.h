/* SPDX-License-Identifier: GPL-2.0-or-later */
/* JSON as the bus needs it: values are looked up in the received text itself, nothing is allocated. */
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

bool json_is_object(struct json value);
bool json_is_true(struct json value);

/* `fallback` when the value is no number. */
double json_number(struct json value, double fallback);

/* Copies a string as UTF-8, cut at a whole character to fit; false (and an empty text) when it is no string. */
bool json_string(struct json value, char *text, size_t size);

/* A text that is being written into a fixed room; too much sets `overflow` and ends it. */
struct json_writer {
    char *text;
    size_t size, length;
    bool overflow;
};

struct json_writer json_writer(char *text, size_t size);
void json_write(struct json_writer *writer, const char *raw);
void json_write_string(struct json_writer *writer, const char *text);
/* Four decimals, whatever the locale's comma. */
void json_write_number(struct json_writer *writer, double value);
