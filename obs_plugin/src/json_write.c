/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "json.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

struct json_writer json_writer(char *text, size_t size)
{
    text[0] = 0;
    return (struct json_writer){.text = text, .size = size};
}

static void write_bytes(struct json_writer *writer, const char *bytes, size_t length)
{
    if (writer->overflow || writer->length + length >= writer->size) {
        writer->overflow = true;
        return;
    }
    memcpy(writer->text + writer->length, bytes, length);
    writer->length += length;
    writer->text[writer->length] = 0;
}

void json_write(struct json_writer *writer, const char *raw)
{
    write_bytes(writer, raw, strlen(raw));
}

void json_write_string(struct json_writer *writer, const char *text)
{
    json_write(writer, "\"");
    for (; *text; text++) {
        char piece[8] = {*text, 0};
        if (*text == '"' || *text == '\\')
            snprintf(piece, sizeof piece, "\\%c", *text);
        else if ((unsigned char)*text < 0x20)
            snprintf(piece, sizeof piece, "\\u%04x", *text);
        json_write(writer, piece);
    }
    json_write(writer, "\"");
}

void json_write_number(struct json_writer *writer, double value)
{
    char digits[40];
    snprintf(digits, sizeof digits, "%.9g", isfinite(value) ? value : 0.0);
    for (char *digit = digits; *digit; digit++)
        if (!strchr("+-.e0123456789", *digit))
            *digit = '.';
    json_write(writer, digits);
}

void json_write_value(struct json_writer *writer, struct json value)
{
    write_bytes(writer, value.text, value.length);
}

static void separate(struct json_writer *writer)
{
    if (writer->length && !strchr("{[:", writer->text[writer->length - 1]))
        json_write(writer, ",");
}

void json_write_name(struct json_writer *writer, const char *name)
{
    separate(writer);
    json_write_string(writer, name);
    json_write(writer, ":");
}

static bool has_member(struct json object, struct json name)
{
    struct json other, value;
    for (size_t cursor = 0; json_next_member(object, &cursor, &other, &value);)
        if (json_same(name, other))
            return true;
    return false;
}

static void write_members(struct json_writer *writer, struct json object, struct json but)
{
    struct json name, value;
    for (size_t cursor = 0; json_next_member(object, &cursor, &name, &value);) {
        if (has_member(but, name))
            continue;
        separate(writer);
        json_write_value(writer, name);
        json_write(writer, ":");
        json_write_value(writer, value);
    }
}

void json_write_merged(struct json_writer *writer, struct json old, struct json fresh)
{
    json_write(writer, "{");
    write_members(writer, old, fresh);
    write_members(writer, fresh, (struct json){0});
    json_write(writer, "}");
}

struct json json_written(const struct json_writer *writer)
{
    return writer->overflow ? (struct json){0} : (struct json){writer->text, writer->length};
}
