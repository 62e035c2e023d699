/* Parsers for what the intensity sources answer. Pure: bytes in, points out; the fetching, its
 * retries, time-outs and cache are the platform's. A parser never trusts: nulls, negatives,
 * strings for numbers, missing seconds, doubled and unordered points, and measurements from the
 * future (a changed clock, theirs or ours) are counted in `rejected` and left out; only an answer
 * of a wholly different shape is an error. All strings are copied into the arena.
 *
 *   format                  shape (documented by)
 *   SOURCE_CSV              `time,g_per_kwh`, with or without header; Electricity Maps' yearly
 *                           files (its LCA column is taken, else direct); "Time,Carbon Intensity"
 *   SOURCE_UK               {"data":[{from,to,intensity:{forecast,actual,index}}]}, and the
 *                           regional shapes with the list one level deeper; g/kWh, direct
 *   SOURCE_ELECTRICITY_MAPS {zone,carbonIntensity,datetime,...}, {zone,history:[...]},
 *                           {zone,forecast:[...]}, {zone,data:[...]}
 *   SOURCE_WATTTIME         {data:[{point_time,value}],meta:{region,signal_type,units}}; pounds
 *                           per MWh; co2_moer is marginal, co2_aoer average
 *   SOURCE_CARBON_AWARE     [{location,time,rating}], {"Emissions":[...]}, forecasts with
 *                           forecastData:[{location,timestamp,duration,value}] (minutes),
 *                           {location,startTime,endTime,carbonIntensity}
 */
#pragma once

#include "carbon/intensity.h"

#define SOURCE_BYTES_MAX      (64u << 20) /* a century of hourly CSV is 30 MB */
#define SOURCE_JSON_BYTES_MAX (16u << 20) /* a month of 5-minute points is 1 MB; parsed, 20 x */
/* A measurement may be this far ahead of our clock before it is nonsense. */
#define SOURCE_SKEW_S_MAX 3600

typedef enum {
    SOURCE_CSV,
    SOURCE_UK,
    SOURCE_ELECTRICITY_MAPS,
    SOURCE_WATTTIME,
    SOURCE_CARBON_AWARE,
} source_format;

/* "csv", "uk", "electricity-maps", "watttime", "carbon-aware-sdk". */
const char *source_format_name(source_format f);
bool source_format_parse(str name, source_format *ret, err *e);
/* By the first bytes: CSV or one of the JSON shapes. */
bool source_guess(bytes text, source_format *ret, err *e);

/* now_s: points after it are forecasts where the source does not say, and measurements more than
 * SOURCE_SKEW_S_MAX after it are rejected. INT64_MAX: no such check (recorded history). An answer
 * without a single usable point is ERR_NOT_FOUND. */
bool source_parse(source_format f, bytes text, int64_t now_s, arena *a, intensity_reading *ret,
                  err *e);

/* The yearly mean of a zone out of one of the tables of co2.js (npm `@tgwf/co2`): the module text
 * or plain JSON; values may be numbers, strings of digits, or {carbonIntensity:{value}}. Zone
 * names are the table's (ISO 3166 alpha-3 with aggregates as WORLD, or Electricity Maps zones).
 * Zero means "no data" there and is ERR_NOT_FOUND. */
bool source_yearly(bytes table, str zone, double *ret_g_per_kwh, err *e);
