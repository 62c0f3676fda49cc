/* Crops of the picture at hand. In: picture, mask, an area. Out: squares at random places and
 * scales, by number. Pixels of the hole, transparent ones and those outside the area give no colour
 * to anything: they are filled from around them and have alpha 0. */
#include "train/crops.h"

#include "base/digest.h"
#include "base/error.h"
#include "prepare/prepare.h"
#include "tensor/tensor.h"
#include "train/keyed.h"

#include <math.h>
#include <string.h>

#define NAME     "crop-"
#define ATTEMPTS 16
#define ENOUGH   0.5 /* of a crop known: it is taken without looking further */
#define PROBES   32  /* a side, by which that is judged */

LdmDataset *ldm_crops_dataset(size_t count, const char *caption)
{
    LdmDataset *dataset = ldm_dataset_new(_("the picture"));

    for (size_t i = 0; i < count; i++) {
        g_autofree char *name = g_strdup_printf(NAME "%zu", i);
        ldm_dataset_add(dataset, name, caption);
    }
    return dataset;
}

/* ---- what is known ---- */

static LdmRect part_of_picture(const LdmCrops *crops)
{
    const LdmRect *a = &crops->area;
    int right = MIN(a->x + a->width, (int)crops->picture->shape[2]);
    int bottom = MIN(a->y + a->height, (int)crops->picture->shape[1]);
    int x = MAX(a->x, 0), y = MAX(a->y, 0);

    return (LdmRect){x, y, MAX(right - x, 0), MAX(bottom - y, 0)};
}

/* The pixel, where it is known, else NULL; written so that NaN is unknown. */
static const float *known_pixel(const LdmCrops *crops, const LdmRect *part, int x, int y)
{
    size_t i = (size_t)y * crops->picture->shape[2] + (size_t)x;

    if (x < part->x || y < part->y || x >= part->x + part->width || y >= part->y + part->height ||
        !(ldm_tensor_f32(crops->mask)[i] <= 0.0f))
        return NULL;
    const float *rgba = ldm_tensor_f32(crops->picture) + i * 4;
    return rgba[3] > 0.0f && isfinite(rgba[0]) && isfinite(rgba[1]) && isfinite(rgba[2]) ? rgba
                                                                                         : NULL;
}

bool ldm_crops_any(const LdmCrops *crops)
{
    LdmRect part = part_of_picture(crops);

    for (int y = part.y; y < part.y + part.height; y++)
        for (int x = part.x; x < part.x + part.width; x++)
            if (known_pixel(crops, &part, x, y) != NULL)
                return true;
    return false;
}

/* The share of a square that is known, by a grid of probes. */
static double known_share(const LdmCrops *crops, const LdmRect *square)
{
    LdmRect part = part_of_picture(crops);
    int n = MIN(square->width, PROBES), known = 0;

    for (int i = 0; i < n * n; i++)
        known += known_pixel(crops, &part, square->x + (2 * (i % n) + 1) * square->width / (2 * n),
                             square->y + (2 * (i / n) + 1) * square->height / (2 * n)) != NULL;
    return (double)known / ((double)n * n);
}

void ldm_crops_digest(const LdmCrops *crops, GChecksum *sum)
{
    static const float nothing[4] = {0};
    LdmRect part = part_of_picture(crops);
    g_autofree float *row = g_new(float, 4 * (size_t)part.width);
    LdmDigits scale, zoom;
    g_autofree char *text =
        g_strdup_printf("%d %d %d %d %zu %s %s %" G_GUINT64_FORMAT, part.x, part.y, part.width,
                        part.height, crops->side, ldm_digits(&scale, crops->scale),
                        ldm_digits(&zoom, crops->zoom), (guint64)crops->seed);

    ldm_digest_text(sum, text);
    for (int y = 0; y < part.height; y++) {
        for (int x = 0; x < part.width; x++) {
            const float *rgba = known_pixel(crops, &part, part.x + x, part.y + y);
            memcpy(row + 4 * x, rgba != NULL ? rgba : nothing, sizeof nothing);
        }
        g_checksum_update(sum, (const guchar *)row, 4 * (gssize)sizeof(float) * part.width);
    }
}

/* ---- crops ---- */

/* Anywhere in a stretch of the area, or in its middle where it is too short. */
static int place(LdmKeyed *keyed, int start, int length, int side)
{
    size_t room = (size_t)MAX(length - side, 0);
    size_t offset = ldm_keyed_below(keyed, room + 1);

    return length < side ? start - (side - length) / 2 : start + (int)offset;
}

static LdmRect draw_square(const LdmCrops *crops, LdmKeyed *keyed)
{
    LdmRect part = part_of_picture(crops);
    double zoom = pow(crops->zoom, ldm_keyed_uniform(keyed));
    int side = (int)lrint(MAX((double)crops->side / crops->scale * zoom, 1.0));
    int x = place(keyed, part.x, part.width, side), y = place(keyed, part.y, part.height, side);

    return (LdmRect){x, y, side, side};
}

/* The first of some squares of which enough is known, or that of which most is. */
static double choose_square(const LdmCrops *crops, size_t number, LdmRect *best)
{
    double most = -1.0;

    for (uint64_t i = 0; i < ATTEMPTS && most < ENOUGH; i++) {
        LdmKeyed keyed = ldm_keyed(crops->seed, LDM_KEY_WINDOW, number, i);
        LdmRect square = draw_square(crops, &keyed);
        double share = known_share(crops, &square);
        if (share <= most)
            continue;
        most = share;
        *best = square;
    }
    return most;
}

/* The mean of the known ones of k x k pixels, [R', G', B', 1 where all are known, else 0]; weight
 * 0 is what ldm_fill_holes fills. */
static void read_box(const LdmCrops *crops, const LdmRect *part, const int xyk[3], float out[4])
{
    double sum[3] = {0}, weight = 0.0;
    int k = xyk[2], known = 0;

    for (int i = 0; i < k * k; i++) {
        const float *rgba = known_pixel(crops, part, xyk[0] + i % k, xyk[1] + i / k);
        if (rgba == NULL)
            continue;
        double alpha = MIN(rgba[3], 1.0f);
        for (int c = 0; c < 3; c++)
            sum[c] += alpha * CLAMP(rgba[c], 0.0f, 1.0f);
        weight += alpha;
        known++;
    }
    for (int c = 0; c < 3; c++)
        out[c] = known == k * k ? (float)(sum[c] / weight) : 0.5f;
    out[3] = known == k * k;
}

static LdmTensor *read_square(const LdmCrops *crops, const LdmRect *square, GError **error)
{
    LdmRect part = part_of_picture(crops);
    int k = MAX(square->width / (2 * (int)crops->side), 1); /* the rest is the window's to resize */
    size_t n = (size_t)(square->width / k);
    g_autoptr(LdmTensor) crop = ldm_tensor_new_nhwc(1, n, n, 4, error);

    for (size_t i = 0; crop != NULL && i < n * n; i++) {
        const int xyk[3] = {square->x + (int)(i % n) * k, square->y + (int)(i / n) * k, k};
        read_box(crops, &part, xyk, ldm_tensor_f32(crop) + 4 * i);
    }
    return crop != NULL && ldm_fill_holes(ldm_tensor_f32(crop), n, n, NULL, error)
               ? g_steal_pointer(&crop)
               : NULL;
}

LdmTensor *ldm_crops_read(const char *name, void *data, GError **error)
{
    const LdmCrops *crops = data;
    guint64 number;
    LdmRect square = {0};

    if (!g_str_has_prefix(name, NAME) ||
        !g_ascii_string_to_unsigned(name + strlen(NAME), 10, 0, G_MAXUINT32, &number, NULL)) {
        ldm_set_error(error, MISSING, _("there is no picture “%s”"), name);
        return NULL;
    }
    if (choose_square(crops, (size_t)number, &square) > 0.0)
        return read_square(crops, &square, error);
    ldm_set_error(error, FORMAT, _("nothing of it is known"));
    return NULL;
}
