/* Commands that ask a node: a keeper with its admin API and a store process in a child of this one,
 * at a socket and at an address. What is sent, and what is printed of the answers. */
#include "keeper_kit.h"

#include "cli_kit.h"
#include "loop/listen.h"
#include "store/server.h"
#include "store/sql_memory.h"

#include <signal.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <time.h>

static pid_t node;
static char at_socket[160], at_address[160], node_data[64];

/* --- the node --------------------------------------------------------------------------------- */

static void serve(int told)
{
    static api_door local = {&k, true}, far = {&k, false};
    static char folder[64];
    http_server_config config = {0};
    store_server *store;
    char path[128], address[LISTEN_ADDRESS_MAX];
    int pair[2], fd, tcp;
    err e;
    if (!sql_memory_init(&e) || keeper_make(NULL))
        _exit(1);
    building = IS_THERE;
    k.config.serve.revisions_kept = 3;
    snprintf(folder, sizeof folder, "%s", path_of("state"));
    snprintf(path, sizeof path, "%s", path_of("admin.sock"));
    store_config c = {.state_dir = str_from(folder)};
    if (!store_server_new(k.l, &c, &store, &e) || !channel_pair(pair, &e) ||
        !store_server_add_take(store, pair[0], &e) || !listen_local(path, &fd, &e) ||
        !listen_socket(S("127.0.0.1:0"), &tcp, address, &e))
        _exit(1);
    store_client_connect_take(k.store, pair[1]);
    http_server *a = http_server_new(k.l, &config, api_on_request, &local),
                *b = http_server_new(k.l, &config, api_on_request, &far);
    if (!a || !b || !http_server_listen(a, fd, &e) || !http_server_listen(b, tcp, &e))
        _exit(1);
    dprintf(told, "%s %s %s", data, path, address);
    close(told);
    loop_run(k.l, &e);
    _exit(0);
}

static int begin_node(void **state)
{
    char text[400] = "", address[LISTEN_ADDRESS_MAX];
    int pair[2];
    if (pipe(pair) < 0)
        return -1;
    node = fork();
    if (node == 0) {
        prctl(PR_SET_PDEATHSIG, SIGKILL);
        close(pair[0]);
        serve(pair[1]);
    }
    close(pair[1]);
    ssize_t n = 0;
    for (ssize_t got; (got = read(pair[0], text + n, sizeof text - 1 - (size_t)n)) > 0;)
        n += got;
    close(pair[0]);
    if (sscanf(text, "%63s %159s %63s", node_data, at_socket, address) != 3)
        return -1;
    snprintf(at_address, sizeof at_address, "http://%s", address);
    setenv("TZ", "UTC", 1);
    tzset();
    return 0;
}

static int end_node(void **state)
{
    kill(node, SIGKILL);
    waitpid(node, NULL, 0);
    return folder_remove(node_data);
}

/* Each test asks by the socket, and keeps its login in its own folder. */
static int begin(void **state)
{
    int status_of = enter(state);
    setenv("XDG_CONFIG_HOME", dir, 1);
    setenv("EBB_NODE", at_socket, 1);
    unsetenv("EBB_TOKEN");
    unsetenv("EBB_TENANT");
    return status_of;
}

/* --- tests ------------------------------------------------------------------------------------ */

#define STATIC_APP                                                                                 \
    "spin_manifest_version = 2\n[application]\nname = \"still\"\n"                                 \
    "[[trigger.http]]\nroute = \"/\"\nstatic_response = { body = \"hi\" }\n"

static void tenants_come_and_go(void **state)
{
    succeeds(cli_tenants, "tenants add acme");
    assert_string_equal(
        out, "Tenant acme. A token for its owner: ebb tokens add --role owner --tenant acme\n");
    succeeds(cli_tenants, "tenants add beta --json");
    assert_string_equal(json_string_value(json_object_get(printed, "name")), "beta");
    succeeds(cli_tenants, "tenants");
    prints("acme                     since 2027-01-15 08:00, at most 9 apps\n");
    prints("beta                     since 2027-01-15 08:00, at most 9 apps\n");
    succeeds(cli_tenants, "tenants --json");
    assert_int_equal(json_array_size(json_object_get(printed, "tenants")), 2);
    fails(1, "there is a tenant 'acme' already", cli_tenants, "tenants add acme");
    fails(1, "the tenant's name is missing: ebb tenants add NAME", cli_tenants, "tenants add");
    fails(1, "'drop': write 'ebb tenants add NAME' or 'remove NAME'", cli_tenants,
          "tenants drop acme");
    succeeds(cli_tenants, "tenants remove beta");
    assert_string_equal(out, "Tenant beta is removed\n");
    fails(1, "there is no such tenant", cli_tenants, "tenants remove beta");
    succeeds(cli_tenants, "tenants add default");
}

static void who_is_logged_in(void **state)
{
    char line[400], token[64], login[200];
    struct stat st;
    unsetenv("EBB_NODE");
    fails(1, "which node? 'ebb login URL --token TOKEN' once, or --node URL", cli_apps, "apps");
    snprintf(line, sizeof line, "tokens add --operator --name first --json --node %s", at_socket);
    succeeds(cli_tokens, line);
    snprintf(token, sizeof token, "%s", json_string_value(json_object_get(printed, "token")));
    snprintf(line, sizeof line, "login %s", at_address);
    fails(1, "give the token that the node printed", cli_login, line);
    fails(1, "this token is unknown, expired or revoked", cli_login, line, "--token", "ebb_x");
    assert_int_equal(access("ebb/login.json", F_OK), -1);
    snprintf(line, sizeof line, "login %s/// --token %s", at_address, token);
    succeeds(cli_login, line);
    snprintf(login, sizeof login,
             "Logged in to unit as operator, tenant default (kept in %s/ebb/login.json)\n", dir);
    assert_string_equal(out, login);
    assert_int_equal(stat("ebb/login.json", &st), 0);
    assert_int_equal(st.st_mode & 0777, 0600);
    assert_int_equal(entries("ebb"), 3);
    json_t *j = json_loads(content("ebb/login.json"), 0, NULL);
    assert_string_equal(json_string_value(json_object_get(j, "url")), at_address);
    assert_string_equal(json_string_value(json_object_get(j, "token")), token);
    assert_string_equal(json_string_value(json_object_get(j, "tenant")), "default");
    json_decref(j);
    succeeds(cli_tenants, "tenants"); /* as logged in */
    snprintf(line, sizeof line, "tenants --node %s", at_address);
    fails(1, "a token is needed", cli_tenants, line); /* the token was for that login's node */
    snprintf(line, sizeof line, "tenants --node %s --token %s", at_address, token);
    succeeds(cli_tenants, line);
    /* A tenant's token says whose it is. */
    succeeds(cli_tokens, "tokens add --tenant acme --role reader --json");
    snprintf(token, sizeof token, "%s", json_string_value(json_object_get(printed, "token")));
    snprintf(line, sizeof line, "login --node %s --token %s --json", at_address, token);
    succeeds(cli_login, line);
    assert_string_equal(json_string_value(json_object_get(printed, "role")), "reader");
    assert_non_null(strstr(content("ebb/login.json"), "\"tenant\": \"acme\""));
    fails(1, "this token may not do that", cli_tenants, "tenants");
    succeeds(cli_apps, "apps");
    fails(1, "this token may not do that", cli_apps, "apps --tenant default");
    fails(1, "no answer of the node at http://127.0.0.1:1", cli_apps,
          "apps --node http://127.0.0.1:1");
    unsetenv("XDG_CONFIG_HOME");
    const char *home = getenv("HOME");
    home = home ? strdup(home) : NULL;
    unsetenv("HOME");
    snprintf(line, sizeof line, "login %s", at_socket);
    fails(1, "neither XDG_CONFIG_HOME nor HOME says where to keep it", cli_login, line);
    if (home)
        setenv("HOME", home, 1);
    free((char *)(uintptr_t)home);
}

static void tokens_of_a_tenant(void **state)
{
    char line[100];
    long long id;
    succeeds(cli_tokens, "tokens add --tenant acme", "--name", "\x1b[31mred\xc2\x9b!");
    assert_int_equal(sscanf(out, "Token %lld, shown this once:\n\n    ebb_", &id), 1);
    assert_int_equal(strlen(strstr(out, "ebb_")), 4 + 43 + 1);
    succeeds(cli_tokens, "tokens --tenant acme");
    snprintf(line, sizeof line, "%-6lld deployer  expires 2027-04-15 08:00  ?[31mred?%s\n", id,
             "?!");
    prints(line); /* what a terminal would obey is not printed */
    succeeds(cli_tokens, "tokens add --tenant acme --role owner --days 0");
    succeeds(cli_tokens, "tokens --tenant acme");
    prints("owner     expires never  \n");
    fails(1, "--days '3651': a number up to 3650", cli_tokens, "tokens add --days 3651");
    fails(1, "--days 'x'", cli_tokens, "tokens add --days x");
    fails(1, "'role' must be reader, deployer or owner", cli_tokens, "tokens add --role operator");
    fails(1, "write 'ebb tokens add' or 'ebb tokens revoke ID'", cli_tokens, "tokens drop 1");
    fails(1, "write 'ebb tokens add' or", cli_tokens, "tokens revoke");
    fails(1, "write 'ebb tokens add' or", cli_tokens, "tokens revoke 1x");
    snprintf(line, sizeof line, "tokens revoke %lld --tenant acme", id);
    succeeds(cli_tokens, line);
    snprintf(line, sizeof line, "Token %lld is revoked\n", id);
    assert_string_equal(out, line);
    succeeds(cli_tokens, "tokens --tenant acme");
    assert_null(strstr(out, "red"));
    succeeds(cli_tokens, "tokens add --operator --name root");
    succeeds(cli_tokens, "tokens --operator");
    prints("operator  expires 2027-04-15 08:00  root\n");
    assert_null(strstr(out, "owner"));
}

static void limits_and_networks(void **state)
{
    succeeds(cli_quota, "quota apps=7 connections=0 --tenant acme");
    prints("apps             7\n");
    prints("connections      no limit\n");
    assert_null(strstr(out, "refused"));
    succeeds(cli_quota, "quota --tenant acme");
    char line[100];
    snprintf(line, sizeof line, "%-16s %14s %14s %10s\n", "quota", "limit", "now", "refused");
    prints(line);
    snprintf(line, sizeof line, "%-16s %14s %14s %10s\n", "apps", "7", "", "");
    prints(line); /* it is not counted */
    snprintf(line, sizeof line, "%-16s %14s %14s %10s\n", "connections", "no limit", "0", "0");
    prints(line);
    fails(1, "'apps': write NAME=NUMBER", cli_quota, "quota apps");
    fails(1, "'apps=x': write NAME=NUMBER", cli_quota, "quota apps=x");
    fails(1, "there is no quota 'cpus'", cli_quota, "quota cpus=3");
    succeeds(cli_egress, "egress --tenant acme");
    assert_string_equal(out, "nothing but the Internet\n");
    succeeds(cli_egress, "egress 10.1.0.0/16 192.168.0.0/24 --tenant acme");
    assert_string_equal(out, "10.1.0.0/16, 192.168.0.0/24\n");
    succeeds(cli_egress, "egress --tenant acme");
    assert_string_equal(out, "10.1.0.0/16, 192.168.0.0/24\n");
    assert_int_equal(run(cli_egress, "egress none 10.0.0.0/8 --tenant acme", NULL), 1);
    succeeds(cli_egress, "egress none --tenant acme");
    assert_string_equal(out, "nothing but the Internet\n");
}

static void what_was_done(void **state)
{
    succeeds(cli_quota, "quota apps=8 --tenant acme");
    succeeds(cli_egress, "egress none --tenant acme");
    succeeds(cli_audit, "audit --tenant acme --lines 2");
    assert_int_equal(count_of("\n"), 2);
    prints("2027-01-15 08:00  acme             admin.sock               egress changed\n");
    prints("quota changed: {");
    succeeds(cli_audit, "audit -n 1 --tenant acme --json");
    assert_string_equal(json_string_value(json_object_get(printed, "action")), "egress changed");
    succeeds(cli_audit, "audit --tenant acme");
    assert_null(strstr(out, "tenant made: beta"));
    succeeds(cli_audit, "audit --all");
    prints("tenant made: beta");
    prints("tenant made: acme");
    succeeds(cli_audit, "audit -n 0");
    assert_string_equal(out, "");
    fails(1, "--lines: a number, not 'x'", cli_audit, "audit -n x");
}

static void deploys_send_what_is_not_there(void **state)
{
    put("c.wasm", "a component");
    put("one.txt", "one");
    put("two.txt", "two");
    put("value", "of a file");
    put("spin.toml", "spin_manifest_version = 2\n[application]\nname = \"My App\"\n"
                     "[variables]\nv = { default = \"0\" }\nw = { required = true }\n"
                     "[[trigger.http]]\nroute = \"/...\"\ncomponent = \"c\"\n"
                     "[[trigger.http]]\nroute = \"/s\"\nstatic_response = { body = \"hi\" }\n"
                     "[[trigger.http]]\nroute = { private = true }\ncomponent = \"c\"\n"
                     "[component.c]\nsource = \"c.wasm\"\nfiles = [\"*.txt\"]\n"
                     "key_value_stores = [\"default\"]\nsqlite_databases = [\"default\"]\n"
                     "variables = { w = \"{{ w }}\" }\n");
    fails(1, "required variable w", cli_deploy, "deploy");
    succeeds(cli_deploy, "deploy -f . --variable w=1 --host www.my.example --host b.example");
    assert_string_equal(out, "my-app, revision 1: http://my-app-default.localhost:3000/\n"
                             "  c: http://my-app-default.localhost:3000 (wildcard)\n"
                             "  (static): http://my-app-default.localhost:3000/s\n");
    assert_non_null(strstr(said, "  sent 0 blobs, 0.0 kB; now it is made ready\n"));
    put("two.txt", "another");
    succeeds(cli_deploy, "deploy spin.toml --variable w=@value");
    prints("my-app, revision 2: ");
    assert_non_null(strstr(said, "  sending /two.txt (0.0 kB)\n"));
    assert_non_null(strstr(said, "  sent 1 blobs, 0.0 kB; now it is made ready\n"));
    succeeds(cli_deploy, "deploy --json");
    assert_int_equal(num("revision"), 3);
    assert_string_equal(said, "");
    succeeds(cli_status, "status My_App");
    char line[200];
    snprintf(line, sizeof line, "  component  c  %s\n", digest_of(S("a component")));
    prints("my-app  http://my-app-default.localhost:3000/\n");
    prints("  host       b.example\n");
    prints("  host       www.my.example\n");
    prints(line);
    prints("  revision   3  2027-01-15 08:00  live\n");
    prints("  revision   2  2027-01-15 08:00\n");
    fails(1, "--variable: x: No such file", cli_deploy, "deploy --variable w=@x");
    unlink("c.wasm");
    fails(1, "c.wasm", cli_deploy, "deploy --variable w=1");
    put("spin.toml", "nonsense");
    fails(1, "spin.toml:1:", cli_deploy, "deploy");
}

static void apps_are_changed(void **state)
{
    char line[200];
    put("spin.toml", STATIC_APP "[variables]\nv = { default = \"0\" }\n");
    for (int i = 0; i < 2; i++)
        succeeds(cli_deploy, "deploy");
    succeeds(cli_apps, "apps");
    snprintf(line, sizeof line, "%-24s revision %-4d 2027-01-15 08:00  %s\n", "still", 2,
             "http://still-default.localhost:3000/");
    prints(line);
    succeeds(cli_apps, "apps --json");
    prints("\"name\":\"still\"");
    succeeds(cli_rollback, "rollback still");
    assert_string_equal(out, "still is back at revision 1\n");
    succeeds(cli_rollback, "rollback still --to 2");
    assert_string_equal(out, "still is back at revision 2\n");
    fails(1, "--to '0': give the number of a revision", cli_rollback, "rollback still --to 0");
    fails(1, "--to 'x'", cli_rollback, "rollback still --to x");
    fails(1, "the app's name is missing: 'ebb rollback --help'", cli_rollback, "rollback");
    succeeds(cli_hosts, "hosts still c.example d.example");
    assert_string_equal(out, "still has these hosts now revision 2\n");
    succeeds(cli_status, "status still --json");
    assert_int_equal(json_array_size(json_object_get(printed, "hosts")), 2);
    succeeds(cli_hosts, "hosts still");
    succeeds(cli_status, "status still --json");
    assert_int_equal(json_array_size(json_object_get(printed, "hosts")), 0);
    succeeds(cli_variables, "variables still v=1 w=a=b");
    assert_string_equal(out, "v\nw\n");
    succeeds(cli_variables, "variables still");
    assert_string_equal(out, "v\nw\n");
    succeeds(cli_variables, "variables still --remove v --json");
    assert_string_equal(out, "{\"variables\":[\"w\"]}\n");
    fails(1, "'v': write NAME=VALUE", cli_variables, "variables still v");
    fails(1, "'=v': write NAME=VALUE", cli_variables, "variables still =v");
    succeeds(cli_delete, "delete still");
    assert_string_equal(out, "still is deleted, with its state and logs\n");
    fails(1, "tenant 'default' has no app 'still'", cli_delete, "delete still");
    fails(1, "tenant 'default' has no app 'still'", cli_status, "status still");
}

static void many_apps_of_a_file(void **state)
{
    char *text_of = malloc(400 * 600), *to = text_of;
    for (int i = 0; i < 501; i++)
        to += sprintf(to,
                      "{\"name\": \"bulk%d\", \"app\": {\"spin_lock_version\": 0, \"metadata\": "
                      "{\"name\": \"x\", \"triggers\": {}}, \"triggers\": [{\"id\": \"t\", "
                      "\"trigger_type\": \"http\", \"trigger_config\": {\"route\": \"/\", "
                      "\"static_response\": {\"body\": \"hi\"}}}], \"components\": []}}\n",
                      i);
    put("bulk", text_of);
    free(text_of);
    succeeds(cli_tenants, "tenants add many");
    succeeds(cli_quota, "quota apps=0 --tenant many");
    succeeds(cli_deploy, "deploy --bulk bulk --tenant many");
    assert_string_equal(out, "501 apps deployed\n");
    succeeds(cli_apps, "apps --tenant many");
    assert_int_equal(count_of("\n"), 501);
    put("bulk", "{\"name\": \"x\"}\nnonsense\n");
    fails(1, "--bulk: line 2: ", cli_deploy, "deploy --bulk bulk --tenant many");
    fails(1, "--bulk none", cli_deploy, "deploy --bulk none");
}

static void stores_of_an_app(void **state)
{
    succeeds(cli_kv, "kv my-app");
    assert_string_equal(out, "");
    succeeds(cli_kv, "kv my-app set a/b first");
    succeeds(cli_kv, "kv my-app set other", "");
    succeeds(cli_kv, "kv my-app list");
    assert_true(strcmp(out, "a/b\nother\n") == 0 || strcmp(out, "other\na/b\n") == 0);
    succeeds(cli_kv, "kv my-app get a/b");
    assert_string_equal(out, "first");
    succeeds(cli_kv, "kv my-app list --json");
    assert_int_equal(json_array_size(json_object_get(printed, "keys")), 2);
    succeeds(cli_kv, "kv my-app delete a/b");
    fails(1, "the store has no such key", cli_kv, "kv my-app get a/b");
    fails(1, "'drop': write list, get, set or delete", cli_kv, "kv my-app drop k");
    fails(1, "the key is missing", cli_kv, "kv my-app get");
    fails(1, "the value is missing", cli_kv, "kv my-app set k");
    fails(1, "no component of the app has a store", cli_kv, "kv my-app --store none");
    succeeds(cli_sqlite, "sqlite my-app", "CREATE TABLE t(a, b, c, d, e)");
    assert_string_equal(out, "");
    succeeds(cli_sqlite, "sqlite my-app", "INSERT INTO t VALUES (1, 2.5, 'x', x'0aff', NULL)");
    succeeds(cli_sqlite, "sqlite my-app", "SELECT * FROM t");
    assert_string_equal(out, "a|b|c|d|e\n1|2.5|x|x'0aff'|NULL\n");
    succeeds(cli_sqlite, "sqlite my-app --json", "SELECT a FROM t");
    assert_string_equal(out, "{\"columns\":[\"a\"],\"rows\":[[1]],\"changes\":0}\n");
    fails(1, "no such table", cli_sqlite, "sqlite my-app", "SELECT * FROM u");
    fails(1, "the statement is missing", cli_sqlite, "sqlite my-app");
    fails(1, "the statement is no UTF-8", cli_sqlite, "sqlite my-app", "\xff");
    fails(1, "no component of the app has a store", cli_sqlite, "sqlite my-app --database none",
          "SELECT 1");
}

static void lines_that_an_app_has_printed(void **state)
{
    char path[200];
    succeeds(cli_status, "status my-app --json");
    snprintf(path, sizeof path, "%s/logs/%.0f", node_data, num("id"));
    assert_int_equal(mkdir(path, 0700), 0);
    snprintf(path + strlen(path), sizeof path - strlen(path), "/c_stdout.txt");
    put(path, "one\ntwo\nthree\n");
    succeeds(cli_logs, "logs my-app");
    assert_string_equal(out, "c: one\nc: two\nc: three\n");
    succeeds(cli_logs, "logs my-app -n 1");
    assert_string_equal(out, "c: three\n");
    succeeds(cli_logs, "logs my-app --lines 1 --json");
    assert_string_equal(json_string_value(json_object_get(printed, "line")), "three");
    fails(1, "lines: a number up to 10000", cli_logs, "logs my-app -n x");
    fails(1, "has no app 'none'", cli_logs, "logs none");
    succeeds(cli_top, "top --once");
    assert_memory_equal(out, "unit: ", 6);
    prints(" apps deployed\n\nprocess             cpu s   resident\n");
    prints("\napp (last minute)                             calls      cpu s       peak\n");
    succeeds(cli_top, "top --json");
    assert_string_equal(json_string_value(json_object_get(printed, "node")), "unit");
}

/* --- deferred calls, of a node that has its answers ready ------------------------------------- */

typedef struct {
    const char *asked, *answer; /* the request line's target, and the body */
} ready_answer;

static void answer_all(int fd, const ready_answer *rows)
{
    for (;;) {
        char text[8192];
        size_t n = 0;
        int c = accept(fd, NULL, NULL);
        text[0] = 0;
        for (ssize_t got; n < sizeof text - 1 && !strstr(text, "\r\n\r\n"); n += (size_t)got) {
            if ((got = read(c, text + n, sizeof text - 1 - n)) <= 0)
                break;
            text[n + (size_t)got] = 0;
        }
        strtok(text, " ");
        const char *target = strtok(NULL, " ");
        const ready_answer *r = rows;
        while (r->asked && (!target || strcmp(r->asked, target) != 0))
            r++;
        const char *says = r->asked ? r->answer : "{\"error\":\"nobody asks that\"}";
        dprintf(c,
                "HTTP/1.1 %s\r\nContent-Type: application/json\r\nContent-Length: %zu\r\n"
                "Connection: close\r\n\r\n%s",
                r->asked ? "200 OK" : "404 Not Found", strlen(says), says);
        close(c);
    }
}

/* A child that answers at ./ready.sock. */
static pid_t answers(const ready_answer *rows)
{
    struct sockaddr_un at = {.sun_family = AF_UNIX};
    snprintf(at.sun_path, sizeof at.sun_path, "%s/ready.sock", dir);
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    assert_int_equal(bind(fd, (struct sockaddr *)&at, sizeof at), 0);
    assert_int_equal(listen(fd, 8), 0);
    setenv("EBB_NODE", at.sun_path, 1);
    pid_t pid = fork();
    if (pid == 0) {
        prctl(PR_SET_PDEATHSIG, SIGKILL);
        answer_all(fd, rows);
    }
    close(fd);
    return pid;
}

static void answers_end(pid_t pid)
{
    kill(pid, SIGKILL);
    waitpid(pid, NULL, 0);
}

/* As run, with a terminal for stdout. Little is printed: nobody reads it meanwhile. */
static void run_at_terminal(command *f, const char *word, const char *second, const char *third)
{
    char words[3][100], *argv[] = {words[0], words[1], words[2], NULL};
    int terminal = posix_openpt(O_RDWR | O_NOCTTY | O_CLOEXEC), kept = dup(STDOUT_FILENO);
    size_t n = 0;
    snprintf(words[0], sizeof words[0], "%s", word);
    snprintf(words[1], sizeof words[1], "%s", second);
    snprintf(words[2], sizeof words[2], "%s", third);
    assert_true(terminal >= 0 && grantpt(terminal) == 0 && unlockpt(terminal) == 0);
    int line = open(ptsname(terminal), O_RDWR | O_NOCTTY | O_CLOEXEC);
    assert_true(line >= 0);
    fflush(NULL);
    dup2(line, STDOUT_FILENO);
    close(line);
    int ended = f(3, argv);
    fflush(stdout);
    dup2(kept, STDOUT_FILENO);
    close(kept);
    for (ssize_t got; (got = read(terminal, out + n, sizeof out - 1 - n)) > 0;)
        n += (size_t)got;
    out[n] = 0;
    close(terminal);
    assert_int_equal(ended, 0);
}

#define CALL                                                                                       \
    "{\"id\":\"a1\",\"state\":\"done\",\"app\":\"x\",\"method\":\"GET\",\"path\":\"/\\u009bp\"}"

/* A terminal obeys nothing of what a guest or its client has written; a file gets it as it is. */
static void what_guests_write(void **state)
{
    static const ready_answer rows[] = {
        {"/v1/tenants/default/calls/a1",
         "{\"id\":\"a1\",\"path\":\"/"
         "\\u001bc\",\"note\":\"n\\u001b[2J\",\"result\":{\"status\":200,"
         "\"body\":\"one\\ttwo\\nthr\\u001b]0;x\\u0007ee\\n\"},"
         "\"log\":[{\"stream\":\"stdout\",\"text\":\"\\u009b31mred\"}]}"},
        {"/v1/tenants/default/calls?limit=1000",
         "{\"calls\":[" CALL "],\"counts\":{\"done\":1},\"next\":null}"},
        {0}};
    pid_t pid = answers(rows);
    succeeds(cli_calls, "calls show a1");
    prints("path       /\x1b"
           "c\n");
    prints("note       n\x1b[2J\n");
    prints("result     status 200\none\ttwo\nthr\x1b]0;x\aee\nstdout: \xc2\x9b"
           "31mred\n");
    succeeds(cli_calls, "calls list");
    prints(" GET /\xc2\x9bp ");
    run_at_terminal(cli_calls, "calls", "show", "a1");
    prints("path       /?c\r\n");
    prints("note       n?[2J\r\n");
    prints("thr?]0;x?ee\r\nstdout: ??31mred\r\n");
    assert_null(strpbrk(out, "\x1b\a"));
    run_at_terminal(cli_calls, "calls", "list", "--lines=1000");
    prints(" GET /??p ");
    answers_end(pid);
}

static void calls_by_pages(void **state)
{
    static const ready_answer rows[] = {
        {"/v1/tenants/default/calls?limit=1000&state=done&app=x",
         "{\"calls\":[" CALL "," CALL "],\"counts\":{\"done\":9},\"next\":\"b2\"}"},
        {"/v1/tenants/default/calls?limit=1000&state=done&app=x&after=b2",
         "{\"calls\":[],\"counts\":{\"done\":9},\"next\":\"c3\"}"},
        {"/v1/tenants/default/calls?limit=998&state=done&app=x&after=b2",
         "{\"calls\":[],\"counts\":{\"done\":9},\"next\":\"c3\"}"},
        {"/v1/tenants/default/calls?limit=998&state=done&app=x&after=c3",
         "{\"calls\":[" CALL "],\"counts\":{\"done\":9},\"next\":null}"},
        {"/v1/tenants/default/calls?limit=1000&state=done&app=x&after=c3",
         "{\"calls\":[" CALL "],\"counts\":{\"done\":9},\"next\":null}"},
        {"/v1/tenants/default/calls?limit=2",
         "{\"calls\":[" CALL "," CALL "],\"counts\":{\"done\":9},\"next\":\"b2\"}"},
        {0}};
    pid_t pid = answers(rows);
    succeeds(cli_calls, "calls list --state done --app x");
    assert_int_equal(count_of("a1 "), 3);
    prints("\n9 done\n");
    succeeds(cli_calls, "calls list --state done --app x --lines 2000");
    assert_int_equal(count_of("a1 "), 3);
    succeeds(cli_calls, "calls -n 2");
    assert_int_equal(count_of("a1 "), 2);
    prints("9 done; there are more (--lines)\n");
    succeeds(cli_calls, "calls --state done --app x --json");
    assert_string_equal(json_string_value(json_object_get(printed, "next")), "b2");
    succeeds(cli_calls, "calls --state done --app x --json --lines 2000");
    assert_int_equal(count_of("\n"), 3); /* one answer a page */
    fails(1, "--lines: a number from 1 on, not '0'", cli_calls, "calls --lines 0");
    fails(1, "nobody asks that", cli_calls, "calls --lines 7");
    answers_end(pid);
}

#define node_test(f) cmocka_unit_test_setup_teardown(f, begin, leave)

int main(int argc, char **argv)
{
    if (argc > 1) /* as a process of ebb's, which nothing here should start */
        return 2;
    const struct CMUnitTest tests[] = {
        node_test(tenants_come_and_go), node_test(who_is_logged_in),
        node_test(tokens_of_a_tenant),  node_test(limits_and_networks),
        node_test(what_was_done),       node_test(deploys_send_what_is_not_there),
        node_test(apps_are_changed),    node_test(many_apps_of_a_file),
        node_test(stores_of_an_app),    node_test(lines_that_an_app_has_printed),
        node_test(what_guests_write),   node_test(calls_by_pages),
    };
    return cmocka_run_group_tests(tests, begin_node, end_node);
}
