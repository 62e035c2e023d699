/* app/semver: versions, their order, and requirements as Cargo reads them. */
#include "unit.h"

#include "app/semver.h"

static void versions(void **state)
{
    semver v;
    assert_true(semver_parse(S("1.20.300"), &v));
    assert_int_equal(v.major, 1);
    assert_int_equal(v.minor, 20);
    assert_int_equal(v.patch, 300);
    assert_true(semver_parse(S("0.2.0-rc-2023-11-10+b.1"), &v));
    assert_str(v.pre, "rc-2023-11-10");
    static const char *const wrong[] = {
        "",       "1",      "1.2",    "1.2.3.4", "1.2.x",  "v1.2.3",         "1..3",
        "1.2.3-", "01.2.3", "1.2.03", "latest",  "-1.2.3", "1.2.99999999999"};
    for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++)
        if (semver_parse(str_from(wrong[i]), &v))
            fail_msg("'%s' is no version", wrong[i]);
}

/* Semantic Versioning 2.0.0, section 11. */
static void precedence(void **state)
{
    static const char *const rising[] = {
        "0.9.10",     "1.0.0-alpha",  "1.0.0-alpha.1", "1.0.0-alpha.beta",
        "1.0.0-beta", "1.0.0-beta.2", "1.0.0-beta.11", "1.0.0-rc.1",
        "1.0.0",      "1.0.1",        "1.1.0",         "1.10.0",
        "2.0.0"};
    enum { N = sizeof rising / sizeof *rising };
    semver v[N];
    for (size_t i = 0; i < N; i++)
        assert_true(semver_parse(str_from(rising[i]), &v[i]));
    for (size_t i = 0; i < N; i++)
        for (size_t k = 0; k < N; k++) {
            int c = semver_compare(&v[i], &v[k]);
            if ((c > 0) != (i > k) || (c < 0) != (i < k))
                fail_msg("%s against %s: %d", rising[i], rising[k], c);
        }
}

static void requirements(void **state)
{
    static const struct {
        const char *requirement, *yes, *no;
    } cases[] = {
        {"1.2.3", "1.2.3 1.2.4 1.9.0", "1.2.2 2.0.0 0.9.9 1.2.4-rc1"},
        {"^1.2", "1.2.0 1.99.0", "1.1.9 2.0.0"},
        {"1", "1.0.0 1.99.9", "0.9.9 2.0.0"},
        {"0.2.3", "0.2.3 0.2.9", "0.2.2 0.3.0 1.0.0"},
        {"0.0.3", "0.0.3", "0.0.2 0.0.4 0.1.0"},
        {"0.0", "0.0.0 0.0.9", "0.1.0"},
        {"0", "0.0.0 0.9.9", "1.0.0"},
        {"~1.2.3", "1.2.3 1.2.9", "1.3.0 1.2.2"},
        {"~1", "1.0.0 1.9.0", "2.0.0"},
        {"=1.2.3", "1.2.3", "1.2.4 1.2.2"},
        {"= 1.2", "1.2.0 1.2.9", "1.3.0 1.1.0"},
        {">1.2.3", "1.2.4 9.0.0", "1.2.3 1.0.0"},
        {">1.2", "1.3.0", "1.2.9 1.2.0"},
        {">=1.2, <1.5", "1.2.0 1.4.9", "1.5.0 1.1.9"},
        {"<=1.2", "1.2.9 0.1.0", "1.3.0"},
        {"<=1.2.3", "1.2.3", "1.2.4"},
        {"1.*", "1.0.0 1.9.9", "2.0.0 0.9.9"},
        {"1.2.*", "1.2.9", "1.3.0"},
        {"*", "0.0.1 99.0.0", "1.0.0-rc1"},
        {"1.2.3-rc.1", "1.2.3-rc.1 1.2.3-rc.2 1.2.3 1.3.0", "1.2.4-rc.1 1.2.3-beta"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        str requirement = str_from(cases[i].requirement);
        assert_true(semver_is_requirement(requirement));
        for (int side = 0; side < 2; side++) {
            str rest = str_from(side ? cases[i].no : cases[i].yes);
            while (rest.p) {
                semver v;
                str text = str_cut(&rest, ' ');
                assert_true(semver_parse(text, &v));
                if (semver_meets(&v, requirement) != !side)
                    fail_msg("%.*s against '%s'", STR(text), cases[i].requirement);
            }
        }
    }
    static const char *const wrong[] = {"", "one", "1.2.3.4", ">", "1,", "1.*.3", "^^1", ">=x1"};
    semver any = {1, 2, 3, {0}};
    for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++)
        if (semver_is_requirement(str_from(wrong[i])) || semver_meets(&any, str_from(wrong[i])))
            fail_msg("'%s' is no requirement", wrong[i]);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(versions),
        cmocka_unit_test(precedence),
        cmocka_unit_test(requirements),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
