/* The folder of the user's own models: adding and removing them. GIO only, so that it is tested
 * without GIMP (tests/unit/test-model-folder.c). */
#pragma once

#include "model-files.h"

/* $XDG_DATA_HOME/pentimento/models, which need not be there. Free with g_free. */
char *pentimento_model_folder(void);

/* Whether a model lies there, itself or as a link, so that the user may remove it. */
bool pentimento_model_is_own(const char *path);

/* The path of the one of that name there, whatever it is; NULL: none. Free with g_free. */
char *pentimento_model_find_own(const char *name);

/* Copies a model to the user's folder, or makes a link to it there. It appears whole or not at all,
 * and never takes another's place. Returns its name, for the argument "model"; free with g_free.
 * Errors: G_IO_ERROR, in words: a name that cannot be, EXISTS, NO_SPACE, CANCELLED ... */
char *pentimento_model_add(const char *from, bool link, const PentimentoFileWatch *watch,
                           GError **error);

/* Moves one of the user's own models to the trash, or where there is none (NOT_SUPPORTED), with
 * `for_good`, deletes it. Of a link the link goes, and what it leads to stays. */
bool pentimento_model_remove(const char *path, bool for_good, GError **error);
