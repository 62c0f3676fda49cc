/* Teaching: a LoRA from the layers that a client sends, for its other jobs to use. */
#pragma once

#include "ldm.h"

#include <gio/gunixfdlist.h>

typedef struct PentimentoTeaching PentimentoTeaching;

/* The option "action" (protocol.h). */
typedef enum {
    PENTIMENTO_TEACH,
    PENTIMENTO_TEACH_ESTIMATE,
    PENTIMENTO_TEACH_KEEP,
    PENTIMENTO_TEACH_FORGET,
} PentimentoTeachAction;

/* What is told while it works; from the thread that works. */
typedef struct {
    GCancellable *cancellable;
    void (*progress)(const LdmProgress *progress, const char *stage, void *data);
    void (*losses)(int first, GVariant *losses, void *data); /* ad; consumed where floating */
    void (*sample)(const char *path, void *data);
    void *data;
} PentimentoTeachingWatch;

PentimentoTeaching *pentimento_teaching_new(void);
void pentimento_teaching_free(PentimentoTeaching *teaching);
G_DEFINE_AUTOPTR_CLEANUP_FUNC(PentimentoTeaching, pentimento_teaching_free)

/* One option of the task "teach" (protocol.h). Errors: INVALID. */
bool pentimento_teaching_set(PentimentoTeaching *teaching, const char *name, GVariant *value,
                             GError **error);

/* Maps the pictures and checks what was set as a whole. Errors: INVALID. */
bool pentimento_teaching_take(PentimentoTeaching *teaching, GVariant *handles, GUnixFDList *list,
                              GError **error);

PentimentoTeachAction pentimento_teaching_action(const PentimentoTeaching *teaching);
const char *pentimento_teaching_name(const PentimentoTeaching *teaching); /* borrowed */

/* Does it, and gives the reply, a{sv}; NULL on error. Being cancelled saves a checkpoint from
 * which the same teaching goes on. Forgetting takes no time and no model. */
GVariant *pentimento_teaching_run(PentimentoTeaching *teaching, LdmModel *model,
                                  const PentimentoTeachingWatch *watch, GError **error);
