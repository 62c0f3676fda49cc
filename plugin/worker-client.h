#pragma once

#include "task.h"

#include <gio/gio.h>

/* One of several pictures: a sealed memfd (pixels-in.h). */
typedef struct {
    int fd, width, height;
} PentimentoPicture;

/* One job for the worker. The descriptors stay the caller's. */
typedef struct {
    const char *task;  /* "generate", "img2img", "inpaint", "teach" */
    GVariant *options; /* a{sv} by the command line's names; floating or not, not consumed */
    int picture;       /* sealed memfds (pixels-in.h); -1 = none */
    int mask;
    int width, height;                 /* of the picture and mask */
    const PentimentoPicture *pictures; /* teach; [n_pictures] */
    guint n_pictures;
} PentimentoJob;

/* What came back: the window [height, width] that was worked on, in the picture. The arrays are
 * mapped and read-only. */
typedef struct {
    int x, y, width, height;
    const float *pixels; /* [height, width, 4] R'G'B' on the sRGB curve and straight alpha */
    const float *alpha;  /* [height, width] blend factor 0..1; NULL for generate */
    GVariant *seconds;   /* a{sd}: time each stage took; NULL if not told */
    char **notes;        /* sentences for the user; NULL-terminated */
    GVariant *values;    /* a{sv}: all that was told; teach has nothing else */
} PentimentoReply;

void pentimento_reply_clear(PentimentoReply *reply);
void pentimento_reply_drop_arrays(PentimentoReply *reply); /* pixels and alpha, which are large */
G_DEFINE_AUTO_CLEANUP_CLEAR_FUNC(PentimentoReply, pentimento_reply_clear)

/* Roughly what the job is heading for after `step` of `steps`. */
typedef struct {
    int step, steps, width, height;
    const guint8 *pixels; /* [height, width, 3] R'G'B' (sRGB curve); the client's */
} PentimentoPreview;

/* What is to be told while the worker works, and how to stop it; each may be NULL. All are called
 * on the thread that waits. */
typedef struct {
    /* seconds_left < 0: not known */
    void (*progress)(const char *stage, int step, int steps, double fraction, double seconds_left,
                     gpointer data);
    void (*preview)(const PentimentoPreview *preview, gpointer data); /* NULL: none are made */
    /* teach: of the steps `first`, `first` + 1 ...; NaN where one was not finite */
    void (*losses)(int first, const double *losses, size_t count, gpointer data);
    /* teach: a PNG picture of what the model makes now */
    void (*sample)(const char *path, gpointer data);
    GCancellable *cancellable; /* ends the job with the error CANCEL */
    GCancellable *finish; /* lets it end after the denoising step at work, as if it were done */
    gpointer data;
} PentimentoWatch;

/* Calls one of the worker's other methods (protocol.h), starting the worker where none runs, and
 * blocks until it answers: for a thread that may wait. `type` is the answer's. Errors: as below. */
GVariant *pentimento_worker_ask(const char *method, GVariant *arguments, const char *type,
                                GCancellable *cancellable, GError **error);

/* Has the worker do a job, starting the worker where none runs, and waits for it in the main loop
 * of the calling thread. Errors: those of the worker, in its words; a worker that cannot be found,
 * started or spoken to, or that ended in between; CANCEL. */
bool pentimento_worker_run(const PentimentoJob *job, const PentimentoWatch *watch,
                           PentimentoReply *reply, GError **error);
