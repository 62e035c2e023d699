/* Names; see names.h. FNV-1a and linear probing; the table doubles when it is half full.
 * Suggestions use the optimal string alignment distance, in which one typing mistake (a wrong, a
 * missing, an extra letter, two swapped ones) counts one. */
#include "app/names.h"

static size_t hash(str s)
{
    uint64_t h = 14695981039346656037u;
    for (size_t i = 0; i < s.n; i++)
        h = (h ^ (unsigned char)s.p[i]) * 1099511628211u;
    return (size_t)(h ^ h >> 32);
}

static name_slot *slot_of(const names *t, str name)
{
    size_t i = hash(name) & (t->cap - 1);
    while (t->slots[i].name.p && !str_eq(t->slots[i].name, name))
        i = (i + 1) & (t->cap - 1);
    return &t->slots[i];
}

static bool names_grow(arena *a, names *t)
{
    names bigger = {.n = t->n, .cap = t->cap ? t->cap * 2 : 16};
    bigger.slots = ARENA_ARRAY(a, name_slot, bigger.cap);
    if (!bigger.slots)
        return false;
    for (size_t i = 0; i < t->cap; i++)
        if (t->slots[i].name.p)
            *slot_of(&bigger, t->slots[i].name) = t->slots[i];
    *t = bigger;
    return true;
}

bool names_add(arena *a, names *t, str name, size_t value)
{
    if (t->n * 2 >= t->cap && !names_grow(a, t))
        return false;
    name_slot *slot = slot_of(t, name);
    if (slot->name.p)
        return true;
    *slot = (name_slot){name.p ? name : S(""), value};
    t->n++;
    return true;
}

size_t names_get(const names *t, str name)
{
    if (!t->cap)
        return SIZE_MAX;
    const name_slot *slot = slot_of(t, name);
    return slot->name.p ? slot->value : SIZE_MAX;
}

enum { SUGGEST_BYTES_MAX = 48 };

static char fold(char c) { return c >= 'A' && c <= 'Z' ? (char)(c + 32) : c == '-' ? '_' : c; }

static size_t min3(size_t a, size_t b, size_t c)
{
    size_t m = a < b ? a : b;
    return m < c ? m : c;
}

/* Optimal string alignment distance over three rows; case and '-' against '_' cost nothing. */
static size_t distance(str x, str y)
{
    size_t rows[3][SUGGEST_BYTES_MAX + 1];
    for (size_t j = 0; j <= y.n; j++)
        rows[0][j] = j;
    for (size_t i = 1; i <= x.n; i++) {
        size_t *row = rows[i % 3], *up = rows[(i + 2) % 3], *up2 = rows[(i + 1) % 3];
        row[0] = i;
        for (size_t j = 1; j <= y.n; j++) {
            char a = fold(x.p[i - 1]), b = fold(y.p[j - 1]);
            row[j] = min3(up[j] + 1, row[j - 1] + 1, up[j - 1] + (a != b));
            if (i > 1 && j > 1 && a == fold(y.p[j - 2]) && fold(x.p[i - 2]) == b &&
                up2[j - 2] + 1 < row[j])
                row[j] = up2[j - 2] + 1;
        }
    }
    return rows[x.n % 3][y.n];
}

str names_suggest(str s, const str *candidates, size_t n)
{
    str best = {0};
    size_t best_distance = SIZE_MAX;
    if (!s.n || s.n > SUGGEST_BYTES_MAX)
        return best;
    for (size_t i = 0; i < n; i++) {
        str c = candidates[i];
        if (!c.n || c.n > SUGGEST_BYTES_MAX)
            continue;
        size_t d = distance(s, c), longer = s.n > c.n ? s.n : c.n;
        bool is_near = d <= 1 || d <= longer / 3 || (s.n >= 4 && str_starts(c, s));
        if (is_near && d < longer && d < best_distance) {
            best = c;
            best_distance = d;
        }
    }
    return best;
}
