/* TOML values as JSON. */
#pragma once

#include "app/toml.h"
#include "base/buf.h"

/* Plain JSON: strings, numbers, booleans, arrays and objects; dates and times become strings in
 * their RFC 3339 form, infinities and NaN become null. */
bool toml_to_json(const toml_value *v, buf *out, err *e);
/* The tagged JSON that the toml-test suite compares: {"type": "integer", "value": "42"}. */
bool toml_to_tagged_json(const toml_value *v, buf *out, err *e);
/* A JSON string literal, quotes included. */
bool json_put_string(buf *out, str s);
