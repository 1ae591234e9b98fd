/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "targets.h"

#include <stdio.h>
#include <string.h>

static bool is_a(obs_source_t *source, const char *id)
{
    const char *own = obs_source_get_unversioned_id(source);
    return own && strcmp(own, id) == 0;
}

struct use {
    obs_source_t *source;
    void (*use)(struct instance *instance, void *context);
    void *context;
    bool done;
};

static bool use_if_same(struct instance *instance, void *context)
{
    struct use *use = context;
    if (instance->source != use->source)
        return true;
    use->use(instance, use->context);
    use->done = true;
    return false;
}

bool target_with(obs_source_t *source, void (*use)(struct instance *instance, void *context), void *context)
{
    struct use the_use = {source, use, context, false};
    instance_each(use_if_same, &the_use);
    return the_use.done;
}

struct walk {
    void (*visit)(obs_source_t *parent, struct instance *instance, void *context);
    void *context;
    obs_source_t *parent;
};

static void visit_instance(struct instance *instance, void *context)
{
    struct walk *walk = context;
    walk->visit(walk->parent, instance, walk->context);
}

static void visit_filter(obs_source_t *parent, obs_source_t *filter, void *context)
{
    struct walk *walk = context;
    walk->parent = parent;
    if (is_a(filter, FILTER_ID))
        target_with(filter, visit_instance, walk);
}

static bool visit_source(void *context, obs_source_t *source)
{
    struct walk *walk = context;
    obs_source_enum_filters(source, visit_filter, walk);
    walk->parent = NULL;
    if (is_a(source, OUTPUT_ID))
        target_with(source, visit_instance, walk);
    return true;
}

void targets_each(void (*visit)(obs_source_t *parent, struct instance *instance, void *context), void *context)
{
    struct walk walk = {visit, context, NULL};
    obs_enum_sources(visit_source, &walk);
    obs_enum_scenes(visit_source, &walk);
}

struct search {
    obs_source_t *found;
    int count;
};

static void note_filter(obs_source_t *parent, obs_source_t *filter, void *context)
{
    struct search *search = context;
    if (is_a(filter, FILTER_ID) && search->count++ == 0)
        search->found = obs_source_get_ref(filter);
    (void)parent;
}

static bool search_source(void *context, obs_source_t *source)
{
    obs_source_enum_filters(source, note_filter, context);
    return true;
}

static obs_source_t *find_on(const char *name, const char *filter, char *why, size_t size)
{
    struct search search = {0};
    obs_source_t *source = obs_get_source_by_name(name);
    if (!source) {
        snprintf(why, size, "source: there is no source named '%s'", name);
        return NULL;
    }
    if (*filter)
        search.found = obs_source_get_filter_by_name(source, filter);
    else
        obs_source_enum_filters(source, note_filter, &search);
    obs_source_release(source);
    if (search.found && is_a(search.found, FILTER_ID))
        return search.found;
    obs_source_release(search.found);
    snprintf(why, size, "filter: there is no Driftcam filter '%s' on '%s'", filter, name);
    return NULL;
}

obs_source_t *target_find(obs_data_t *request, char *why, size_t size)
{
    struct search search = {0};
    const char *name = obs_data_get_string(request, "source");
    if (*name)
        return find_on(name, obs_data_get_string(request, "filter"), why, size);
    obs_enum_sources(search_source, &search);
    obs_enum_scenes(search_source, &search);
    if (search.count == 1)
        return search.found;
    obs_source_release(search.found);
    snprintf(why, size, search.count ? "source: there are %d Driftcam filters; name the source"
                                     : "source: there is no Driftcam filter (%d)", search.count);
    return NULL;
}
