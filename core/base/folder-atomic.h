/* Folders that appear whole: filled under a hidden name beside their own. Who is killed meanwhile
 * leaves a part behind, which the next one to fill a folder there takes away. */
#pragma once

#include <gio/gio.h>
#include <stdbool.h>

typedef struct LdmAtomicFolder LdmAtomicFolder;

/* Begins the one that will be at `path`, in a folder that is there. Errors: FILE. */
LdmAtomicFolder *ldm_atomic_folder_new(const char *path, GError **error);

/* Where it is filled. Belongs to the folder. */
const char *ldm_atomic_folder_path(const LdmAtomicFolder *folder);

/* Makes it appear under its name, and removes what was there where `replace`; else nothing may be
 * there but an empty folder. Errors: FILE. */
bool ldm_atomic_folder_publish(LdmAtomicFolder *folder, bool replace, GError **error);

/* Of one that has not appeared nothing is left. */
void ldm_atomic_folder_free(LdmAtomicFolder *folder);
G_DEFINE_AUTOPTR_CLEANUP_FUNC(LdmAtomicFolder, ldm_atomic_folder_free)
