/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "fields.h"

#include <math.h>
#include <string.h>

/* Of daemons up to version 0.1, which do not send their table. It is history and does not follow a newer table. */
static const char before_the_table[] =
    "[{\"name\":\"strength\",\"label\":\"Strength\",\"group\":\"Look\",\"kind\":\"number\",\"low\":0,\"high\":1},"
    "{\"name\":\"freedom\",\"label\":\"Freedom\",\"group\":\"Look\",\"kind\":\"number\",\"low\":0,\"high\":1},"
    "{\"name\":\"steps\",\"label\":\"Steps\",\"group\":\"More\",\"kind\":\"integer\",\"low\":1,\"high\":8}]";

static enum field_kind kind_of(struct json value)
{
    static const char *names[] = {[FIELD_NUMBER] = "number",
                                  [FIELD_INTEGER] = "integer",
                                  [FIELD_CHOICE] = "choice",
                                  [FIELD_TEXT] = "text"};
    char name[16];
    json_string(value, name, sizeof name);
    for (size_t kind = FIELD_NUMBER; kind < sizeof names / sizeof *names; kind++)
        if (strcmp(name, names[kind]) == 0)
            return (enum field_kind)kind;
    return FIELD_OTHER;
}

static void read_field(struct json entry, struct field *field)
{
    struct {
        const char *name;
        char *text;
        size_t size;
    } texts[] = {{"name", field->name, sizeof field->name},
                 {"label", field->label, sizeof field->label},
                 {"group", field->group, sizeof field->group},
                 {"unit", field->unit, sizeof field->unit},
                 {"about", field->about, sizeof field->about}};
    for (size_t i = 0; i < sizeof texts / sizeof *texts; i++)
        json_string(json_member(entry, texts[i].name), texts[i].text, texts[i].size);
    field->kind = kind_of(json_member(entry, "kind"));
    field->low = json_number(json_member(entry, "low"), 0.0);
    field->high = json_number(json_member(entry, "high"), 1.0);
    field->step = json_number(json_member(entry, "step"), field->kind == FIELD_INTEGER ? 1.0 : 0.01);
    field->initial = json_member(entry, "default");
    field->choices = json_member(entry, "choices");
    field->labels = json_member(entry, "choice_labels");
    field->models = json_member(entry, "models");
}

bool field_next(struct json fields, size_t *cursor, struct field *field)
{
    struct json entry, table = fields.text ? fields : (struct json){before_the_table, sizeof before_the_table - 1};
    while (json_next(table, cursor, &entry)) {
        read_field(entry, field);
        if (*field->name)
            return true;
    }
    return false;
}

bool field_find(struct json fields, const char *name, struct field *field)
{
    for (size_t cursor = 0; field_next(fields, &cursor, field);)
        if (strcmp(field->name, name) == 0)
            return true;
    return false;
}

bool field_acts_on(const struct field *field, const char *model)
{
    struct json name;
    char text[64];
    if (!*model || !field->models.text)
        return true;
    for (size_t cursor = 0; json_next(field->models, &cursor, &name);)
        if (json_string(name, text, sizeof text) && strcmp(text, model) == 0)
            return true;
    return false;
}

static bool is_choice(const struct field *field, struct json value)
{
    struct json choice;
    for (size_t cursor = 0; json_next(field->choices, &cursor, &choice);)
        if (json_same(choice, value))
            return true;
    return false;
}

bool field_takes(const struct field *field, struct json value)
{
    double number = json_number(value, NAN);
    switch (field->kind) {
    case FIELD_NUMBER:
        return number >= field->low && number <= field->high;
    case FIELD_INTEGER:
        return number >= field->low && number <= field->high && number == floor(number);
    case FIELD_CHOICE:
        return is_choice(field, value);
    case FIELD_TEXT:
        return value.text && *value.text == '"';
    default:
        return false;
    }
}
