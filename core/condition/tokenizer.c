/* condition: prompt -> token ids, as transformers' CLIPTokenizer gives them. Special tokens written
 * in the prompt are cut out first; the rest is composed (NFC), white space becomes single spaces,
 * letters lower case; words are runs of letters, single digits, runs of other signs and the English
 * contractions; each word goes through BPE; then [bos, ..., eos, pad ...] at the model's length. */
#include "condition/tokenizer.h"

#include "base/digest.h"
#include "base/error.h"
#include "condition/bpe.h"

#include <string.h>

#define MAX_PROMPT (64u << 10)

struct LdmTokenizer {
    LdmBpe *bpe;
    int32_t bos, eos, pad;
    size_t tokens;
    GArray *words; /* Word */
};

/* A word that was learnt. */
typedef struct {
    char *text;
    int32_t first;
    size_t count;
} Word;

static void word_clear(gpointer data)
{
    g_free(((Word *)data)->text);
}

LdmTokenizer *ldm_tokenizer_new(const char *vocab_path, const char *merges_path, int bos, int eos,
                                int pad, int tokens, GError **error)
{
    g_autoptr(LdmBpe) bpe = ldm_bpe_new(vocab_path, merges_path, error);

    if (bpe == NULL)
        return NULL;
    if (tokens < 2) {
        ldm_set_error(error, FORMAT, _("a text of %d tokens has no room for begin and end"),
                      tokens);
        return NULL;
    }
    if (ldm_bpe_entry(bpe, bos) == NULL || ldm_bpe_entry(bpe, eos) == NULL ||
        ldm_bpe_entry(bpe, pad) == NULL) {
        ldm_set_error(error, FORMAT, _("%s lacks one of the special tokens %d, %d, %d"), vocab_path,
                      bos, eos, pad);
        return NULL;
    }
    LdmTokenizer *tokenizer = g_new(LdmTokenizer, 1);
    *tokenizer = (LdmTokenizer){
        .bpe = g_steal_pointer(&bpe), .bos = bos, .eos = eos, .pad = pad, .tokens = (size_t)tokens};
    tokenizer->words = g_array_new(FALSE, FALSE, sizeof(Word));
    g_array_set_clear_func(tokenizer->words, word_clear);
    return tokenizer;
}

void ldm_tokenizer_digest(const LdmTokenizer *tokenizer, GChecksum *sum)
{
    g_autofree char *special = g_strdup_printf("%d %d %d %zu", tokenizer->bos, tokenizer->eos,
                                               tokenizer->pad, tokenizer->tokens);

    ldm_digest_text(sum, special);
    ldm_bpe_digest(tokenizer->bpe, sum);
}

void ldm_tokenizer_free(LdmTokenizer *tokenizer)
{
    if (tokenizer == NULL)
        return;
    ldm_bpe_free(tokenizer->bpe);
    g_array_unref(tokenizer->words);
    g_free(tokenizer);
}

void ldm_tokenizer_learn(LdmTokenizer *tokenizer, const char *word, int32_t first, size_t count)
{
    Word learnt = {g_strdup(word), first, count};
    g_array_prepend_val(tokenizer->words, learnt); /* the latest is found first */
}

void ldm_tokenizer_forget(LdmTokenizer *tokenizer)
{
    g_array_set_size(tokenizer->words, 0);
}

/* ---- characters, as the reference's regular expressions class them ---- */

static bool is_space(gunichar c)
{
    GUnicodeType type = g_unichar_type(c);

    return (c >= 9 && c <= 13) || c == 0x85 || type == G_UNICODE_SPACE_SEPARATOR ||
           type == G_UNICODE_LINE_SEPARATOR || type == G_UNICODE_PARAGRAPH_SEPARATOR;
}

/* \p{L} */
static bool is_letter(gunichar c)
{
    switch (g_unichar_type(c)) {
    case G_UNICODE_LOWERCASE_LETTER:
    case G_UNICODE_MODIFIER_LETTER:
    case G_UNICODE_OTHER_LETTER:
    case G_UNICODE_TITLECASE_LETTER:
    case G_UNICODE_UPPERCASE_LETTER: return true;
    default: return false;
    }
}

/* \p{N} */
static bool is_number(gunichar c)
{
    switch (g_unichar_type(c)) {
    case G_UNICODE_DECIMAL_NUMBER:
    case G_UNICODE_LETTER_NUMBER:
    case G_UNICODE_OTHER_NUMBER: return true;
    default: return false;
    }
}

static bool is_sign(gunichar c)
{
    return !is_space(c) && !is_letter(c) && !is_number(c);
}

/* Full lower case of one character; GLib's covers letters only. */
static void append_lower(GString *out, gunichar c)
{
    if (c == 0x130) /* I with dot above: the one letter that becomes two */
        g_string_append(out, "i\u0307");
    else if (c >= 0x2160 && c <= 0x216F) /* Roman numerals */
        g_string_append_unichar(out, c + 0x10);
    else if (c >= 0x24B6 && c <= 0x24CF) /* circled letters */
        g_string_append_unichar(out, c + 0x1A);
    else
        g_string_append_unichar(out, g_unichar_tolower(c));
}

/* NFC, white space to single spaces, lower case. */
static char *normalise(const char *text, size_t n)
{
    g_autofree char *composed = g_utf8_normalize(text, (gssize)n, G_NORMALIZE_DEFAULT_COMPOSE);
    GString *out = g_string_sized_new(n);
    bool was_space = false;

    for (const char *p = composed; *p != '\0'; p = g_utf8_next_char(p)) {
        gunichar c = g_utf8_get_char(p);
        if (!is_space(c))
            append_lower(out, c);
        else if (!was_space)
            g_string_append_c(out, ' ');
        was_space = is_space(c);
    }
    return g_string_free(out, FALSE);
}

/* ---- words ---- */

/* Length in bytes of the run of characters of one class at the start of p. */
static size_t run_length(const char *p, bool (*in_class)(gunichar))
{
    const char *end = p;

    while (*end != '\0' && in_class(g_utf8_get_char(end)))
        end = g_utf8_next_char(end);
    return (size_t)(end - p);
}

/* The next word of normalised text at p (not a space): the first alternative that matches. */
static size_t word_length(const char *p)
{
    static const char *const contractions[] = {"'s", "'t", "'re", "'ve", "'m", "'ll", "'d"};

    for (size_t i = 0; i < G_N_ELEMENTS(contractions); i++)
        if (g_str_has_prefix(p, contractions[i]))
            return strlen(contractions[i]);
    gunichar c = g_utf8_get_char(p);
    if (is_letter(c))
        return run_length(p, is_letter);
    if (is_number(c))
        return (size_t)(g_utf8_next_char(p) - p);
    return run_length(p, is_sign);
}

/* The names of the special tokens in any case (exact ones were cut out before) are words of their
 * own, in three parts: "<|", "endoftext", "|>". */
static size_t special_name_length(const char *p)
{
    static const char *const names[] = {"<|startoftext|>", "<|endoftext|>"};

    for (size_t i = 0; i < G_N_ELEMENTS(names); i++)
        if (g_str_has_prefix(p, names[i]))
            return strlen(names[i]);
    return 0;
}

static void encode_plain(const LdmTokenizer *tokenizer, const char *text, size_t n, GArray *ids)
{
    g_autofree char *normal = normalise(text, n);
    const LdmBpe *bpe = tokenizer->bpe;

    for (const char *p = normal; *p != '\0';) {
        size_t name = special_name_length(p);
        if (is_space(g_utf8_get_char(p))) {
            p = g_utf8_next_char(p);
        } else if (name > 0) {
            ldm_bpe_encode(bpe, p, 2, tokenizer->eos, ids);
            ldm_bpe_encode(bpe, p + 2, name - 4, tokenizer->eos, ids);
            ldm_bpe_encode(bpe, p + name - 2, 2, tokenizer->eos, ids);
            p += name;
        } else {
            size_t length = word_length(p);
            ldm_bpe_encode(bpe, p, length, tokenizer->eos, ids);
            p += length;
        }
    }
}

/* What is cut out of a prompt before it is looked at as text. */
typedef struct {
    size_t length; /* bytes; 0 = nothing */
    int32_t first;
    size_t count;
} Piece;

static bool in_word(gunichar c)
{
    return is_letter(c) || is_number(c);
}

/* True where the `n` bytes at p do not begin or end inside a longer word. */
static bool stands_apart(const char *prompt, const char *p, size_t n)
{
    const char *last = g_utf8_find_prev_char(p, p + n), *end = p + n;
    const char *before = g_utf8_find_prev_char(prompt, p);
    bool cut_begin =
        before != NULL && in_word(g_utf8_get_char(before)) && in_word(g_utf8_get_char(p));
    bool cut_end = *end != '\0' && in_word(g_utf8_get_char(end)) && in_word(g_utf8_get_char(last));
    return !cut_begin && !cut_end;
}

/* Bytes at p that are the word in upper or lower case, 0: none. They may be more or fewer than the
 * word's: ẞ takes three, ß two. */
static size_t word_at(const char *p, const char *word)
{
    const char *end = p;

    for (; *word != '\0'; word = g_utf8_next_char(word), end = g_utf8_next_char(end))
        if (g_unichar_tolower(g_utf8_get_char(end)) != g_unichar_tolower(g_utf8_get_char(word)))
            return 0;
    return (size_t)(end - p);
}

/* The longest word that was learnt and stands at p. */
static Piece learnt_at(const LdmTokenizer *tokenizer, const char *prompt, const char *p)
{
    Piece piece = {0};

    for (guint i = 0; i < tokenizer->words->len; i++) {
        const Word *word = &g_array_index(tokenizer->words, Word, i);
        size_t n = word_at(p, word->text);
        if (n > piece.length && stands_apart(prompt, p, n))
            piece = (Piece){n, word->first, word->count};
    }
    return piece;
}

bool ldm_tokenizer_has_learnt(const LdmTokenizer *tokenizer, const char *text)
{
    for (const char *p = text; *p != '\0'; p = g_utf8_next_char(p))
        if (learnt_at(tokenizer, text, p).length > 0)
            return true;
    return false;
}

/* The longest special token or word that was learnt and stands at p. */
static Piece special_at(const LdmTokenizer *tokenizer, const char *prompt, const char *p)
{
    int32_t specials[] = {tokenizer->bos, tokenizer->eos, tokenizer->pad};
    Piece piece = learnt_at(tokenizer, prompt, p);

    for (size_t i = 0; i < G_N_ELEMENTS(specials); i++) {
        const char *entry = ldm_bpe_entry(tokenizer->bpe, specials[i]);
        size_t n = strlen(entry);
        if (n > piece.length && strncmp(p, entry, n) == 0)
            piece = (Piece){n, specials[i], 1};
    }
    return piece;
}

static void encode_text(const LdmTokenizer *tokenizer, const char *prompt, GArray *ids)
{
    const char *plain = prompt, *p = prompt;

    while (*p != '\0') {
        Piece piece = special_at(tokenizer, prompt, p);
        if (piece.length == 0) {
            p = g_utf8_next_char(p);
            continue;
        }
        encode_plain(tokenizer, plain, (size_t)(p - plain), ids);
        for (size_t i = 0; i < piece.count; i++) {
            int32_t id = piece.first + (int32_t)i;
            g_array_append_val(ids, id);
        }
        p += piece.length;
        plain = p;
    }
    encode_plain(tokenizer, plain, (size_t)(p - plain), ids);
}

bool ldm_tokenizer_encode(const LdmTokenizer *tokenizer, const char *prompt, int32_t *ids,
                          size_t *cut, GError **error)
{
    if (strlen(prompt) > MAX_PROMPT) {
        ldm_set_error(error, INVALID, _("the prompt is longer than %u KiB"), MAX_PROMPT >> 10);
        return false;
    }
    if (!g_utf8_validate(prompt, -1, NULL)) {
        ldm_set_error(error, INVALID, _("the prompt is not valid UTF-8 text"));
        return false;
    }
    g_autoptr(GArray) all = g_array_new(FALSE, FALSE, sizeof(int32_t));
    encode_text(tokenizer, prompt, all);

    size_t room = tokenizer->tokens - 2, used = MIN(all->len, room);
    ids[0] = tokenizer->bos;
    if (used > 0)
        memcpy(ids + 1, all->data, used * sizeof(int32_t));
    ids[used + 1] = tokenizer->eos;
    for (size_t i = used + 2; i < tokenizer->tokens; i++)
        ids[i] = tokenizer->pad;
    if (cut != NULL)
        *cut = all->len - used;
    return true;
}
