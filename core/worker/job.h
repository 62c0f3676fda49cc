/* One job: what a call asks for, checked, and what came of it. */
#pragma once

#include "worker/model-cache.h"
#include "worker/teach.h"

#include <gio/gunixfdlist.h>

typedef struct {
    /* what is asked for: filled by pentimento_job_new_*, on the main thread */
    guint32 id;
    GDBusConnection *connection;       /* who asks; progress goes there */
    GDBusMethodInvocation *invocation; /* NULL once answered */
    char *model;                       /* name or path, "" = default */
    int threads;                       /* 0 = as many as processors */
    LdmRequest *request;               /* one of these two; neither: only inspect the model */
    PentimentoTeaching *teaching;
    LdmTensor *picture, *mask; /* mapped; the request borrows them */
    int gimp;                  /* pidfd or -1 */
    int gimp_process;          /* its process; 0 where it has ended or is not told */
    bool previews;             /* are sent */
    GCancellable *cancellable;
    GCancellable *finish; /* cancelled: the denoising step at work is the last */
    /* what came of it: filled by pentimento_job_run, on the compute thread */
    GVariant *reply;   /* a{sv}, NULL on error */
    GVariant *handles; /* a{sh} */
    GUnixFDList *list;
    GError *error;
} PentimentoJob;

/* A job from the arguments of Run, its options and handles checked; NULL on error. Consumes
 * nothing: the invocation is kept only by a job that is returned. */
PentimentoJob *pentimento_job_new_run(GDBusMethodInvocation *invocation, GError **error);
PentimentoJob *pentimento_job_new_inspect(GDBusMethodInvocation *invocation);
void pentimento_job_free(PentimentoJob *job);
G_DEFINE_AUTOPTR_CLEANUP_FUNC(PentimentoJob, pentimento_job_free)

/* Whether it goes before those that wait: it takes a second, and ends what has been at work. */
bool pentimento_job_hurries(const PentimentoJob *job);

/* False where it takes no time, and may be run on any thread whatever `other` does. */
bool pentimento_job_needs_turn(const PentimentoJob *job, const PentimentoJob *other);

/* Does the work; on the compute thread, seconds to minutes, unless it needs no turn. Fills reply or
 * error. */
void pentimento_job_run(PentimentoJob *job, PentimentoModelCache *models);

/* Answers the call; nothing where it was answered already. */
void pentimento_job_answer(PentimentoJob *job);

/* Answers Cancelled at once and lets the compute thread drop the work when it next looks. */
void pentimento_job_cancel(PentimentoJob *job);

/* Tells the client that `before` jobs come first. */
void pentimento_job_waiting(const PentimentoJob *job, guint before);

/* a{sv} of Inspect. */
GVariant *pentimento_model_describe(const LdmModel *model);
