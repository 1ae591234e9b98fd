/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Reads a file of JSON texts (4-byte lengths before them) and does with each what the plugin does with the daemon's.
 * Prints for each whether it is valid, and the first style, so that the test can compare. */
#include "../../obs_plugin/src/daemon_state.h"
#include "../../obs_plugin/src/fields.h"
#include "../../obs_plugin/src/look.h"

#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static char room[1 << 17], second[1 << 17];

/* Everything that is made of a state; `older` are the parameters of the text before. */
static void make_all(struct json value, struct json older, char style[LOOK_STYLE_SIZE])
{
    const struct json none = {0};
    struct json now = json_member(value, "parameters");
    struct json fields = json_member(value, "fields");
    struct json_writer settings = json_writer(room, sizeof room);
    look_write_followed(&settings, older, now, none, fields);
    settings = json_writer(room, sizeof room);
    look_write_followed(&settings, none, now, none, fields);
    struct json written = json_written(&settings);
    json_string(json_member(written, "style"), style, LOOK_STYLE_SIZE);
    struct json_writer out = json_writer(second, sizeof second);
    look_write_hello(&out, written, none, (struct look_size){64, 64});
    out = json_writer(second, sizeof second);
    look_write_changes(&out, now, written, fields);
    out = json_writer(second, sizeof second);
    look_write_found(&out, written, older, none, fields);
    look_model_size(640, 360, 384, fields);
}

static void use(const char *text, uint32_t length)
{
    static struct daemon_state state;
    char copy[64], style[LOOK_STYLE_SIZE];
    char *exact = malloc(length ? length : 1); /* so that a read behind the end is seen */
    memcpy(exact, text, length);
    struct json value = json_parse(exact, length), item, name;
    struct json older = {state.parameters.text, state.parameters.length};
    make_all(value, older, style);
    daemon_state_take(&state, value);
    daemon_state_take_report(&state, value);
    for (size_t cursor = 0; json_next(value, &cursor, &item);)
        json_string(item, copy, sizeof copy);
    for (size_t cursor = 0; json_next_member(value, &cursor, &name, &item);)
        json_same(name, item);
    struct field field;
    for (size_t cursor = 0; field_next(state.fields, &cursor, &field);)
        field_takes(&field, json_member(state.parameters, field.name));
    printf("%d %s\n", value.text != NULL, style);
    free(exact);
}

int main(int count, char **arguments)
{
    uint32_t length;
    static char text[1 << 17];
    FILE *file = count > 1 ? fopen(arguments[1], "rb") : NULL;
    while (file && fread(&length, 4, 1, file) == 1 && length < sizeof text && fread(text, 1, length, file) == length)
        use(text, length);
    return file ? fclose(file) : 1;
}
