/* Marks that lie apart: a mask in, bounds out that can each be worked on alone. Marks are gathered
 * row by row in whole latent cells, and joined wherever one's window would see another's marks. */
#include "prepare/prepare.h"

#include <string.h>

/* A list of rectangles in pixels, at most `most`; `full`: there were more. */
typedef struct {
    LdmRect *rects;
    size_t count, most;
    bool full;
} List;

static bool meet(const LdmRect *a, const LdmRect *b)
{
    return a->x < b->x + b->width && b->x < a->x + a->width && a->y < b->y + b->height &&
           b->y < a->y + a->height;
}

LdmRect ldm_rect_around(const LdmRect *a, const LdmRect *b)
{
    int x = MIN(a->x, b->x), y = MIN(a->y, b->y);
    int right = MAX(a->x + a->width, b->x + b->width);
    int bottom = MAX(a->y + a->height, b->y + b->height);

    return (LdmRect){x, y, right - x, bottom - y};
}

static void take_out(List *list, size_t i)
{
    list->rects[i] = list->rects[--list->count];
}

/* A stretch of marked cells joins all those that it touches, which so become one. */
static void add(List *list, LdmRect stretch, int f)
{
    LdmRect reach = {stretch.x - f, stretch.y - f, stretch.width + 2 * f, stretch.height + 2 * f};

    for (size_t i = list->count; i-- > 0;) {
        if (!meet(&reach, &list->rects[i]))
            continue;
        stretch = ldm_rect_around(&stretch, &list->rects[i]);
        take_out(list, i);
    }
    list->full |= list->count == list->most;
    if (!list->full)
        list->rects[list->count++] = stretch;
}

/* marks[i] = whether column i of cells has a mark in the rows `top` .. `bottom` - 1. */
static void mark_columns(const LdmTensor *mask, size_t top, size_t bottom, size_t f, bool *marks)
{
    size_t W = mask->shape[2];

    memset(marks, 0, (W + f - 1) / f * sizeof *marks);
    for (size_t y = top; y < bottom; y++) {
        const float *row = (const float *)mask->data + y * W;
        for (size_t left = 0; left < W; left += f, row += f) {
            bool any = false;
            for (size_t x = 0; x < MIN(f, W - left); x++)
                any |= row[x] > 0.0f;
            marks[left / f] |= any;
        }
    }
}

static void gather(const LdmTensor *mask, size_t f, List *list)
{
    size_t H = mask->shape[1], W = mask->shape[2], columns = (W + f - 1) / f;
    g_autofree bool *marks = g_new(bool, columns + 1);

    marks[columns] = false;
    for (size_t y = 0; y < H && !list->full; y += f) {
        size_t bottom = MIN(y + f, H), first = 0;
        mark_columns(mask, y, bottom, f, marks);
        for (size_t i = 0; i < columns; i++) {
            first = i > 0 && marks[i - 1] ? first : i;
            if (!marks[i] || marks[i + 1])
                continue;
            size_t left = first * f, right = MIN((i + 1) * f, W);
            add(list, (LdmRect){(int)left, (int)y, (int)(right - left), (int)(bottom - y)}, (int)f);
        }
    }
}

/* The first other one that the window around number i holds marks of; `count`: none. */
static size_t seen_by(const LdmPrepareOptions *o, const LdmTensor *mask, const List *list, size_t i)
{
    LdmPrepared p = {0};
    size_t j = 0;

    ldm_prepare_window(o, mask->shape[2], mask->shape[1], &list->rects[i], &p);
    while (j < list->count && (j == i || !meet(&p.window, &list->rects[j])))
        j++;
    return j;
}

static void join(const LdmPrepareOptions *o, const LdmTensor *mask, List *list)
{
    size_t i = 0;

    while (i < list->count) {
        size_t j = seen_by(o, mask, list, i);
        if (j == list->count) {
            i++;
            continue;
        }
        LdmRect both = ldm_rect_around(&list->rects[i], &list->rects[j]);
        take_out(list, MAX(i, j));
        list->rects[MIN(i, j)] = both;
        i = 0; /* the larger window may see what those before it did not */
    }
}

size_t ldm_mask_areas(const LdmPrepareOptions *o, const LdmTensor *mask, LdmRect *areas,
                      size_t most)
{
    const size_t stretches = 128; /* apart from each other, before any is joined */
    g_autofree LdmRect *rects = g_new(LdmRect, stretches);
    List list = {.rects = rects, .most = stretches};

    gather(mask, o->f, &list);
    if (list.full)
        return 0;
    join(o, mask, &list);
    if (list.count > most)
        return 0;
    memcpy(areas, rects, list.count * sizeof *areas);
    return list.count;
}
