/* JSON from files that came from anywhere: json-glib behind limits of our own. */
#pragma once

#include "ldm.h"

#include <json-glib/json-glib.h>

#define LDM_JSON_DEPTH   32                /* objects and arrays inside one another */
#define LDM_JSON_VALUES  (4u << 20)        /* members and elements in one text */
#define LDM_JSON_ALIKE   64                /* names at one place of a hash table */
#define LDM_CONFIG_BYTES ((size_t)1 << 20) /* longest configuration file */

/* The object that `text` (JSON and nothing else, UTF-8, no name twice in one object) stands for;
 * `path` is for messages. Free with json_object_unref. Errors: FORMAT, UNSUPPORTED (a limit). */
JsonObject *ldm_json_parse(const char *text, size_t bytes, const char *path, GError **error);

/* The same of a configuration file, in which Python's NaN, Infinity and -Infinity are null. */
JsonObject *ldm_json_load(const char *path, size_t max_bytes, GError **error);

/* Whole or not at all, readably laid out. Errors: FILE. */
bool ldm_json_write(const char *path, JsonObject *object, GError **error);
