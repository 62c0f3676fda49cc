/* What a client (the GIMP plug-in) and `pentimento-worker` say to one another. This file is the
 * whole contract: it needs GLib/GIO, libc and a GETTEXT_PACKAGE, nothing of libldm, and both sides
 * include it.
 *
 * A client's way:
 *   1. pentimento_worker_socket() gives the socket's path. Connect:
 *        g_dbus_connection_new_for_address_sync("unix:path=" + g_dbus_address_escape_value(path),
 *            G_DBUS_CONNECTION_FLAGS_AUTHENTICATION_CLIENT, NULL, cancellable, &error)
 *      It is a peer-to-peer D-Bus connection (no bus): bus name NULL in every call.
 *   2. No connection: run `pentimento-worker` ($PENTIMENTO_WORKER, else the one installed in
 *      LIBEXECDIR/pentimento) without arguments and wait for it (g_spawn_sync; its standard error
 *      must be read). It returns 0 as soon as a worker listens, its own or one already there; else
 *      1 and one sentence on standard error. What it leaves behind is in a session of its own.
 *      Connect again. A worker may just have ended: after a refused or closed connection do this
 *      once more, then give up.
 *   3. Hello(PENTIMENTO_WORKER_VERSION). On PENTIMENTO_ERROR_VERSION, or where its engine is of
 *      another version than the client, call Quit(), which every version understands, close the
 *      connection and go to 2.
 *   4. Subscribe to Progress (and what else is wanted), call Run, read the result. One connection
 *      may make several runs.
 * To cancel: Cancel(job), or close the connection, or be killed. The job is dropped within a
 * second; the worker stays, with its model, for the next one.
 *
 * The worker ends by itself: after 60 s without a job or a call (open connections do not keep it),
 * when the last GIMP it was given a pidfd of has ended, or on Quit. */
#pragma once

#include <errno.h>
#include <fcntl.h>
#include <gio/gio.h>
#include <glib/gi18n-lib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

/* Grows with every change that an older side would misunderstand. */
#define PENTIMENTO_WORKER_VERSION 4u

#define PENTIMENTO_WORKER_PATH      "/org/pentimento/Worker"
#define PENTIMENTO_WORKER_INTERFACE "org.pentimento.Worker"

/* Hello: has to be the first call on a connection (only Quit may come before it). Gives the
 *   worker's protocol version and the engine's version string ("0.1.0").
 *
 * Run: one job, answered when it is done. `job` is a number the client chooses, unique among its
 *   unfinished ones. `task` is "generate", "img2img", "inpaint", or "teach" (below).
 *   options: those of the command line, by name and type: prompt s, negative-prompt s, strength d,
 *     steps i, guidance d, quality s, sampler s, schedule s, seed x, width i, height i, learn i
 *     (inpaint: steps on the picture itself first; what was learnt stays in a private folder of
 *     the cache for the next fill of the same picture, and a cancelled one goes on there) ... (the
 *     table ldm_options(); i, x and d are converted where exact; an unknown name or a value out of
 *     range is an error that says so), and
 *       model           s   a name or path; "" or absent: the default model
 *       threads         i   0 or absent: as many as there are processors; at most 256
 *       previews        b   send Preview while it works
 *       picture-width   i   size of the picture and of the mask, in pixels: with those handles
 *       picture-height  i
 *   handles: memfds created with MFD_ALLOW_SEALING, of exactly the size told here, sealed with
 *     F_SEAL_SHRINK | F_SEAL_GROW before they are sent; native-endian float32, rows from the top,
 *     without padding, pixels of a row side by side:
 *       picture   [height, width, 4]  R'G'B' on the sRGB curve and straight alpha, 0..1
 *                                     (babl "R'G'B'A float"): img2img, inpaint
 *       mask      [height, width]     0..1, 1 = repaint, between: partly. inpaint; img2img: absent
 *                                     = all
 *       gimp      a pidfd of GIMP (pidfd_open(getppid(), 0)); absent: only the idle time counts
 *   reply:
 *       x y width height  i   the window that was worked on, in the picture (0, 0 for generate)
 *       scale             d   work pixels per picture pixel: 1, or less where it was reduced
 *       seed              x   the seed used
 *       evaluations       i   calls of the denoiser
 *       steps             i   denoising steps taken
 *       planned-steps     i   of so many: more than were taken where Finish ended it
 *       seconds           a{sd}  per stage ("encode", "denoise" ...) and "total"
 *       model             s   the path of the model used
 *       notes             as  sentences for the user, translated; often none
 *   reply handles: memfds, sealed also against writing, as above with the window's size:
 *       pixels    [height, width, 4]  generated R'G'B'A, before blending
 *       alpha     [height, width]     blend factor 0..1; absent for generate. The finished pixel is
 *                                     old + alpha * (new - old); where alpha is 0, the old one.
 *
 * Run with the task "teach": a LoRA is made from pictures, $XDG_DATA_HOME/pentimento/adapters/
 *   NAME.safetensors. Takes minutes; other jobs wait meanwhile. Cancelled (or its client killed) it
 *   keeps a checkpoint, and the same call goes on from there. The pictures stay on this computer,
 *   as latents in private folders that go when a LoRA of that name is there.
 *   options: model, threads as above, and
 *       action       s  "teach"; "keep": make the LoRA of what the checkpoint has, without another
 *                       step; done before the jobs that wait; "forget": remove what unfinished
 *                       teachings of that name have left; done at once where the worker has no
 *                       other job of that name; "estimate": only tell what it would take
 *       asker        s  "forget" removes only what was last asked for with the same asker; "": all
 *       name         s  of the file, and what prompts call it (pentimento_teach_name_fits)
 *       description  s  what the pictures show besides; or ""
 *       steps        i  1 .. 100000; absent: 300
 *       seed         x  0 or more; absent: 0
 *       sizes        a(ii)  width and height of every picture; with handles
 *       count        i  "estimate": number of pictures
 *   handles: "picture-0", "picture-1" ... like "picture" above; "gimp".
 *   reply: file s, steps i (taken so far), skipped i (pictures too small to learn from);
 *     "estimate": bytes t (memory it takes), free t, step-seconds d, other-seconds d (before the
 *     first step, and for the samples).
 *
 * Cancel: ends that job of this connection; its Run fails with PENTIMENTO_ERROR_CANCELLED.
 *   A number that is not (or no longer) a job is no error.
 *
 * Finish: lets that job of this connection take no more denoising steps than the one at work (the
 *   first, where it has not begun); Run is answered as usual, with the picture that step predicts.
 *   Teaching goes on all the same.
 *
 * Inspect: what a model is: path s, layout s, family s, prediction s, dtype s, parameters t,
 *   weight-bytes t, latent-channels i, downsampling i, native-size i, tokens i, context-width i,
 *   concat-inpainting b, adapters aa{sv}. Waits for the running job unless the model is the loaded
 *   one. Of each LoRA in $XDG_DATA_HOME/pentimento/adapters "adapters" tells:
 *       name         s  to be given as "lora"
 *       description  s  what it shows, and
 *       trigger      s  what prompts have to say, as the file has it; or ""
 *       problem      s  "" where it suits the model, else why it does not, in a few words
 *
 * Models: the names of the models there are, besides "" for the default one. Answered at once.
 *
 * Quit: takes no more connections and frees the socket for another worker before it answers; ends
 *   once the jobs it has are done.
 *
 * Progress: sent to the connection that runs the job, at most every 50 ms. stage: "waiting" (for
 *   other jobs; step = how many are before it), "load", "prepare", "condition", "encode",
 *   "diffuse", "denoise", "decode", "finish"; step of steps inside "denoise", else 0 of 0; fraction
 *   0..1 of the whole job; seconds_left < 0: not known yet. An inpaint with the option learn has
 *   "learn" before "prepare" (step of steps; 0 of steps while it encodes). Teaching: "waiting",
 *   "load", "encode" (step of steps pictures), "learn" (step of steps).
 *
 * Preview: where Run asked for previews, to the same connection, twice a second at most: roughly
 *   the picture that the job is heading for after `step` of `steps`. pixels: [height, width, 3]
 *   bytes, R'G'B' on the sRGB curve, rows from the top, at most PENTIMENTO_MAX_PREVIEW a side.
 *
 * Losses: teaching only, to the same connection: of the steps `first`, `first` + 1 ...; NaN where
 *   one was not finite. The first one may bring those of an earlier call.
 *
 * Sample: teaching only: a PNG picture of what the model makes now is at `path`; it is replaced by
 *   the next and goes with the teaching's folder. */
#define PENTIMENTO_WORKER_XML                                                                     \
    "<node><interface name='" PENTIMENTO_WORKER_INTERFACE "'>"                                    \
    "<method name='Hello'><arg name='version' type='u' direction='in'/>"                          \
    "<arg name='version' type='u' direction='out'/><arg name='engine' type='s' direction='out'/>" \
    "</method>"                                                                                   \
    "<method name='Run'><arg name='job' type='u' direction='in'/>"                                \
    "<arg name='task' type='s' direction='in'/><arg name='options' type='a{sv}' direction='in'/>" \
    "<arg name='handles' type='a{sh}' direction='in'/>"                                           \
    "<arg name='reply' type='a{sv}' direction='out'/>"                                            \
    "<arg name='handles' type='a{sh}' direction='out'/></method>"                                 \
    "<method name='Cancel'><arg name='job' type='u' direction='in'/></method>"                    \
    "<method name='Finish'><arg name='job' type='u' direction='in'/></method>"                    \
    "<method name='Inspect'><arg name='model' type='s' direction='in'/>"                          \
    "<arg name='info' type='a{sv}' direction='out'/></method>"                                    \
    "<method name='Models'><arg name='names' type='as' direction='out'/></method>"                \
    "<method name='Quit'/>"                                                                       \
    "<signal name='Progress'><arg name='job' type='u'/><arg name='stage' type='s'/>"              \
    "<arg name='step' type='i'/><arg name='steps' type='i'/><arg name='fraction' type='d'/>"      \
    "<arg name='seconds_left' type='d'/></signal>"                                                \
    "<signal name='Preview'><arg name='job' type='u'/><arg name='step' type='i'/>"                \
    "<arg name='steps' type='i'/><arg name='width' type='i'/><arg name='height' type='i'/>"       \
    "<arg name='pixels' type='ay'/></signal>"                                                     \
    "<signal name='Losses'><arg name='job' type='u'/><arg name='first' type='i'/>"                \
    "<arg name='losses' type='ad'/></signal>"                                                     \
    "<signal name='Sample'><arg name='job' type='u'/><arg name='path' type='s'/></signal>"        \
    "</interface></node>"

/* Errors: the D-Bus error name; the message (after g_dbus_error_strip_remote_error) is one
 * sentence for the user. Compare with g_dbus_error_get_remote_error. Unless named here they are
 * libldm's codes: Invalid File Format Unsupported Missing Shape Memory Nonfinite. */
#define PENTIMENTO_ERROR_PREFIX    "org.pentimento.Error."
#define PENTIMENTO_ERROR_CANCELLED PENTIMENTO_ERROR_PREFIX "Cancelled"
#define PENTIMENTO_ERROR_INVALID   PENTIMENTO_ERROR_PREFIX "Invalid" /* options, handles, sizes */
#define PENTIMENTO_ERROR_VERSION   PENTIMENTO_ERROR_PREFIX "Version" /* Hello: not this version */
#define PENTIMENTO_ERROR_BUSY      PENTIMENTO_ERROR_PREFIX "Busy"    /* too many jobs, or ending */

/* Limits; beyond them a call fails with Invalid or Busy, and one client too many is closed at once.
 * GIMP's own pictures end at 2^19 a side. */
#define PENTIMENTO_MAX_SIDE    524288
#define PENTIMENTO_MAX_PIXELS  (1u << 28) /* width * height: 4 GiB of picture */
#define PENTIMENTO_MAX_PREVIEW 256        /* pixels a side */
#define PENTIMENTO_MAX_CLIENTS 32
#define PENTIMENTO_MAX_JOBS    64    /* running and waiting, of all clients together */
#define PENTIMENTO_MAX_TEXT    65536 /* bytes of one string option */

/* Of one teaching. A message carries no more than 253 descriptors. */
#define PENTIMENTO_MAX_PICTURES    200
#define PENTIMENTO_MAX_TEACH_STEPS 100000
#define PENTIMENTO_MAX_TEACH_NAME  100 /* bytes */

/* Set in the environment, mostly by tests. */
#define PENTIMENTO_SOCKET_VARIABLE "PENTIMENTO_WORKER_SOCKET" /* full path; its folder exists */
#define PENTIMENTO_IDLE_VARIABLE   "PENTIMENTO_WORKER_IDLE"   /* seconds, instead of 60 */

/* True where `folder` is a real folder of this user's that nobody else may enter or read. Made
 * where it is missing. Nothing is followed through a symbolic link. */
static inline gboolean pentimento_private_folder(const char *folder, GError **error)
{
    struct stat info;

    if (mkdir(folder, 0700) != 0 && errno != EEXIST) {
        g_set_error(error, G_IO_ERROR, g_io_error_from_errno(errno),
                    _("%s, the folder in which plug-in and worker meet, cannot be made (%s): make "
                      "it yourself with mode 0700, or name a socket elsewhere in the environment "
                      "variable %s"),
                    folder, g_strerror(errno), PENTIMENTO_SOCKET_VARIABLE);
        return FALSE;
    }
    if (lstat(folder, &info) != 0 || !S_ISDIR(info.st_mode) || info.st_uid != geteuid() ||
        (info.st_mode & 0077) != 0) {
        g_set_error(error, G_IO_ERROR, G_IO_ERROR_PERMISSION_DENIED,
                    _("%s is not a private folder of this user's: remove it, give it to this user "
                      "with mode 0700, or name a socket elsewhere in the environment variable %s"),
                    folder, PENTIMENTO_SOCKET_VARIABLE);
        return FALSE;
    }
    return TRUE;
}

/* Where the worker writes down what it does, and what went wrong. Free with g_free. */
static inline char *pentimento_worker_log(void)
{
    return g_build_filename(g_get_user_state_dir(), "pentimento", "worker.log", NULL);
}

/* The socket of this user's worker: $PENTIMENTO_WORKER_SOCKET, else worker.sock in
 * $XDG_RUNTIME_DIR/pentimento, else (no such folder, or its path too long for a socket) in
 * /tmp/pentimento-UID. The folder is made and checked. Free with g_free; NULL and an error where
 * no folder is safe. */
static inline char *pentimento_worker_socket(GError **error)
{
    const size_t longest = sizeof((struct sockaddr_un *)NULL)->sun_path - 8; /* and ".lock" */
    const char *given = g_getenv(PENTIMENTO_SOCKET_VARIABLE);
    const char *runtime = g_getenv("XDG_RUNTIME_DIR");
    g_autofree char *folder = NULL;

    if (given != NULL && *given != '\0') {
        folder = g_path_get_dirname(given);
        if (!g_path_is_absolute(given) || strlen(given) > longest) {
            g_set_error(error, G_IO_ERROR, G_IO_ERROR_INVALID_FILENAME,
                        _("%s has to be a full path of at most %d bytes, not “%s”: set it so in "
                          "the environment, or not at all"),
                        PENTIMENTO_SOCKET_VARIABLE, (int)longest, given);
            return NULL;
        }
        return pentimento_private_folder(folder, error) ? g_strdup(given) : NULL;
    }
    if (runtime != NULL && g_path_is_absolute(runtime) &&
        strlen(runtime) + strlen("/pentimento/worker.sock") <= longest) {
        folder = g_build_filename(runtime, "pentimento", NULL);
        if (pentimento_private_folder(folder, NULL))
            return g_build_filename(folder, "worker.sock", NULL);
        g_free(folder);
    }
    folder = g_strdup_printf("/tmp/pentimento-%u", (unsigned)geteuid());
    if (!pentimento_private_folder(folder, error))
        return NULL;
    return g_build_filename(folder, "worker.sock", NULL);
}

/* True for a name that a teaching may have: a file's name, and a word or words of a prompt. */
static inline gboolean pentimento_teach_name_fits(const char *name)
{
    if (*name == '\0' || *name == '.' || *name == ' ' || strlen(name) > PENTIMENTO_MAX_TEACH_NAME ||
        !g_utf8_validate(name, -1, NULL))
        return FALSE;
    for (const char *p = name; *p != '\0'; p = g_utf8_next_char(p))
        if (*p == '/' || !g_unichar_isprint(g_utf8_get_char(p)))
            return FALSE;
    return TRUE;
}

/* Where the LoRA of that name is or will be. Free with g_free. */
static inline char *pentimento_teach_file(const char *name)
{
    g_autofree char *file = g_strconcat(name, ".safetensors", NULL);

    return g_build_filename(g_get_user_data_dir(), "pentimento", "adapters", file, NULL);
}
