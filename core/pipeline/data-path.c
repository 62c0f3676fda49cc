/* Finds what was installed with the program, models and LoRA. In: a name. Out: a path, or an error
 * that lists the folders that were searched. Nothing is opened here. */
#include "pipeline/data-path.h"

#include "base/error.h"

#include <string.h>

#define MODEL_SUFFIX  ".safetensors"
#define DEFAULT_MODEL "default"

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

/* Those that hold models/ and tokenizer/, in order of search. */
static char **data_folders(void)
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
    g_auto(GStrv) folders = data_folders();
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
    g_auto(GStrv) data = data_folders();
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
    bool given = name != NULL && name[0] != '\0', path = given && strchr(name, '/') != NULL;
    if (path && g_file_test(name, G_FILE_TEST_EXISTS))
        return g_strdup(name);
    if (path) {
        ldm_set_error(error, MISSING, _("there is no model at %s: check the path"), name);
        return NULL;
    }
    const char *wanted = given ? name : DEFAULT_MODEL;
    g_auto(GStrv) folders = model_folders();
    for (int i = 0; folders[i] != NULL; i++) {
        g_autofree char *folder = g_build_filename(folders[i], wanted, NULL);
        g_autofree char *file = g_strconcat(folder, MODEL_SUFFIX, NULL);
        if (g_file_test(folder, G_FILE_TEST_EXISTS))
            return g_steal_pointer(&folder);
        if (g_file_test(file, G_FILE_TEST_EXISTS))
            return g_steal_pointer(&file);
    }
    if (given && g_file_test(name, G_FILE_TEST_EXISTS))
        return g_strdup(name); /* in the folder we are in */
    g_autofree char *searched = g_strjoinv(", ", folders);
    ldm_set_error(error, MISSING,
                  _("there is no model “%s” in %s: put one there, or give its path"), wanted,
                  searched);
    return NULL;
}

/* Whether an entry of a folder of models is one; takes its ending off. */
static bool is_model(const char *folder, char *entry)
{
    g_autofree char *path = g_build_filename(folder, entry, NULL);
    g_autofree char *index = g_build_filename(path, "model_index.json", NULL);
    if (g_file_test(index, G_FILE_TEST_IS_REGULAR))
        return true;
    if (!g_str_has_suffix(entry, MODEL_SUFFIX) || !g_file_test(path, G_FILE_TEST_IS_REGULAR))
        return false;
    entry[strlen(entry) - strlen(MODEL_SUFFIX)] = '\0';
    return true;
}

static int compare_names(gconstpointer a, gconstpointer b)
{
    return g_utf8_collate(*(char *const *)a, *(char *const *)b);
}

char **ldm_model_names(void)
{
    g_auto(GStrv) folders = model_folders();
    g_autoptr(GPtrArray) names = g_ptr_array_new();
    for (int i = 0; folders[i] != NULL; i++) {
        g_autoptr(GDir) folder = g_dir_open(folders[i], 0, NULL);
        const char *entry;
        while (folder != NULL && (entry = g_dir_read_name(folder)) != NULL) {
            g_autofree char *name = g_strdup(entry);
            if (name[0] != '.' && g_utf8_validate(name, -1, NULL) && is_model(folders[i], name) &&
                strcmp(name, DEFAULT_MODEL) != 0 &&
                !g_ptr_array_find_with_equal_func(names, name, g_str_equal, NULL))
                g_ptr_array_add(names, g_steal_pointer(&name));
        }
    }
    g_ptr_array_sort(names, compare_names);
    g_ptr_array_add(names, NULL);
    return (char **)g_ptr_array_steal(names, NULL);
}

char *ldm_adapter_folder(void)
{
    return g_build_filename(g_get_user_data_dir(), "pentimento", "adapters", NULL);
}

char *ldm_adapter_find(const char *name, GError **error)
{
    if (strchr(name, '/') != NULL || g_file_test(name, G_FILE_TEST_IS_REGULAR))
        return g_strdup(name);
    g_autofree char *folder = ldm_adapter_folder();
    g_autofree char *path = g_build_filename(folder, name, NULL);
    g_autofree char *file = g_strconcat(path, MODEL_SUFFIX, NULL);
    if (g_file_test(path, G_FILE_TEST_IS_REGULAR))
        return g_steal_pointer(&path);
    if (g_file_test(file, G_FILE_TEST_IS_REGULAR))
        return g_steal_pointer(&file);
    ldm_set_error(error, MISSING,
                  _("there is no LoRA “%s” in %s: teach it, put it there, or give its path"), name,
                  folder);
    return NULL;
}
