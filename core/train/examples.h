/* Which examples of a data set a training can use, and why not the others. */
#pragma once

#include "train/loop.h"

typedef struct {
    size_t *examples; /* [count]: numbers in the data set */
    size_t count;
    GPtrArray *skipped; /* of char *: "FILE: why" */

    /* Of the caller, or NULL: a file in which those that can be used are remembered, and all that
     * this depends on, the data set's digest included. These are not looked at again. */
    const char *path, *key;
} LdmExamples;

/* Whether what went wrong with an example is no fault of it, and ends all: CANCELLED, MEMORY. */
bool ldm_examples_end(const GError *reason);

/* Looks at one; false and the reason where it cannot be used. */
typedef bool LdmExampleLook(size_t example, void *data, GError **error);

/* Looks at every example once, so that a broken picture does not end a run at night. Fills
 * *examples, of which all but path and key is zeros. Errors: CANCELLED, MEMORY, MISSING (none can
 * be used), FILE. */
bool ldm_examples_find(LdmExamples *examples, const LdmDataset *dataset, const LdmTrainWatch *watch,
                       LdmExampleLook *look, void *data, GError **error);
void ldm_examples_clear(LdmExamples *examples);
