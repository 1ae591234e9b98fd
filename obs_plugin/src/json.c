/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "json.h"

#include <math.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
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
    struct json key, value;
    for (size_t cursor = 0; json_next_member(object, &cursor, &key, &value);)
        if (string_equals(key, name))
            return value;
    return (struct json){0};
}

bool json_next_member(struct json object, size_t *cursor, struct json *name, struct json *value)
{
    if (!json_is_object(object))
        return false;
    const char *end = object.text + object.length;
    const char *at = skip_space(object.text + (*cursor ? *cursor : 1), end);
    if (at < end && *at == ',')
        at = skip_space(at + 1, end);
    if (at >= end || *at != '"')
        return false;
    *name = (struct json){at, (size_t)(skip_string(at, end) - at)};
    at = skip_key(at, end);
    const char *after = skip_value(at, end, 0);
    *value = (struct json){at, (size_t)(after - at)};
    *cursor = (size_t)(after - object.text);
    return true;
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

bool json_is_text(struct json value)
{
    return value.text && *value.text == '"' && value.length > 2;
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

static bool is_number(struct json value)
{
    return *value.text == '-' || (*value.text >= '0' && *value.text <= '9');
}

static bool is_integer(struct json value)
{
    for (size_t i = 0; i < value.length; i++)
        if (strchr(".eE", value.text[i]))
            return false;
    return true;
}

static bool same_bytes(struct json one, struct json other)
{
    return one.length == other.length && memcmp(one.text, other.text, one.length) == 0;
}

static bool same_strings(struct json one, struct json other)
{
    const char *a = one.text + 1, *a_end = one.text + one.length - 1;
    const char *b = other.text + 1, *b_end = other.text + other.length - 1;
    char a_character[4], b_character[4], *a_rest = a_character, *b_rest = b_character;
    size_t a_count = 0, b_count = 0;
    for (;;) { /* byte by byte: an escaped character has several, another one comes in bytes */
        if (!a_count && a < a_end)
            a_count = next_character(&a, a_end, a_rest = a_character);
        if (!b_count && b < b_end)
            b_count = next_character(&b, b_end, b_rest = b_character);
        if (!a_count || !b_count)
            return a_count == b_count;
        if (*a_rest++ != *b_rest++)
            return false;
        a_count--, b_count--;
    }
}

bool json_same(struct json one, struct json other)
{
    if (!one.text || !other.text)
        return one.text == other.text;
    if (same_bytes(one, other))
        return true;
    if (*one.text == '"' && *other.text == '"')
        return same_strings(one, other);
    if (!is_number(one) || !is_number(other) || (is_integer(one) && is_integer(other)))
        return false; /* whole numbers may have more digits than a double */
    double a = json_number(one, 0.0), b = json_number(other, 0.0);
    return fabs(a - b) <= 1e-9 * fmax(fabs(a), fabs(b));
}

bool json_keep(struct json *kept, struct json value)
{
    if (value.text ? kept->text && same_bytes(*kept, value) : !kept->text)
        return false;
    char *copy = value.text ? malloc(value.length) : NULL;
    if (value.text && !copy)
        return false;
    if (copy)
        memcpy(copy, value.text, value.length);
    free((char *)kept->text);
    *kept = (struct json){copy, value.text ? value.length : 0};
    return true;
}
