/* Inside host/: the exchange that a guest answers, and small parts shared by files of wasi:http. */
#pragma once

#include "host/wasi_http.h"

object *incoming_request_new(guest *g, const http_request *head, body_source *body);
object *response_outparam_new(guest *g);

/* The guest's answer; takes over `p`. */
void http_side_respond(guest *g, outgoing_response *p);
/* It answered with an error-code. */
void http_side_fail(guest *g, uint32_t code, str text);

bool put_method(host_call *c, place p, str method);
/* option<string>: none for p == NULL and for what is not UTF-8. */
bool put_option_string(host_call *c, place p, str s);
bool put_option_scheme(host_call *c, place p, str s);
