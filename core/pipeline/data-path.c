/* Finds what was installed with the program, and models. In: a name. Out: a path, or an error that
 * lists the folders that were searched. Nothing is opened here. */
#include "pipeline/data-path.h"

#include "base/error.h"

#include <string.h>

/* The source tree's data folder where the running program lies in a meson build folder inside the
 * tree, else NULL. */
static char *tree_folder(void)
{
    g_autofree char *program = g_file_read_link("/proc/self/exe", NULL);
    g_autofree char *folder = program != NULL ? g_path_get_dirname(program) : NULL;
    while (folder != NULL && strcmp(folder, "/") != 0) {
        g_autofree char *mark = g_build_filename(folder, "meson-private", NULL);
        char *parent = g_path_get_dirname(folder);
        if (g_file_test(mark, G_FILE_TEST_IS_DIR)) {
            char *data = g_build_filename(parent, "data", NULL);
            g_free(parent);
            return data;
        }
        g_free(folder);
        folder = parent;
    }
    return NULL;
}

char **ldm_data_folders(void)
{
    g_autoptr(GPtrArray) folders = g_ptr_array_new();
    const char *wanted = g_getenv("PENTIMENTO_DATA_DIR");
    char *tree = tree_folder();
    if (wanted != NULL && wanted[0] != '\0')
        g_ptr_array_add(folders, g_strdup(wanted));
    if (tree != NULL)
        g_ptr_array_add(folders, tree);
    g_ptr_array_add(folders, g_strdup(PENTIMENTO_DATADIR));
    g_ptr_array_add(folders, NULL);
    return (char **)g_ptr_array_steal(folders, NULL);
}

char *ldm_data_path(const char *file, GError **error)
{
    g_auto(GStrv) folders = ldm_data_folders();
    for (int i = 0; folders[i] != NULL; i++) {
        g_autofree char *path = g_build_filename(folders[i], file, NULL);
        if (g_file_test(path, G_FILE_TEST_EXISTS))
            return g_steal_pointer(&path);
    }
    g_autofree char *searched = g_strjoinv(", ", folders);
    ldm_set_error(error, MISSING,
                  _("%s is in none of %s: install Pentimento again, or set "
                    "PENTIMENTO_DATA_DIR"),
                  file, searched);
    return NULL;
}

/* The folders that models are looked up in, each once, in order. */
static char **model_folders(void)
{
    g_autoptr(GPtrArray) folders = g_ptr_array_new_with_free_func(g_free);
    const char *wanted = g_getenv("PENTIMENTO_MODEL_PATH");
    g_auto(GStrv) own = g_strsplit(wanted != NULL ? wanted : "", G_SEARCHPATH_SEPARATOR_S, -1);
    g_auto(GStrv) data = ldm_data_folders();
    const char *const *system = g_get_system_data_dirs();
    for (int i = 0; own[i] != NULL; i++)
        if (own[i][0] != '\0')
            g_ptr_array_add(folders, g_strdup(own[i]));
    g_ptr_array_add(folders, g_build_filename(g_get_user_data_dir(), "pentimento", "models", NULL));
    for (int i = 0; system[i] != NULL; i++)
        g_ptr_array_add(folders, g_build_filename(system[i], "pentimento", "models", NULL));
    for (int i = 0; data[i] != NULL; i++)
        g_ptr_array_add(folders, g_build_filename(data[i], "models", NULL));
    for (guint i = 0; i < folders->len; i++) {
        guint first;
        g_ptr_array_find_with_equal_func(folders, g_ptr_array_index(folders, i), g_str_equal,
                                         &first);
        if (first < i)
            g_ptr_array_remove_index(folders, i--);
    }
    g_ptr_array_add(folders, NULL);
    return (char **)g_ptr_array_steal(folders, NULL);
}

char *ldm_model_find(const char *name, GError **error)
{
    bool given = name != NULL && name[0] != '\0';
    if (given && g_file_test(name, G_FILE_TEST_EXISTS))
        return g_strdup(name);
    if (given && strchr(name, '/') != NULL) {
        ldm_set_error(error, MISSING, _("there is no model at %s: check the path"), name);
        return NULL;
    }
    const char *wanted = given ? name : "default";
    g_auto(GStrv) folders = model_folders();
    for (int i = 0; folders[i] != NULL; i++) {
        g_autofree char *folder = g_build_filename(folders[i], wanted, NULL);
        g_autofree char *file = g_strconcat(folder, ".safetensors", NULL);
        if (g_file_test(folder, G_FILE_TEST_EXISTS))
            return g_steal_pointer(&folder);
        if (g_file_test(file, G_FILE_TEST_EXISTS))
            return g_steal_pointer(&file);
    }
    g_autofree char *searched = g_strjoinv(", ", folders);
    ldm_set_error(error, MISSING,
                  _("there is no model “%s” in %s: put one there, or give its path"), wanted,
                  searched);
    return NULL;
}
