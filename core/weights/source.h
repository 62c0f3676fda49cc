/* A model's files, opened: configuration, and where each network's parameters lie. */
#pragma once

#include "weights/config.h"
#include "weights/names.h"
#include "weights/param.h"
#include "weights/safetensors.h"

/* Where one network's weights are. */
typedef struct {
    LdmFiles *files; /* borrowed from the source; NULL where the model lacks this network */
    LdmNaming naming;
    char *prefix; /* before every name of its parameters in the file */
    char *region; /* every array whose name starts so belongs to this network */
} LdmPartFiles;

/* What of a folder's files is wanted; zero: everything. */
typedef struct {
    bool first_stage;         /* the autoencoder alone: the folder need not have more */
    unsigned made_new;        /* networks (1 << LdmPart) of which only the configuration is read */
    unsigned made_if_missing; /* the same where their weights are not there; else they are read */
    LdmVaeWish vae;           /* of an autoencoder made new */
} LdmWanted;

typedef struct {
    char *path;
    LdmWanted wanted;
    const char *layout; /* "diffusers" or "single-file" */
    LdmModelConfig config;
    LdmPartFiles parts[LDM_N_PARTS];
    GPtrArray *files;     /* LdmFiles, owned */
    char *vocab, *merges; /* paths; NULL = CLIP's own vocabulary */
    unsigned asked; /* 1 << LdmPart: parts read ahead (pipeline/ahead.h), none let go of since */
} LdmSource;

/* Opens a diffusers folder or a single .safetensors file; the configuration is checked.
 * Errors: FILE, FORMAT, UNSUPPORTED, MISSING. */
LdmSource *ldm_source_open(const char *path, GError **error);

/* The same with less than everything; a single file is read whole, unless an autoencoder is all it
 * has, and refused (UNSUPPORTED) where something of it is to be made new. */
LdmSource *ldm_source_open_wanted(const char *path, const LdmWanted *wanted, GError **error);
void ldm_source_free(LdmSource *source);
G_DEFINE_AUTOPTR_CLEANUP_FUNC(LdmSource, ldm_source_free)

/* Gives every parameter its data, which lives as long as the source; none where the network is to
 * be made new. Errors: MISSING, SHAPE,
 * UNSUPPORTED (dtype), FORMAT (an array that belongs to nothing). */
bool ldm_source_bind(LdmSource *source, LdmPart part, LdmParams *params, GError **error);

/* The same of one network's files, whatever they belong to. */
bool ldm_part_bind(const LdmPartFiles *part, LdmParams *params, GError **error);

/* Gives every parameter the array called PREFIX + its name: of files that the program itself has
 * written. Errors: MISSING, SHAPE, UNSUPPORTED (dtype). */
bool ldm_files_bind(LdmFiles *files, const char *prefix, LdmParams *params, GError **error);

/* The subfolder of a diffusers folder that has the autoencoder: "vae", or "vqvae" as in
 * LDMPipeline. */
const char *ldm_source_vae_folder(const char *path);

/* Where the .yaml of a single file would lie: beside it, with the same stem. Free with g_free. */
char *ldm_source_yaml_path(const char *path);

/* The two layouts: fill a new source. */
bool ldm_source_open_folder(LdmSource *source, GError **error);
bool ldm_source_open_single(LdmSource *source, GError **error);
