/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Prints what the plugin makes of settings and parameters; `-` stands for none. An object that does not fit is `-` too. */
#include "../../obs_plugin/src/look.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static struct json value(const char *text)
{
    return strcmp(text, "-") == 0 ? (struct json){0} : json_parse(text, strlen(text));
}

int main(int count, char **arguments)
{
    static char room[1 << 16];
    struct json_writer writer = json_writer(room, sizeof room);
    char **at = arguments + 2;
    const char *what = count == 6 ? arguments[1] : "";
    if (strcmp(what, "size") == 0) {
        struct look_size size = look_model_size((uint32_t)atoi(at[0]), (uint32_t)atoi(at[1]), (uint32_t)atoi(at[2]),
                                                value(at[3]));
        printf("[%u,%u]\n", size.width, size.height);
        return 0;
    }
    if (strcmp(what, "hello") == 0)
        look_write_hello(&writer, value(at[0]), value(at[1]),
                         (struct look_size){(uint32_t)atoi(at[2]), (uint32_t)atoi(at[3])});
    else if (strcmp(what, "changes") == 0)
        look_write_changes(&writer, value(at[0]), value(at[1]), value(at[2]));
    else if (strcmp(what, "followed") == 0)
        look_write_followed(&writer, value(at[0]), value(at[1]), value(at[2]), value(at[3]));
    else if (strcmp(what, "found") == 0)
        look_write_found(&writer, value(at[0]), value(at[1]), value(at[2]), value(at[3]));
    puts(json_written(&writer).text ? room : "-");
    return 0;
}
