/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "look.h"

#include "fields.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define SMALLEST 64 /* where the daemon does not send its table */
#define LARGEST 1024
#define PROMPTS_SIZE (64 * 1024)
#define MOST_KEPT (16 * 1024) /* of JSON inside the JSON of the settings */

static const struct json none;

bool look_is_parameter(const char *name)
{
    static const char *others[] = {S_STYLE,    S_PROMPT, S_PROMPTS, S_PICTURE, S_PRESET, S_ADVANCED, S_DETAIL,
                                   S_FIXED,    S_LATENCY, S_SESSION, S_SOCKET,  "width",  "height"};
    for (size_t i = 0; i < sizeof others / sizeof *others; i++)
        if (strcmp(name, others[i]) == 0)
            return false;
    return true;
}

/* -- styles: pairs on the bus, one text in the settings */

static struct json unquoted(const char *text)
{
    return (struct json){text, strlen(text)};
}

/* One NAME or NAME:WEIGHT of `length` bytes as a pair ["NAME",WEIGHT]. */
static void write_pair(struct json_writer *writer, const char *part, size_t length)
{
    char name[LOOK_STYLE_SIZE];
    snprintf(name, sizeof name, "%.*s", (int)length, part);
    char *colon = strchr(name, ':');
    double weight = colon ? json_number(unquoted(colon + 1), 1.0) : 1.0;
    if (colon)
        *colon = 0;
    json_write(writer, "[");
    json_write_string(writer, name);
    json_write(writer, ",");
    json_write_number(writer, weight);
    json_write(writer, "]");
}

static void write_styles(struct json_writer *writer, const char *style)
{
    bool first = true;
    json_write_name(writer, "styles");
    json_write(writer, "[");
    for (const char *part = style; *part; part += *part == ',') {
        while (*part == ' ')
            part++;
        size_t length = strcspn(part, ",");
        if (length) {
            json_write(writer, first ? "" : ",");
            write_pair(writer, part, length);
            first = false;
        }
        part += length;
    }
    json_write(writer, "]");
}

static size_t count_of(struct json array)
{
    struct json item;
    size_t cursor = 0, count = 0;
    while (json_next(array, &cursor, &item))
        count++;
    return count;
}

/* The first two values of an array. */
static bool read_pair(struct json array, struct json *first, struct json *second)
{
    size_t cursor = 0;
    if (!json_next(array, &cursor, first))
        return false;
    if (!json_next(array, &cursor, second))
        *second = none;
    return true;
}

/* False, and an empty text, when `styles` are no pairs or too many. */
static bool read_styles(char style[LOOK_STYLE_SIZE], struct json styles)
{
    struct json pair, name, weight;
    struct json_writer writer = json_writer(style, LOOK_STYLE_SIZE);
    size_t count = count_of(styles);
    for (size_t cursor = 0; json_next(styles, &cursor, &pair);) {
        char text[LOOK_STYLE_SIZE];
        if (!read_pair(pair, &name, &weight) || !json_string(name, text, sizeof text)) {
            writer.overflow = true;
            break;
        }
        json_write(&writer, writer.length ? "," : "");
        json_write(&writer, text);
        if (count > 1) {
            json_write(&writer, ":");
            json_write_number(&writer, round(json_number(weight, 1.0) * 1e4) / 1e4);
        }
    }
    if (writer.overflow)
        style[0] = 0;
    return !writer.overflow;
}

void look_style(char style[LOOK_STYLE_SIZE], struct json settings, struct json fields)
{
    struct field field;
    if (json_string(json_member(settings, S_STYLE), style, LOOK_STYLE_SIZE))
        return;
    if (field_find(fields, "styles", &field))
        read_styles(style, field.initial);
}

/* -- prompts: weighted texts on the bus, one text in the settings */

/* All of them as one text, in quotes. */
static void write_joined(struct json_writer *writer, struct json prompts)
{
    struct json pair, text, weight;
    bool first = true;
    json_write(writer, "\"");
    for (size_t cursor = 0; json_next(prompts, &cursor, &pair); first = false) {
        if (!read_pair(pair, &text, &weight) || !json_is_text(text))
            continue;
        json_write(writer, first ? "" : ", ");
        json_write_value(writer, (struct json){text.text + 1, text.length - 2});
    }
    json_write(writer, "\"");
}

/* Whether the text in the settings is what is shown for `prompts`. */
static bool shows(struct json prompt, struct json prompts)
{
    char *room = malloc(PROMPTS_SIZE);
    if (!room)
        return false;
    struct json_writer writer = json_writer(room, PROMPTS_SIZE);
    write_joined(&writer, prompts);
    bool same = json_same(prompt, json_written(&writer));
    free(room);
    return same;
}

/* Words, or without words the style. Several texts that came from the daemon go back as they came, with the style beside
 * them, for as long as what is shown for them stands. */
static void write_led_by(struct json_writer *writer, struct json settings, struct json fields, bool words, bool styles)
{
    struct json prompt = words ? json_member(settings, S_PROMPT) : none;
    char style[LOOK_STYLE_SIZE] = "", *room = malloc(PROMPTS_SIZE);
    struct json prompts = none;
    if (styles)
        look_style(style, settings, fields);
    if (json_is_text(prompt) && room && json_string(json_member(settings, S_PROMPTS), room, PROMPTS_SIZE))
        prompts = json_parse(room, strlen(room));
    if (prompts.text && !shows(prompt, prompts))
        prompts = none;
    if (*style && (!json_is_text(prompt) || prompts.text))
        write_styles(writer, style);
    if (json_is_text(prompt)) {
        json_write_name(writer, prompts.text ? "prompts" : "prompt");
        json_write_value(writer, prompts.text ? prompts : prompt);
    }
    free(room);
}

/* -- from the settings to the daemon */

void look_write_hello(struct json_writer *writer, struct json settings, struct json refused, struct look_size size)
{
    struct json name, value;
    json_write(writer, "{");
    for (size_t cursor = 0; json_next_member(settings, &cursor, &name, &value);) {
        char text[64];
        json_string(name, text, sizeof text);
        if (!look_is_parameter(text) || json_member(refused, text).text)
            continue;
        json_write_name(writer, text);
        json_write_value(writer, value);
    }
    write_led_by(writer, settings, none, !json_member(refused, S_PROMPT).text, !json_member(refused, S_STYLE).text);
    if (size.width && size.height && !json_member(refused, "width").text && !json_member(refused, "height").text) {
        json_write_name(writer, "width");
        json_write_number(writer, size.width);
        json_write_name(writer, "height");
        json_write_number(writer, size.height);
    }
    json_write(writer, "}");
}

/* What was chosen, or else the table's first value. */
static struct json value_of(struct json settings, struct json fields, const char *name)
{
    struct field field;
    struct json value = json_member(settings, name);
    if (!value.text && field_find(fields, name, &field))
        value = field.initial;
    return value;
}

/* A setting of one of the two that is another in the other. */
static bool next_changed(struct json before, struct json after, struct json fields, struct json among, size_t *cursor,
                         char name[64])
{
    struct json key, value;
    while (json_next_member(among, cursor, &key, &value)) {
        json_string(key, name, 64);
        if (look_is_parameter(name) && !json_same(value_of(before, fields, name), value_of(after, fields, name)))
            return true;
    }
    return false;
}

static bool same_text(struct json one, struct json other)
{
    return json_same(json_is_text(one) ? one : none, json_is_text(other) ? other : none);
}

/* Whether what leads the picture changes: the words, or the style while there are none. */
static bool leads_elsewhere(struct json before, struct json after, struct json fields)
{
    char old[LOOK_STYLE_SIZE], new[LOOK_STYLE_SIZE];
    if (!same_text(json_member(before, S_PROMPT), json_member(after, S_PROMPT)))
        return true;
    look_style(old, before, fields);
    look_style(new, after, fields);
    return !json_is_text(json_member(after, S_PROMPT)) && strcmp(old, new) != 0;
}

bool look_write_changes(struct json_writer *writer, struct json before, struct json after, struct json fields)
{
    char name[64];
    json_write(writer, "{");
    for (size_t cursor = 0; next_changed(before, after, fields, after, &cursor, name);) {
        json_write_name(writer, name);
        json_write_value(writer, json_member(after, name));
    }
    for (size_t cursor = 0; next_changed(before, after, fields, before, &cursor, name);) {
        struct json initial = value_of(after, fields, name);
        if (json_member(after, name).text || !initial.text)
            continue;
        json_write_name(writer, name);
        json_write_value(writer, initial);
    }
    if (leads_elsewhere(before, after, fields))
        write_led_by(writer, after, fields, true, true);
    if (json_is_text(json_member(before, S_PICTURE)) && !json_is_text(json_member(after, S_PICTURE))) {
        json_write_name(writer, "style_vector");
        json_write(writer, "null");
    }
    json_write(writer, "}");
    return writer->length > 2;
}

/* -- from the daemon to the settings */

/* The settings for what leads the picture. Too many styles for the text leave it as it is. */
static void write_leader(struct json_writer *writer, struct json now)
{
    char style[LOOK_STYLE_SIZE], several[MOST_KEPT];
    struct json prompts = json_member(now, "prompts");
    json_write_name(writer, S_PROMPT);
    write_joined(writer, prompts);
    bool kept = count_of(prompts) > 1 && prompts.length < sizeof several;
    snprintf(several, sizeof several, "%.*s", kept ? (int)prompts.length : 0, kept ? prompts.text : "");
    json_write_name(writer, S_PROMPTS);
    json_write_string(writer, several);
    if (read_styles(style, json_member(now, "styles")) && *style) {
        json_write_name(writer, S_STYLE);
        json_write_string(writer, style);
    }
}

/* The plain ones that differ from `before`, or from what the settings say when `found`. */
static void write_plain(struct json_writer *writer, struct json before, struct json now, struct json sent,
                        struct json fields, bool found)
{
    struct field field;
    for (size_t cursor = 0; field_next(fields, &cursor, &field);) {
        struct json value = json_member(now, field.name);
        struct json old = found ? value_of(before, fields, field.name) : json_member(before, field.name);
        if (field.kind == FIELD_OTHER || !look_is_parameter(field.name) || !value.text || json_same(old, value) ||
            json_member(sent, field.name).text)
            continue;
        json_write_name(writer, field.name);
        json_write_value(writer, value);
    }
}

static bool leader_sent(struct json sent)
{
    return json_member(sent, "styles").text || json_member(sent, "prompt").text || json_member(sent, "prompts").text;
}

bool look_write_followed(struct json_writer *writer, struct json before, struct json now, struct json sent,
                         struct json fields)
{
    json_write(writer, "{");
    write_plain(writer, before, now, sent, fields, false);
    bool styles = !json_same(json_member(before, "styles"), json_member(now, "styles"));
    bool prompts = !json_same(json_member(before, "prompts"), json_member(now, "prompts"));
    if ((styles || prompts) && !leader_sent(sent))
        write_leader(writer, now);
    bool picture = json_is_true(json_member(before, "style_picture")) && !json_is_true(json_member(now, "style_picture"));
    if (picture && !json_member(sent, "style_vector").text) {
        json_write_name(writer, S_PICTURE);
        json_write(writer, "\"\"");
    }
    json_write(writer, "}");
    return writer->length > 2;
}

/* Whether the settings lead where the session's parameters do. A daemon that says no prompts knows styles only. */
static bool leads_there(struct json settings, struct json now, struct json fields)
{
    char wanted[LOOK_STYLE_SIZE], there[LOOK_STYLE_SIZE];
    struct json prompt = json_member(settings, S_PROMPT), prompts = json_member(now, "prompts");
    if (json_is_text(prompt))
        return !prompts.text || shows(prompt, prompts);
    if (count_of(prompts))
        return false;
    look_style(wanted, settings, fields);
    return !read_styles(there, json_member(now, "styles")) || !*there || strcmp(wanted, there) == 0;
}

bool look_write_found(struct json_writer *writer, struct json settings, struct json now, struct json sent,
                      struct json fields)
{
    json_write(writer, "{");
    write_plain(writer, settings, now, sent, fields, true);
    if (!leads_there(settings, now, fields) && !leader_sent(sent))
        write_leader(writer, now);
    json_write(writer, "}");
    return writer->length > 2;
}

const char *look_setting(const char *field)
{
    static const char *others[][2] = {{"styles", S_STYLE},
                                      {"style weight", S_STYLE},
                                      {"prompts", S_PROMPT},
                                      {"prompt weight", S_PROMPT}};
    for (size_t i = 0; i < sizeof others / sizeof *others; i++)
        if (strcmp(field, others[i][0]) == 0)
            return others[i][1];
    return field;
}

/* -- the model's size */

static uint32_t whole_cells(double side, struct json fields)
{
    struct field field;
    bool known = field_find(fields, "width", &field) && field.low >= LOOK_GRAIN && field.high <= 1 << 14;
    double low = known ? field.low : SMALLEST, high = known ? field.high : LARGEST;
    return (uint32_t)fmin(fmax(nearbyint(side / LOOK_GRAIN) * LOOK_GRAIN, low), high);
}

struct look_size look_model_size(uint32_t width, uint32_t height, uint32_t detail, struct json fields)
{
    double scale = detail / sqrt((double)width * height);
    return (struct look_size){whole_cells(width * scale, fields), whole_cells(height * scale, fields)};
}

static uint32_t apart(uint32_t one, uint32_t other)
{
    return one > other ? one - other : other - one;
}

struct look_size look_same_area(uint32_t width, uint32_t height, struct look_size now, struct json fields)
{
    uint32_t detail = (uint32_t)lround(sqrt((double)now.width * now.height));
    struct look_size wanted = look_model_size(width, height, detail, fields);
    bool near = apart(wanted.width, now.width) < LOOK_GRAIN && apart(wanted.height, now.height) < LOOK_GRAIN;
    return near ? now : wanted;
}
