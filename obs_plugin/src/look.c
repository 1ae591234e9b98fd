/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "look.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

#define GRAIN 32
#define SMALLEST 64
#define LARGEST 1024

/* One NAME or NAME:WEIGHT of `length` bytes as a pair ["NAME",WEIGHT]. */
static void write_pair(struct json_writer *writer, const char *part, size_t length)
{
    char name[LOOK_STYLE_SIZE];
    snprintf(name, sizeof name, "%.*s", (int)length, part);
    char *colon = strchr(name, ':');
    double weight = 1.0;
    if (colon) {
        weight = json_number((struct json){colon + 1, strlen(colon + 1)}, 1.0);
        *colon = 0;
    }
    json_write(writer, "[");
    json_write_string(writer, name);
    json_write(writer, ",");
    json_write_number(writer, weight);
    json_write(writer, "]");
}

static void write_styles(struct json_writer *writer, const char *style)
{
    bool first = true;
    json_write(writer, ",\"styles\":[");
    for (const char *part = style; *part; part += *part == ',') {
        while (*part == ' ')
            part++;
        size_t length = strcspn(part, ",");
        if (length) {
            if (!first)
                json_write(writer, ",");
            write_pair(writer, part, length);
            first = false;
        }
        part += length;
    }
    json_write(writer, "]");
}

static void write_member(struct json_writer *writer, const char *separator, const char *name, double value)
{
    json_write(writer, separator);
    json_write_string(writer, name);
    json_write(writer, ":");
    json_write_number(writer, value);
}

void look_to_json(const struct look *look, char *text, size_t size)
{
    struct json_writer writer = json_writer(text, size);
    write_member(&writer, "{", "strength", look->strength);
    write_member(&writer, ",", "freedom", look->freedom);
    write_member(&writer, ",", "steps", look->steps);
    if (look->width && look->height) {
        write_member(&writer, ",", "width", look->width);
        write_member(&writer, ",", "height", look->height);
    }
    if (*look->prompt) {
        json_write(&writer, ",\"prompt\":");
        json_write_string(&writer, look->prompt);
    } else if (*look->style) {
        write_styles(&writer, look->style);
    }
    if (look->forget_picture)
        json_write(&writer, ",\"style_vector\":null");
    json_write(&writer, "}");
    if (writer.overflow)
        text[0] = 0;
}

static void read_styles(char style[LOOK_STYLE_SIZE], struct json styles)
{
    struct json pair, second;
    size_t cursor = 0, count = 0, length = 0;
    char text[LOOK_STYLE_SIZE] = "";
    while (json_next(styles, &cursor, &pair))
        count++;
    for (cursor = 0; json_next(styles, &cursor, &pair);) {
        char name[64];
        size_t inner = 0;
        if (!json_next(pair, &inner, &second) || !json_string(second, name, sizeof name))
            return;
        double weight = json_next(pair, &inner, &second) ? json_number(second, 1.0) : 1.0;
        long hundredths = lround(fmin(fmax(weight, 0.0), 1e6) * 100.0);
        int wrote = count == 1 ? snprintf(text, sizeof text, "%s", name)
                               : snprintf(text + length, sizeof text - length, "%s%s:%ld.%02ld", length ? "," : "",
                                          name, hundredths / 100, hundredths % 100);
        if (wrote < 0 || (length += (size_t)wrote) >= sizeof text)
            return;
    }
    if (length)
        memcpy(style, text, sizeof text);
}

void look_from_json(struct look *look, struct json parameters)
{
    read_styles(look->style, json_member(parameters, "styles"));
    look->strength = json_number(json_member(parameters, "strength"), look->strength);
    look->freedom = json_number(json_member(parameters, "freedom"), look->freedom);
    look->steps = (int)fmin(fmax(json_number(json_member(parameters, "steps"), look->steps), 1.0), 8.0);
}

bool look_same(const struct look *one, const struct look *other)
{
    return strcmp(one->style, other->style) == 0 && fabs(one->strength - other->strength) < 1e-3 &&
           fabs(one->freedom - other->freedom) < 1e-3 && one->steps == other->steps;
}

static uint32_t whole_cells(double side)
{
    return (uint32_t)fmin(fmax(nearbyint(side / GRAIN) * GRAIN, SMALLEST), LARGEST);
}

void look_model_size(uint32_t width, uint32_t height, uint32_t detail, uint32_t *model_width, uint32_t *model_height)
{
    double scale = detail / sqrt((double)width * height);
    *model_width = whole_cells(width * scale);
    *model_height = whole_cells(height * scale);
}
