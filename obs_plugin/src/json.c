/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "json.h"

#include <math.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#define DEEPEST 32

static const char *skip_space(const char *at, const char *end)
{
    while (at < end && (*at == ' ' || *at == '\t' || *at == '\n' || *at == '\r'))
        at++;
    return at;
}

static int hex_digit(char c)
{
    if (c >= '0' && c <= '9')
        return c - '0';
    if (c >= 'a' && c <= 'f')
        return c - 'a' + 10;
    return c >= 'A' && c <= 'F' ? c - 'A' + 10 : -1;
}

static bool four_digits(const char *at, const char *end)
{
    if (end - at < 4)
        return false;
    for (int i = 0; i < 4; i++)
        if (hex_digit(at[i]) < 0)
            return false;
    return true;
}

/* Each skip_… returns what follows the value at `at`, or NULL when there is no such value. */

static const char *skip_string(const char *at, const char *end)
{
    for (at++; at < end; at++) {
        if (*at == '"')
            return at + 1;
        if ((unsigned char)*at < 0x20)
            return NULL;
        if (*at != '\\')
            continue;
        if (++at == end || !strchr("\"\\/bfnrtu", *at) || !*at)
            return NULL;
        if (*at == 'u') {
            if (!four_digits(at + 1, end))
                return NULL;
            at += 4;
        }
    }
    return NULL;
}

static const char *skip_digits(const char *at, const char *end)
{
    const char *start = at;
    while (at < end && *at >= '0' && *at <= '9')
        at++;
    return at == start ? NULL : at;
}

static const char *skip_number(const char *at, const char *end)
{
    if (at < end && *at == '-')
        at++;
    bool zero = at < end && *at == '0';
    at = zero ? at + 1 : skip_digits(at, end);
    if (at && at < end && *at == '.')
        at = skip_digits(at + 1, end);
    if (at && at < end && (*at == 'e' || *at == 'E')) {
        at++;
        if (at < end && (*at == '+' || *at == '-'))
            at++;
        at = skip_digits(at, end);
    }
    return at;
}

static const char *skip_word(const char *at, const char *end, const char *word)
{
    size_t length = strlen(word);
    return (size_t)(end - at) >= length && memcmp(at, word, length) == 0 ? at + length : NULL;
}

static const char *skip_value(const char *at, const char *end, int depth);

static const char *skip_key(const char *at, const char *end)
{
    if (at == end || *at != '"' || !(at = skip_string(at, end)))
        return NULL;
    at = skip_space(at, end);
    return at < end && *at == ':' ? skip_space(at + 1, end) : NULL;
}

static const char *skip_list(const char *at, const char *end, int depth)
{
    bool object = *at == '{';
    char closing = object ? '}' : ']';
    at = skip_space(at + 1, end);
    if (at < end && *at == closing)
        return at + 1;
    while (at < end) {
        if (object && !(at = skip_key(at, end)))
            return NULL;
        if (!(at = skip_value(at, end, depth + 1)))
            return NULL;
        at = skip_space(at, end);
        if (at < end && *at == closing)
            return at + 1;
        if (at == end || *at != ',')
            return NULL;
        at = skip_space(at + 1, end);
    }
    return NULL;
}

static const char *skip_value(const char *at, const char *end, int depth)
{
    if (at == end || depth > DEEPEST)
        return NULL;
    switch (*at) {
    case '{':
    case '[':
        return skip_list(at, end, depth);
    case '"':
        return skip_string(at, end);
    case 't':
        return skip_word(at, end, "true");
    case 'f':
        return skip_word(at, end, "false");
    case 'n':
        return skip_word(at, end, "null");
    default:
        return skip_number(at, end);
    }
}

struct json json_parse(const char *text, size_t length)
{
    const char *end = text + length, *start = skip_space(text, end);
    const char *after = skip_value(start, end, 0);
    if (!after || skip_space(after, end) != end)
        return (struct json){0};
    return (struct json){start, (size_t)(after - start)};
}

static bool string_equals(struct json value, const char *text)
{
    char copy[64];
    return json_string(value, copy, sizeof copy) && strcmp(copy, text) == 0;
}

struct json json_member(struct json object, const char *name)
{
    if (!json_is_object(object))
        return (struct json){0};
    const char *end = object.text + object.length, *at = skip_space(object.text + 1, end);
    while (at < end && *at == '"') {
        struct json key = {at, (size_t)(skip_string(at, end) - at)};
        const char *value = skip_key(at, end), *after = skip_value(value, end, 0);
        if (string_equals(key, name))
            return (struct json){value, (size_t)(after - value)};
        at = skip_space(after, end);
        if (at < end && *at == ',')
            at = skip_space(at + 1, end);
    }
    return (struct json){0};
}

bool json_next(struct json array, size_t *cursor, struct json *item)
{
    if (!array.text || *array.text != '[')
        return false;
    const char *end = array.text + array.length;
    const char *at = skip_space(array.text + (*cursor ? *cursor : 1), end);
    if (at < end && *at == ',')
        at = skip_space(at + 1, end);
    if (at >= end || *at == ']')
        return false;
    const char *after = skip_value(at, end, 0);
    *item = (struct json){at, (size_t)(after - at)};
    *cursor = (size_t)(after - array.text);
    return true;
}

bool json_is_object(struct json value)
{
    return value.text && *value.text == '{';
}

bool json_is_true(struct json value)
{
    return value.text && *value.text == 't';
}

double json_number(struct json value, double fallback)
{
    if (!value.text || !(*value.text == '-' || (*value.text >= '0' && *value.text <= '9')))
        return fallback;
    const char *at = value.text, *end = at + value.length;
    bool negative = *at == '-';
    double number = 0.0, scale = 1.0;
    for (at += negative; at < end && *at >= '0' && *at <= '9'; at++)
        number = number * 10.0 + (*at - '0');
    if (at < end && *at == '.')
        for (at++; at < end && *at >= '0' && *at <= '9'; at++)
            number += (*at - '0') * (scale /= 10.0);
    if (at < end && (*at == 'e' || *at == 'E')) {
        bool down = *++at == '-';
        int exponent = 0;
        for (at += *at == '-' || *at == '+'; at < end && exponent < 1000; at++)
            exponent = exponent * 10 + (*at - '0');
        number *= pow(10.0, down ? -exponent : exponent);
    }
    return isfinite(number) ? (negative ? -number : number) : fallback;
}

static uint32_t unicode(const char *digits)
{
    uint32_t code = 0;
    for (int i = 0; i < 4; i++)
        code = code << 4 | (uint32_t)hex_digit(digits[i]);
    return code;
}

static size_t utf8(uint32_t code, char out[4])
{
    if (code < 0x80) {
        out[0] = (char)code;
        return 1;
    }
    size_t more = code < 0x800 ? 1 : code < 0x10000 ? 2 : 3;
    for (size_t i = more; i > 0; i--, code >>= 6)
        out[i] = (char)(0x80 | (code & 0x3f));
    out[0] = (char)((more == 1 ? 0xc0 : more == 2 ? 0xe0 : 0xf0) | code);
    return more + 1;
}

/* The character at *at, which is moved on; an unpaired surrogate or NUL becomes a question mark. */
static size_t next_character(const char **at, const char *end, char out[4])
{
    static const char names[] = "\"\\/bfnrt", values[] = "\"\\/\b\f\n\r\t";
    const char *c = *at;
    if (*c != '\\') {
        out[0] = *c;
        *at = c + 1;
        return 1;
    }
    if (c[1] != 'u') {
        out[0] = values[strchr(names, c[1]) - names];
        *at = c + 2;
        return 1;
    }
    uint32_t code = unicode(c + 2);
    *at = c + 6;
    if (code >= 0xd800 && code < 0xdc00 && end - *at >= 6 && (*at)[0] == '\\' && (*at)[1] == 'u') {
        uint32_t low = unicode(*at + 2);
        if (low >= 0xdc00 && low < 0xe000) {
            *at += 6;
            return utf8(0x10000 + ((code - 0xd800) << 10) + (low - 0xdc00), out);
        }
    }
    return utf8(code == 0 || (code >= 0xd800 && code < 0xe000) ? '?' : code, out);
}

/* `length` without an unfinished character at the end. */
static size_t whole_characters(const char *text, size_t length)
{
    size_t start = length;
    while (start && ((unsigned char)text[start - 1] & 0xc0) == 0x80)
        start--;
    if (!start || (unsigned char)text[start - 1] < 0xc0)
        return length;
    unsigned char lead = (unsigned char)text[start - 1];
    size_t bytes = lead < 0xe0 ? 2 : lead < 0xf0 ? 3 : 4;
    return start - 1 + bytes <= length ? length : start - 1;
}

bool json_string(struct json value, char *text, size_t size)
{
    size_t length = 0;
    text[0] = 0;
    if (!value.text || *value.text != '"')
        return false;
    const char *at = value.text + 1, *end = value.text + value.length - 1;
    while (at < end) {
        char character[4];
        size_t bytes = next_character(&at, end, character);
        if (length + bytes >= size)
            break;
        memcpy(text + length, character, bytes);
        length += bytes;
    }
    if (at < end)
        length = whole_characters(text, length);
    text[length] = 0;
    return true;
}

struct json_writer json_writer(char *text, size_t size)
{
    text[0] = 0;
    return (struct json_writer){.text = text, .size = size};
}

void json_write(struct json_writer *writer, const char *raw)
{
    size_t length = strlen(raw);
    if (writer->overflow || writer->length + length >= writer->size) {
        writer->overflow = true;
        return;
    }
    memcpy(writer->text + writer->length, raw, length + 1);
    writer->length += length;
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
    if (!(fabs(value) < 1e14))
        value = 0.0;
    long long scaled = llround(fabs(value) * 10000.0);
    snprintf(digits, sizeof digits, "%s%lld.%04lld", value < 0 && scaled ? "-" : "", scaled / 10000, scaled % 10000);
    json_write(writer, digits);
}
