/* Small pictures. In: a data set, a size. Out: an example's pixels. A float takes four times the
 * memory of a byte, and pictures come from bytes: nothing that a network could learn is lost. */
#include "train/thumbnails.h"

#include "base/checked.h"
#include "base/error.h"
#include "tensor/tensor.h"

#include <math.h>

struct LdmThumbnails {
    const LdmDataset *dataset;
    const LdmAugment *augment;
    LdmPictureRead read;
    void *read_data;
    size_t each;      /* bytes of a picture */
    size_t *pictures; /* [examples]: of which picture */
    size_t count;     /* of pictures */
    bool *have;       /* [count] */
    uint8_t *bytes;   /* [count, each], or NULL: none are kept */
};

/* Gives every file a number. */
static void number(LdmThumbnails *t)
{
    size_t total = ldm_dataset_length(t->dataset);
    g_autoptr(GHashTable) numbers = g_hash_table_new(g_str_hash, g_str_equal);

    t->pictures = g_new(size_t, total);
    for (size_t i = 0; i < total; i++) {
        char *path = ldm_dataset_at(t->dataset, i)->path;
        gpointer known;
        if (!g_hash_table_lookup_extended(numbers, path, NULL, &known)) {
            known = GSIZE_TO_POINTER(t->count++);
            g_hash_table_insert(numbers, path, known);
        }
        t->pictures[i] = GPOINTER_TO_SIZE(known);
    }
}

LdmThumbnails *ldm_thumbnails_new(const LdmDataset *dataset, const LdmAugment *augment,
                                  LdmPictureRead read, void *read_data, size_t most, GError **error)
{
    g_autoptr(LdmThumbnails) t = g_new(LdmThumbnails, 1);
    size_t w = augment->width > 0 ? augment->width : augment->side;
    size_t h = augment->height > 0 ? augment->height : augment->side;

    *t = (LdmThumbnails){.dataset = dataset,
                         .augment = augment,
                         .read = read,
                         .read_data = read_data,
                         .each = w * h * 3};
    number(t);
    t->have = g_new0(bool, t->count);
    if (t->count <= most / t->each) {
        t->bytes = ldm_aligned_alloc(t->count, t->each, _("the pictures"), error);
        if (t->bytes == NULL)
            return NULL;
    }
    return g_steal_pointer(&t);
}

void ldm_thumbnails_free(LdmThumbnails *thumbnails)
{
    if (thumbnails == NULL)
        return;
    g_free(thumbnails->pictures);
    g_free(thumbnails->have);
    ldm_aligned_free(thumbnails->bytes);
    g_free(thumbnails);
}

size_t ldm_thumbnails_bytes(const LdmThumbnails *thumbnails)
{
    return thumbnails->bytes != NULL ? thumbnails->count * thumbnails->each : 0;
}

size_t ldm_thumbnails_picture(const LdmThumbnails *thumbnails, size_t example)
{
    return thumbnails->pictures[example];
}

static bool read_bytes(const LdmThumbnails *t, size_t example, uint8_t *bytes, GError **error)
{
    const char *path = ldm_dataset_at(t->dataset, example)->path;
    g_autoptr(LdmTensor) picture = t->read(path, t->read_data, error);
    g_autoptr(LdmTensor) window =
        picture != NULL ? ldm_augment_picture(t->augment, example, 0, picture, error) : NULL;

    for (size_t i = 0; window != NULL && i < t->each; i++)
        bytes[i] = (uint8_t)lrintf((ldm_tensor_f32(window)[i] + 1.0f) * 127.5f);
    return window != NULL;
}

bool ldm_thumbnails_get(LdmThumbnails *t, size_t example, float *x, GError **error)
{
    size_t picture = t->pictures[example];
    g_autofree uint8_t *own = t->bytes == NULL ? g_new(uint8_t, t->each) : NULL;
    uint8_t *bytes = own != NULL ? own : t->bytes + picture * t->each;

    if (!t->have[picture] && !read_bytes(t, example, bytes, error))
        return false;
    t->have[picture] = own == NULL;
    for (size_t i = 0; x != NULL && i < t->each; i++)
        x[i] = (float)bytes[i] / 127.5f - 1.0f;
    return true;
}
