/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Prints what the plugin makes of settings. */
#include "../../obs_plugin/src/look.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

int main(int count, char **arguments)
{
    if (count == 5) {
        uint32_t width, height;
        look_model_size((uint32_t)atoi(arguments[2]), (uint32_t)atoi(arguments[3]), (uint32_t)atoi(arguments[4]), &width,
                        &height);
        printf("%u %u\n", width, height);
        return 0;
    }
    struct look look = {.strength = atof(arguments[4]),
                        .freedom = atof(arguments[5]),
                        .steps = atoi(arguments[6]),
                        .width = (uint32_t)atoi(arguments[7]),
                        .height = (uint32_t)atoi(arguments[8]),
                        .forget_picture = *arguments[9] == '1'};
    char json[4096];
    snprintf(look.style, sizeof look.style, "%s", arguments[2]);
    snprintf(look.prompt, sizeof look.prompt, "%s", arguments[3]);
    look_to_json(&look, json, sizeof json);
    puts(json);
    return 0;
}
