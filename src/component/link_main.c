/* ebb-link FILE: prints the link plan of a component. A tool for whoever works on this room; users
 * have `ebb inspect`. */
#include "component/link.h"

#include "base/limits.h"

#include <stdio.h>
#include <stdlib.h>
#include <time.h>

static bytes file_read(const char *path)
{
    bytes b = {NULL, 0};
    FILE *f = fopen(path, "rb");
    if (!f || fseek(f, 0, SEEK_END) != 0) {
        perror(path);
        exit(2);
    }
    long n = ftell(f);
    uint8_t *p = n >= 0 ? malloc((size_t)n + 1) : NULL;
    rewind(f);
    if (p)
        b = (bytes){p, fread(p, 1, (size_t)n, f)};
    fclose(f);
    return b;
}

static void print_def(const link_def *d)
{
    if (d->is_canon)
        printf("canon %u", d->canon);
    else
        printf("core %d '%.*s'", d->core.instance, STR(d->core.name));
}

static void print_ref(const char *name, const core_ref *r)
{
    if (r->instance >= 0)
        printf(" %s=%d.%.*s", name, r->instance, STR(r->name));
}

static void print_options(const canon_options *o)
{
    static const char *const encodings[] = {"utf8", "utf16", "latin1+utf16"};
    printf(" %s%s", encodings[o->encoding], o->async ? " async" : "");
    print_ref("memory", &o->memory);
    print_ref("realloc", &o->realloc);
    print_ref("post-return", &o->post_return);
    print_ref("callback", &o->callback);
    printf("\n");
}

static void print_canon(arena *a, const link_canon *c, uint32_t i)
{
    static const char *const kinds[] = {"host",          "lifted",  "resource.new", "resource.rep",
                                        "resource.drop", "builtin", "trap"};
    printf("  canon %u: %s", i, kinds[c->kind]);
    if (c->kind == CANON_HOST || c->kind == CANON_BUILTIN)
        printf(" %.*s#%.*s", STR(c->interface), STR(c->name));
    if (c->kind == CANON_LIFTED)
        printf(" unit %u lift %u", c->unit, c->lift);
    if (c->kind >= CANON_RESOURCE_NEW && c->kind <= CANON_RESOURCE_DROP)
        printf(" resource %u", c->resource);
    if (c->type)
        printf(" %.*s", STR(functype_text(a, c->type)));
    if (c->element)
        printf(" of %.*s", STR(type_text(a, c->element)));
    print_options(&c->options);
}

static void print_unit(arena *a, const link_unit *u, uint32_t i)
{
    printf("unit %u '%.*s' parent %d\n", i, STR(u->label), (int)u->parent);
    for (uint32_t k = 0; k < u->cores_count; k++) {
        const link_core *c = &u->cores[k];
        printf("  core %u: module at 0x%llx, %zu bytes\n", k, (unsigned long long)c->offset,
               c->module.n);
        for (uint32_t m = 0; m < c->imports_count; m++) {
            printf("    import '%.*s' '%.*s' = ", STR(c->imports[m].module),
                   STR(c->imports[m].name));
            print_def(&c->imports[m].def);
            printf("\n");
        }
    }
    for (uint32_t k = 0; k < u->canons_count; k++)
        print_canon(a, &u->canons[k], k);
    for (uint32_t k = 0; k < u->lifts_count; k++) {
        const link_lift *f = &u->lifts[k];
        printf("  lift %u: '%.*s' %.*s = core %d '%.*s'", k, STR(f->label),
               STR(functype_text(a, f->type)), f->core.instance, STR(f->core.name));
        print_options(&f->options);
    }
}

static void print_plan(arena *a, const link_plan *l)
{
    for (uint32_t i = 0; i < l->units_count; i++)
        print_unit(a, &l->units[i], i);
    for (uint32_t i = 0; i < l->resources_count; i++) {
        const link_resource *r = &l->resources[i];
        printf("resource %u: %s %.*s %.*s unit %d", i, r->type.imported ? "imported" : "defined",
               STR(r->type.interface), STR(r->type.name), (int)r->unit);
        print_ref("dtor", &r->dtor);
        printf("\n");
    }
    for (uint32_t i = 0; i < l->imports_count; i++)
        printf("import %.*s#%.*s %.*s\n", STR(l->imports[i].interface), STR(l->imports[i].name),
               STR(l->imports[i].type ? functype_text(a, l->imports[i].type) : S("")));
    for (uint32_t i = 0; i < l->exports_count; i++)
        printf("export %.*s#%.*s %.*s = unit %d lift %d\n", STR(l->exports[i].interface),
               STR(l->exports[i].name), STR(functype_text(a, l->exports[i].type)),
               (int)l->exports[i].unit, (int)l->exports[i].lift);
}

int main(int argc, char **argv)
{
    _cleanup_(arena_fini) arena a;
    struct timespec t0, t1;
    link_plan plan;
    err e;
    if (argc < 2)
        return fprintf(stderr, "usage: ebb-link FILE.wasm [-q]\n"), 2;
    bytes b = file_read(argv[1]);
    arena_init(&a, COMPONENT_ARENA_BYTES_MAX);
    clock_gettime(CLOCK_MONOTONIC, &t0);
    bool ok = component_link(&a, b, &plan, &e);
    clock_gettime(CLOCK_MONOTONIC, &t1);
    if (!ok) {
        fprintf(stderr, "%s: %s: %s\n", argv[1], err_code_name(e.code), e.text);
        free((void *)b.p);
        return 1;
    }
    if (argc < 3)
        print_plan(&a, &plan);
    printf("%zu bytes in %.2f ms, %zu bytes of arena, %u units, %u core modules\n", b.n,
           (double)(t1.tv_sec - t0.tv_sec) * 1e3 + (double)(t1.tv_nsec - t0.tv_nsec) / 1e6,
           a.used_bytes, plan.units_count, plan.core_modules_count);
    free((void *)b.p);
    return 0;
}
