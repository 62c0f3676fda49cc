/* condition: byte-pair encoding. A word's bytes become single symbols (the last one marked as a
 * word's end), then the pair that comes first in the list of merges is joined, again and again.
 * Pairs of ids are looked up in one open-addressed table; the next pair comes from a heap. */
#include "condition/bpe.h"

#include "base/digest.h"
#include "base/error.h"
#include "weights/file.h"

#include <json-glib/json-glib.h>
#include <string.h>

#define MAX_FILE    (16u << 20)
#define MAX_ENTRIES (1 << 20)
#define WORD_END    "</w>"

/* Ids `left`, `right` become id `merged`; smaller rank first. left < 0: free slot. */
typedef struct {
    int32_t left, right, merged, rank;
} Merge;

struct LdmBpe {
    GHashTable *vocabulary; /* entry -> id (pointer-sized), keys owned */
    char **entries;         /* [n_entries] id -> entry, borrowed from the keys; holes are NULL */
    int32_t n_entries;
    int32_t byte_ids[2][256]; /* [is last of its word][byte]; -1 = not in the vocabulary */
    Merge *merges;            /* [mask + 1] */
    uint32_t mask;
};

/* GPT-2's printable stand-in for a byte: itself where printable, else 256 and up in order. */
static gunichar byte_symbol(int byte)
{
    int above = 0;

    if ((byte >= 33 && byte <= 126) || (byte >= 161 && byte <= 172) || byte >= 174)
        return (gunichar)byte;
    for (int b = 0; b < byte; b++)
        above += !((b >= 33 && b <= 126) || (b >= 161 && b <= 172) || b >= 174);
    return (gunichar)(256 + above);
}

static bool lookup(const LdmBpe *bpe, const char *entry, int32_t *id)
{
    gpointer value;

    if (!g_hash_table_lookup_extended(bpe->vocabulary, entry, NULL, &value))
        return false;
    *id = GPOINTER_TO_INT(value);
    return true;
}

/* ---- reading ---- */

/* The whole file, NUL-terminated. */
static char *read_text(const char *path, GError **error)
{
    size_t n;
    char *text = ldm_file_read(path, MAX_FILE, &n, error);

    if (text != NULL && !g_utf8_validate(text, (gssize)n, NULL)) {
        ldm_set_error(error, FORMAT, _("%s is not UTF-8 text"), path);
        g_clear_pointer(&text, g_free);
    }
    return text;
}

static bool add_entry(LdmBpe *bpe, const char *path, const char *entry, JsonNode *node,
                      GError **error)
{
    bool whole = JSON_NODE_HOLDS_VALUE(node) && json_node_get_value_type(node) == G_TYPE_INT64;
    int64_t id = whole ? json_node_get_int(node) : -1;

    if (id < 0 || id >= MAX_ENTRIES) {
        ldm_set_error(error, FORMAT, _("%s: the entry “%.40s” has no id from 0 to %d"), path, entry,
                      MAX_ENTRIES - 1);
        return false;
    }
    g_hash_table_insert(bpe->vocabulary, g_strdup(entry), GINT_TO_POINTER((int)id));
    bpe->n_entries = MAX(bpe->n_entries, (int32_t)id + 1);
    return true;
}

static void index_entries(LdmBpe *bpe)
{
    GHashTableIter iter;
    gpointer entry, id;

    bpe->entries = g_new0(char *, MAX(bpe->n_entries, 1));
    g_hash_table_iter_init(&iter, bpe->vocabulary);
    while (g_hash_table_iter_next(&iter, &entry, &id))
        bpe->entries[GPOINTER_TO_INT(id)] = entry;
    for (int last = 0; last < 2; last++) {
        for (int byte = 0; byte < 256; byte++) {
            char symbol[6 + sizeof WORD_END] = "";
            symbol[g_unichar_to_utf8(byte_symbol(byte), symbol)] = '\0';
            if (last)
                strcat(symbol, WORD_END);
            if (!lookup(bpe, symbol, &bpe->byte_ids[last][byte]))
                bpe->byte_ids[last][byte] = -1;
        }
    }
}

static bool read_vocabulary(LdmBpe *bpe, const char *path, GError **error)
{
    g_autofree char *text = read_text(path, error);
    g_autoptr(JsonParser) parser = json_parser_new_immutable();
    g_autoptr(GError) fault = NULL;
    JsonObjectIter iter;
    const char *entry;
    JsonNode *node;

    if (text == NULL)
        return false;
    json_parser_load_from_data(parser, text, -1, &fault);
    JsonNode *root = json_parser_get_root(parser);
    if (fault != NULL || root == NULL || !JSON_NODE_HOLDS_OBJECT(root)) {
        ldm_set_error(error, FORMAT, _("%s is not a JSON object of entries and ids: %s"), path,
                      fault != NULL ? fault->message : _("another kind of value"));
        return false;
    }
    json_object_iter_init(&iter, json_node_get_object(root));
    while (json_object_iter_next(&iter, &entry, &node))
        if (!add_entry(bpe, path, entry, node, error))
            return false;
    index_entries(bpe);
    return true;
}

/* ---- merges ---- */

static uint32_t merge_hash(int32_t left, int32_t right)
{
    uint64_t key = ((uint64_t)(uint32_t)left << 32 | (uint32_t)right) * 0x9E3779B97F4A7C15u;

    return (uint32_t)(key >> 32);
}

/* The pair's slot, or the free slot where it belongs. The table is never more than half full. */
static Merge *merge_slot(const LdmBpe *bpe, int32_t left, int32_t right)
{
    uint32_t at = merge_hash(left, right) & bpe->mask;

    while (bpe->merges[at].left >= 0 &&
           (bpe->merges[at].left != left || bpe->merges[at].right != right))
        at = (at + 1) & bpe->mask;
    return &bpe->merges[at];
}

static bool add_merge(LdmBpe *bpe, char *line, int32_t rank)
{
    char *space = strchr(line, ' ');
    int32_t left, right, merged;

    if (space == NULL)
        return false;
    *space = '\0';
    g_autofree char *joined = g_strconcat(line, space + 1, NULL);
    if (!lookup(bpe, line, &left) || !lookup(bpe, space + 1, &right) ||
        !lookup(bpe, joined, &merged))
        return false;
    *merge_slot(bpe, left, right) = (Merge){left, right, merged, rank};
    return true;
}

static bool read_merges(LdmBpe *bpe, const char *path, GError **error)
{
    g_autofree char *text = read_text(path, error);

    if (text == NULL)
        return false;
    g_auto(GStrv) lines = g_strsplit(text, "\n", -1);
    guint n = g_strv_length(lines);
    if (n > MAX_ENTRIES) {
        ldm_set_error(error, FORMAT, _("%s has more than %d lines"), path, MAX_ENTRIES);
        return false;
    }
    bpe->mask = 1;
    while (bpe->mask + 1 < 2 * n)
        bpe->mask = 2 * bpe->mask + 1;
    bpe->merges = g_new(Merge, bpe->mask + 1);
    for (uint32_t i = 0; i <= bpe->mask; i++)
        bpe->merges[i].left = -1;
    for (guint i = 0; i < n; i++) {
        g_strchomp(lines[i]);
        if (lines[i][0] == '\0' || g_str_has_prefix(lines[i], "#version"))
            continue;
        if (!add_merge(bpe, lines[i], (int32_t)i)) {
            ldm_set_error(error, FORMAT,
                          _("%s, line %u: “%.40s” is no pair of entries whose union the vocabulary "
                            "has; the two files do not belong together"),
                          path, i + 1, lines[i]);
            return false;
        }
    }
    return true;
}

LdmBpe *ldm_bpe_new(const char *vocab_path, const char *merges_path, GError **error)
{
    g_autoptr(LdmBpe) bpe = g_new0(LdmBpe, 1);

    bpe->vocabulary = g_hash_table_new_full(g_str_hash, g_str_equal, g_free, NULL);
    if (!read_vocabulary(bpe, vocab_path, error) || !read_merges(bpe, merges_path, error))
        return NULL;
    return g_steal_pointer(&bpe);
}

void ldm_bpe_digest(const LdmBpe *bpe, GChecksum *sum)
{
    for (int32_t id = 0; id < bpe->n_entries; id++)
        ldm_digest_text(sum, bpe->entries[id] != NULL ? bpe->entries[id] : "");
    for (uint32_t i = 0; i <= bpe->mask; i++)
        if (bpe->merges[i].left >= 0)
            g_checksum_update(sum, (const guchar *)&bpe->merges[i], sizeof(Merge));
}

void ldm_bpe_free(LdmBpe *bpe)
{
    if (bpe == NULL)
        return;
    g_hash_table_unref(bpe->vocabulary);
    g_free(bpe->entries);
    g_free(bpe->merges);
    g_free(bpe);
}

const char *ldm_bpe_entry(const LdmBpe *bpe, int32_t id)
{
    return id >= 0 && id < bpe->n_entries ? bpe->entries[id] : NULL;
}

/* ---- one word ---- */

/* Symbols form a list; a symbol joined to its left neighbour has id -1. */
typedef struct {
    int32_t id, before, next; /* indices; -1 = none */
} Symbol;

/* A pair that may be joined: stale once either side has changed. */
typedef struct {
    int32_t rank, at, left, right, merged;
} Pair;

static bool sooner(const Pair *a, const Pair *b)
{
    return a->rank != b->rank ? a->rank < b->rank : a->at < b->at;
}

static void heap_push(GArray *heap, Pair pair)
{
    g_array_append_val(heap, pair);
    Pair *pairs = (Pair *)(void *)heap->data;
    guint i = heap->len - 1;
    for (; i > 0 && sooner(&pair, &pairs[(i - 1) / 2]); i = (i - 1) / 2)
        pairs[i] = pairs[(i - 1) / 2];
    pairs[i] = pair;
}

static Pair heap_pop(GArray *heap)
{
    Pair *pairs = (Pair *)(void *)heap->data, top = pairs[0], last = pairs[heap->len - 1];
    guint n = heap->len - 1, i = 0;

    g_array_set_size(heap, n);
    for (guint child = 1; child < n; child = 2 * i + 1) {
        if (child + 1 < n && sooner(&pairs[child + 1], &pairs[child]))
            child++;
        if (!sooner(&pairs[child], &last))
            break;
        pairs[i] = pairs[child];
        i = child;
    }
    if (n > 0)
        pairs[i] = last;
    return top;
}

static void offer_pair(const LdmBpe *bpe, GArray *heap, const Symbol *symbols, int32_t at)
{
    int32_t next = at >= 0 ? symbols[at].next : -1;

    if (next < 0)
        return;
    const Merge *merge = merge_slot(bpe, symbols[at].id, symbols[next].id);
    if (merge->left >= 0)
        heap_push(heap, (Pair){merge->rank, at, merge->left, merge->right, merge->merged});
}

static void join_pairs(const LdmBpe *bpe, Symbol *symbols, int32_t n)
{
    g_autoptr(GArray) heap = g_array_sized_new(FALSE, FALSE, sizeof(Pair), (guint)n);

    for (int32_t i = 0; i + 1 < n; i++)
        offer_pair(bpe, heap, symbols, i);
    while (heap->len > 0) {
        Pair pair = heap_pop(heap);
        Symbol *left = &symbols[pair.at];
        if (left->id != pair.left || left->next < 0 || symbols[left->next].id != pair.right)
            continue;
        Symbol *right = &symbols[left->next];
        left->id = pair.merged;
        left->next = right->next;
        right->id = -1;
        if (left->next >= 0)
            symbols[left->next].before = pair.at;
        offer_pair(bpe, heap, symbols, left->before);
        offer_pair(bpe, heap, symbols, pair.at);
    }
}

void ldm_bpe_encode(const LdmBpe *bpe, const char *word, size_t n, int32_t unknown, GArray *ids)
{
    g_autofree Symbol *symbols = g_new(Symbol, n);

    for (size_t i = 0; i < n; i++) {
        int32_t id = bpe->byte_ids[i + 1 == n][(unsigned char)word[i]];
        symbols[i] = (Symbol){.id = id >= 0 ? id : unknown,
                              .before = (int32_t)i - 1,
                              .next = i + 1 < n ? (int32_t)i + 1 : -1};
    }
    join_pairs(bpe, symbols, (int32_t)n);
    for (int32_t i = 0; i >= 0; i = symbols[i].next)
        g_array_append_val(ids, symbols[i].id);
}
