/* The carbon report of a span of time, and its forms: JSON, Prometheus text, an Impact Framework
 * manifest, HTML for an auditor. Pure: a filled `carbon_report` in, text into a buf. Every form
 * carries what SCI 1.1 wants disclosed: the score, the boundary, the method. */
#pragma once

#include "base/buf.h"
#include "carbon/ledger.h"
#include "carbon/saving.h"
#include "carbon/sci.h"

typedef struct {
    str app;
    ledger_row sum; /* over the span */
    saving saved;
} report_row;

/* A GPU or database elsewhere, as its operator declares it. Reported beside, never subtracted. */
typedef struct {
    str app, name, zone;
    double units; /* tokens, calls */
    str unit;
    double j_per_unit, intensity_g_per_kwh;
    double heat_reused_share; /* 0-1; a statement, without effect on any sum */
} report_remote;

typedef struct {
    int64_t from_s, to_s;
    str node, zone, source; /* "uk", "csv", ... */
    intensity_kind kind;
    intensity_basis basis;
    size_t hours_by_quality[INTENSITY_ASSUMED + 1];
    power_model power;
    double server_kg, life_s, capacity_cpus;
    const report_row *rows; /* apps only */
    size_t rows_count;
    ledger_row platform, other;
    ledger_day total; /* summed over the days */
    saving saved;
    const report_remote *remotes;
    size_t remotes_count;
} carbon_report;

/* E, I, M, R of one row; `units` are its calls. */
sci report_sci(const ledger_row *r);
/* One sentence each; the same in every form. */
const char *report_boundary(void);
const char *report_method(void);

bool report_json(const carbon_report *r, buf *out);
/* Gauges and counters for an operator; labels app, zone. */
bool report_prometheus(const carbon_report *r, buf *out);
/* For `if-run`: builtin Sum and Sci over what was observed. */
bool report_manifest(const carbon_report *r, buf *out);
bool report_html(const carbon_report *r, buf *out);
/* "json", "prometheus", "manifest" or "html". */
bool report_as(str format, const carbon_report *r, buf *out, err *e);

/* s as the inside of a JSON string, a Prometheus label, or HTML text. */
bool put_json_text(buf *b, str s);
bool put_label_text(buf *b, str s);
bool put_html_text(buf *b, str s);
