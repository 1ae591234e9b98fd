/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "style_picture.h"

#include "instance.h"

#include <string.h>

#define LONGEST_SIDE 512

struct image {
    uint8_t *pixels; /* four bytes each */
    uint32_t width, height;
    bool red_first;
};

static bool read_image(const char *path, struct image *image)
{
    enum gs_color_format format = GS_UNKNOWN;
    image->pixels = gs_create_texture_file_data(path, &format, &image->width, &image->height);
    image->red_first = format == GS_RGBA;
    if (image->pixels && (format == GS_RGBA || format == GS_BGRA || format == GS_BGRX) && image->width && image->height)
        return true;
    bfree(image->pixels);
    return false;
}

/* The average of the block of pixels that becomes (x, y). */
static void shrink_pixel(const struct image *image, uint32_t factor, uint32_t x, uint32_t y, uint8_t out[4])
{
    uint64_t sums[3] = {0}, count = 0;
    for (uint32_t row = y * factor; row < (y + 1) * factor && row < image->height; row++)
        for (uint32_t column = x * factor; column < (x + 1) * factor && column < image->width; column++, count++) {
            const uint8_t *pixel = image->pixels + ((size_t)row * image->width + column) * 4;
            for (int i = 0; i < 3; i++)
                sums[i] += pixel[i];
        }
    for (int i = 0; i < 3; i++)
        out[image->red_first ? 2 - i : i] = (uint8_t)(sums[i] / count);
    out[3] = 255;
}

/* Into the slot, smaller by a whole factor so that it fits. */
static void fill_slot(const struct image *image, struct bus_picture *slot)
{
    uint32_t longest = image->width > image->height ? image->width : image->height;
    uint32_t factor = (longest + LONGEST_SIDE - 1) / LONGEST_SIDE;
    do {
        slot->width = (image->width + factor - 1) / factor;
        slot->height = (image->height + factor - 1) / factor;
        factor++;
    } while ((size_t)slot->width * slot->height * 4 > slot->room);
    slot->stride = slot->width * 4;
    for (uint32_t y = 0; y < slot->height; y++)
        for (uint32_t x = 0; x < slot->width; x++)
            shrink_pixel(image, factor - 1, x, y, slot->pixels + (size_t)y * slot->stride + x * 4);
}

bool style_picture_work(void *context)
{
    struct instance *instance = context;
    struct image image;
    struct bus_picture slot;
    char path[sizeof instance->picture_path];
    pthread_mutex_lock(&instance->lock);
    memcpy(path, instance->picture_path, sizeof path);
    bool due = *path && strcmp(path, instance->sent_picture) != 0;
    pthread_mutex_unlock(&instance->lock);
    if (!due)
        return true;
    if (!bus_client_begin(instance->client, 0, &slot))
        return false;
    bool readable = read_image(path, &image);
    if (readable) {
        fill_slot(&image, &slot);
        bfree(image.pixels);
    }
    bus_client_end(instance->client, &slot, readable ? BUS_STYLE : BUS_NOTHING);
    pthread_mutex_lock(&instance->lock);
    instance->bad_picture = !readable;
    memcpy(instance->sent_picture, path, sizeof path);
    pthread_mutex_unlock(&instance->lock);
    return true;
}
