/* What the files of the keeper share. Private to keeper_*.c. */
#pragma once

#include "carbon/outlook.h"
#include "http/server.h"
#include "loop/channel.h"
#include "platform/counters.h"
#include "platform/keeper.h"
#include "platform/keeper_book.h"
#include "platform/keeper_directory.h"
#include "platform/keeper_grid.h"
#include "platform/node_power.h"
#include "store/catalogue.h"

#include <sys/stat.h>

typedef struct keeper keeper;

/* A worker's meter at the other end of a channel. */
typedef struct worker_link {
    struct worker_link *next;
    keeper *k;
    int pid;
    channel *channel;
    bool asked; /* we wait for its report */
} worker_link;

/* The file of carbon intensity as it was when it was parsed; keeper_admin.c's. */
typedef struct {
    arena a;
    bool known;
    struct stat was;
    intensity_reading reading;
} grid_file;

/* A question that waits until all workers have told what they hold. */
typedef struct question question;

struct keeper_calls;
struct keeper_crons;

struct keeper {
    arena a;
    keeper_config config;
    power_model power; /* of the settings */
    loop *l;
    channel *control; /* NULL: the supervisor has gone */
    worker_link *workers;
    usage_file *file;
    book book;
    node_power node_power;
    keeper_grid *grid; /* NULL: no provider on the network */
    bool grid_asked;   /* an answer is under way */
    grid_file grid_file;
    http_server *admin; /* NULL: nobody can ask */
    question *questions;
    loop_timer patience;
    question *watchers; /* that follow, between two windows */
    loop_timer window;  /* while there are any */
    size_t followers;   /* questions that follow, whatever they wait for: at most WATCHERS_MAX */
    int64_t compacted_s;
    /* Of `ebb serve` (keeper_serve.c); NULL: workers know their app from the start. */
    catalogue *catalogue;
    keeper_directory *directory;
    counters_area *counters[COUNTERS_AREAS_MAX]; /* of workers; the first counters_count */
    unsigned counters_count;
    struct builder *builder; /* NULL: nothing is deployed here */
    http_server *admin_tcp;
    struct store_client *store; /* NULL: it can't be asked */
    struct keeper_calls *calls; /* NULL: nothing is deferred here */
    struct keeper_crons *crons; /* with calls */
    int traces;                 /* the socket that workers send spans to; -1: none is wanted */
    int64_t collected_s;
    const struct builder_wait *unmade; /* while its questions are answered: what can't be made, */
    const err *unmade_why;             /* and why */
    unsigned changing; /* changes under way: from the first job to the last worker's answer */
    bool leaving;      /* another build's keeper takes our place */
    unsigned doors;    /* leaving: with connections that have not ended */
    loop_timer leave;  /* until which they may */
};

/* keeper_question.c: answers a request on the admin socket. */
void keeper_on_request(void *user, http_exchange *x);
/* All workers have answered, or have had their time. */
void keeper_answer_all(keeper *k);

/* An app as the records call it ("7/": every component of the app with that number), and as its
 * tenant does. */
typedef struct {
    str recorded, shown;
} keeper_app;
/* Answers the request with what the tenant whose apps these are may see, as JSON. path, which
 * stays:
 * "/v1/carbon/tenant" (carbon/tenant.h; from and to in the query, today by default), "/v1/now",
 * "/v1/day" or "/v1/outlook" (keeper_view.h). Apps without records are passed over, those of others
 * are not named. The list is copied. */
void keeper_ask_tenant(keeper *k, http_exchange *x, str path, const keeper_app *apps, size_t n);

/* keeper_serve.c: no change begins any more; the supervisor is told when none is under way. */
void keeper_leave(keeper *k);
/* A change has ended. */
void keeper_changed(keeper *k);

/* keeper_admin.c: what is known of the grid in [from_s, to_s), by steps; n 0: nothing. */
bool keeper_intensity(keeper *k, arena *a, int64_t from_s, int64_t to_s, int32_t step_s,
                      bool forecasts, intensity_series *ret, err *e);
/* keeper_admin.c: the forecast from this hour on, of as many hours as asked, from what is known now
 * (carbon/outlook.h). */
bool outlook_of(keeper *k, arena *a, size_t hours, outlook *ret, err *e);

/* keeper_traces.c: before the sandbox; then for each worker. */
bool keeper_traces_begin(keeper *k, err *e);
void keeper_traces_give(const keeper *k, worker_link *w);

/* keeper_role.c: asks every worker, and the grid; true if there is nobody to wait for. */
bool keeper_ask_all(keeper *k);
int64_t keeper_now_s(void);
/* Ends the loop if neither the supervisor nor a worker is there any more. */
void keeper_stop_if_unused(void *keeper);
