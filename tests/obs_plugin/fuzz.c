/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Reads a file of JSON texts (4-byte lengths before them) and does with each what the plugin does with the daemon's.
 * Prints for each whether it is valid, and the first style, so that the test can compare. */
#include "../../obs_plugin/src/daemon_state.h"

#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static void use(const char *text, uint32_t length)
{
    static struct daemon_state state;
    char json[4096], copy[64];
    char *exact = malloc(length ? length : 1); /* so that a read behind the end is seen */
    memcpy(exact, text, length);
    struct json value = json_parse(exact, length), item;
    memset(&state, 0, sizeof state);
    daemon_state_take(&state, value);
    look_to_json(&state.look, json, sizeof json);
    size_t cursor = 0;
    while (json_next(value, &cursor, &item))
        json_string(item, copy, sizeof copy);
    printf("%d %s\n", value.text != NULL, state.look.style);
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
