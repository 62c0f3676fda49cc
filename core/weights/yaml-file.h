/* The reference's .yaml configurations: values by path, behind limits. */
#pragma once

#include "ldm.h"

#define LDM_YAML_BYTES ((size_t)64 << 10) /* longest file */
#define LDM_YAML_DEPTH 32                 /* brackets and braces inside one another */

typedef struct LdmYaml LdmYaml;

/* Errors: FILE, FORMAT, UNSUPPORTED (too long). */
LdmYaml *ldm_yaml_load(const char *path, GError **error);
void ldm_yaml_free(LdmYaml *yaml);
G_DEFINE_AUTOPTR_CLEANUP_FUNC(LdmYaml, ldm_yaml_free)

/* Whether "model.params.timesteps" or the like is there and is not null. */
bool ldm_yaml_has(const LdmYaml *yaml, const char *key);

/* The text of a single value; NULL where it is absent, null or no single value. */
const char *ldm_yaml_text(const LdmYaml *yaml, const char *key);

/* Leave *value alone where the key is absent or null. False and FORMAT where it is something else
 * than one finite number, or is given twice. */
bool ldm_yaml_number(const LdmYaml *yaml, const char *key, double *value, GError **error);
bool ldm_yaml_int(const LdmYaml *yaml, const char *key, int *value, GError **error);
