/* See reach.h. Folders: one O_PATH descriptor for each parent, which for all artifacts of an app is
 * the same, and /proc/self/fd/N/name below it: such a path needs no right on what lies above. Files
 * with secrets: copied into an anonymous file that only this process knows. Descriptors stay open
 * for the life of the worker. */
#include "platform/reach.h"

#include "platform/artifact.h"
#include "platform/sandbox.h"
#include "platform/spawn.h"

#include <fcntl.h>
#include <unistd.h>

enum { PARENTS_MAX = 64 };

#define KEY_BYTES_MAX (16 << 20)

typedef struct {
    str path;
    int fd;
} parent;

typedef struct {
    arena *a;
    parent parents[PARENTS_MAX];
    size_t count;
} reach;

static bool folder_reach(reach *r, str *path, err *e)
{
    if (!path->n)
        return true;
    size_t slash = str_rfind(*path, '/');
    str above = arena_str(r->a, str_head(*path, slash ? slash : 1));
    size_t i = 0;
    while (i < r->count && !str_eq(r->parents[i].path, above))
        i++;
    if (i == PARENTS_MAX)
        return err_set(e, ERR_LIMIT, "artifacts and files lie in more than %d folders",
                       PARENTS_MAX);
    if (i == r->count) {
        int fd = open(above.p, O_PATH | O_DIRECTORY | O_CLOEXEC);
        if (fd < 0)
            return err_set_errno(e, "%.*s", STR(above));
        r->parents[r->count++] = (parent){above, fd};
    }
    *path = arena_printf(r->a, "/proc/self/fd/%d/%.*s", r->parents[i].fd,
                         STR(str_skip(*path, slash + 1)));
    return path->p ? true : err_no_memory(e);
}

static bool mounts_reach(reach *r, app_pairs *mounts, err *e)
{
    app_pair *at = ARENA_ARRAY(r->a, app_pair, mounts->n + 1);
    if (!at)
        return err_no_memory(e);
    for (size_t i = 0; i < mounts->n; i++) {
        at[i] = mounts->at[i];
        if (!folder_reach(r, &at[i].value, e))
            return false;
    }
    mounts->at = at;
    return true;
}

/* What can't be read stays as it is: whoever needs it says so then. */
static bool secret_reach(reach *r, str *path, err *e)
{
    bytes content;
    int fd;
    err ignored;
    if (!path->n || !file_load(r->a, path->p, KEY_BYTES_MAX, &content, &ignored))
        return true;
    if (!spawn_memfd("ebb-key", content.p, content.n, &fd, e))
        return false;
    explicit_bzero((void *)(uintptr_t)content.p, content.n);
    *path = arena_printf(r->a, "/proc/self/fd/%d", fd);
    return path->p ? true : err_no_memory(e);
}

static bool components_reach(reach *r, app_config *c, err *e)
{
    size_t count = c->app ? c->app->components_count : 0;
    config_component *components = ARENA_ARRAY(r->a, config_component, count);
    if (!components)
        return err_no_memory(e);
    for (size_t i = 0; i < count; i++) {
        components[i] = c->components[i];
        if (!folder_reach(r, &components[i].artifact, e) ||
            !mounts_reach(r, &components[i].mounts, e))
            return false;
    }
    c->components = components;
    return true;
}

bool reach_folder(arena *a, str *path, err *e)
{
    uid_t uid;
    gid_t gid;
    if (!sandbox_user(&uid, &gid))
        return true;
    int fd = open(path->p, O_PATH | O_DIRECTORY | O_CLOEXEC);
    if (fd < 0)
        return err_set_errno(e, "%.*s", STR(*path));
    *path = arena_printf(a, "/proc/self/fd/%d", fd);
    return path->p ? true : err_no_memory(e);
}

bool reach_open(arena *a, node_config *n, app_config *c, err *e)
{
    reach r = {.a = a};
    uid_t uid;
    gid_t gid;
    if (!sandbox_user(&uid, &gid))
        return true;
    if (!components_reach(&r, c, e))
        return false;
    for (size_t i = 0; i < n->network.tls_count; i++) {
        host_tls *t = &n->network.tls[i].tls;
        if (!secret_reach(&r, &t->roots_file, e) || !secret_reach(&r, &t->certificate_file, e) ||
            !secret_reach(&r, &t->key_file, e))
            return false;
    }
    return true;
}
