/* The rules of the published evaluation scripts, oddities included: what they accept, papers report. */
#include "eval/answers.h"

#include "eval/words.h"

#include <string.h>

/* ---- VQA ---- */

static const struct {
    const char *from, *to;
} contractions[] = {
    {"aint", "ain't"}, {"arent", "aren't"}, {"cant", "can't"}, {"couldve", "could've"}, {"couldnt", "couldn't"}, {"couldn'tve", "couldn't've"}, {"couldnt've", "couldn't've"},
    {"didnt", "didn't"}, {"doesnt", "doesn't"}, {"dont", "don't"}, {"hadnt", "hadn't"}, {"hadnt've", "hadn't've"}, {"hadn'tve", "hadn't've"}, {"hasnt", "hasn't"},
    {"havent", "haven't"}, {"hed", "he'd"}, {"hed've", "he'd've"}, {"he'dve", "he'd've"}, {"hes", "he's"}, {"howd", "how'd"}, {"howll", "how'll"}, {"hows", "how's"},
    {"isnt", "isn't"}, {"itd", "it'd"}, {"itd've", "it'd've"}, {"it'dve", "it'd've"}, {"itll", "it'll"}, {"maam", "ma'am"}, {"mightnt", "mightn't"},
    {"mightnt've", "mightn't've"}, {"mightn'tve", "mightn't've"}, {"mightve", "might've"}, {"mustnt", "mustn't"}, {"mustve", "must've"}, {"neednt", "needn't"},
    {"notve", "not've"}, {"oclock", "o'clock"}, {"oughtnt", "oughtn't"}, {"ow's'at", "'ow's'at"}, {"'ows'at", "'ow's'at"}, {"'ow'sat", "'ow's'at"}, {"shant", "shan't"},
    {"shed've", "she'd've"}, {"she'dve", "she'd've"}, {"shouldve", "should've"}, {"shouldnt", "shouldn't"}, {"shouldnt've", "shouldn't've"}, {"shouldn'tve", "shouldn't've"},
    {"somebody'd", "somebodyd"}, {"somebodyd've", "somebody'd've"}, {"somebody'dve", "somebody'd've"}, {"somebodyll", "somebody'll"}, {"somebodys", "somebody's"},
    {"someoned", "someone'd"}, {"someoned've", "someone'd've"}, {"someone'dve", "someone'd've"}, {"someonell", "someone'll"}, {"someones", "someone's"},
    {"somethingd", "something'd"}, {"somethingd've", "something'd've"}, {"something'dve", "something'd've"}, {"somethingll", "something'll"}, {"thats", "that's"},
    {"thered", "there'd"}, {"thered've", "there'd've"}, {"there'dve", "there'd've"}, {"therere", "there're"}, {"theres", "there's"}, {"theyd", "they'd"},
    {"theyd've", "they'd've"}, {"they'dve", "they'd've"}, {"theyll", "they'll"}, {"theyre", "they're"}, {"theyve", "they've"}, {"twas", "'twas"}, {"wasnt", "wasn't"},
    {"wed've", "we'd've"}, {"we'dve", "we'd've"}, {"weve", "we've"}, {"werent", "weren't"}, {"whatll", "what'll"}, {"whatre", "what're"}, {"whats", "what's"},
    {"whatve", "what've"}, {"whens", "when's"}, {"whered", "where'd"}, {"wheres", "where's"}, {"whereve", "where've"}, {"whod", "who'd"}, {"whod've", "who'd've"},
    {"who'dve", "who'd've"}, {"wholl", "who'll"}, {"whos", "who's"}, {"whove", "who've"}, {"whyll", "why'll"}, {"whyre", "why're"}, {"whys", "why's"}, {"wont", "won't"},
    {"wouldve", "would've"}, {"wouldnt", "wouldn't"}, {"wouldnt've", "wouldn't've"}, {"wouldn'tve", "wouldn't've"}, {"yall", "y'all"}, {"yall'll", "y'all'll"},
    {"y'allll", "y'all'll"}, {"yall'd've", "y'all'd've"}, {"y'alld've", "y'all'd've"}, {"y'all'dve", "y'all'd've"}, {"youd", "you'd"}, {"youd've", "you'd've"},
    {"you'dve", "you'd've"}, {"youll", "you'll"}, {"youre", "you're"}, {"youve", "you've"}};

/* Words that become digits or nothing. */
static const struct {
    const char *from, *to;
} small_words[] = {{"none", "0"}, {"zero", "0"}, {"one", "1"}, {"two", "2"}, {"three", "3"}, {"four", "4"}, {"five", "5"}, {"six", "6"}, {"seven", "7"}, {"eight", "8"},
                   {"nine", "9"}, {"ten", "10"}, {"a", NULL}, {"an", NULL}, {"the", NULL}};

static bool is_digit(char c) { return c >= '0' && c <= '9'; }
static bool is_space(char c) { return c == ' ' || (c >= '\t' && c <= '\r') || (c >= 0x1c && c <= 0x1f); }

char *sn_vqa_strip(const char *text) {
    size_t begin = 0, end = strlen(text);
    while (is_space(text[begin])) begin++;
    while (end > begin && is_space(text[end - 1])) end--;
    char *out = sn_strndup(text + begin, end - begin);
    for (char *c = out; c && *c; c++)
        if (*c == '\n' || *c == '\t') *c = ' ';
    return out;
}

static bool number_with_comma(const char *text) {
    for (size_t i = 1; text[0] && text[i]; i++)
        if (text[i] == ',' && is_digit(text[i - 1]) && is_digit(text[i + 1])) return true;
    return false;
}

/* A sign with a blank before or behind it. */
static bool beside_blank(const char *text, char sign) {
    for (size_t i = 0; text[i]; i++)
        if (text[i] == sign && ((i && text[i - 1] == ' ') || text[i + 1] == ' ')) return true;
    return false;
}

char *sn_vqa_punctuation(const char *text) {
    static const char signs[] = ";/[]\"{}()=+\\_-><@`,?!";
    bool drop[256] = {0}, blank[256] = {0}, comma = number_with_comma(text);
    for (const char *p = signs; *p; p++) *(comma || beside_blank(text, *p) ? &drop[(unsigned char)*p] : &blank[(unsigned char)*p]) = true;
    char *out = sn_alloc(strlen(text) + 1, 1);
    size_t n = 0;
    if (!out) return NULL;
    for (; *text; text++)
        if (!drop[(unsigned char)*text]) out[n++] = blank[(unsigned char)*text] ? ' ' : *text;
    size_t kept = 0;
    for (size_t i = 0, dropped = 0; i < n; i++) { /* at most 32 full stops that no digit follows */
        bool stop = out[i] == '.' && dropped < 32 && !(i + 1 < n && is_digit(out[i + 1]));
        dropped += stop;
        if (!stop) out[kept++] = out[i];
    }
    out[kept] = 0;
    return out;
}

/* What stands for a word; NULL: nothing. */
static sn_word replacement(sn_word word) {
    for (size_t i = 0; i < sizeof small_words / sizeof *small_words; i++)
        if (sn_word_is(word, small_words[i].from)) return small_words[i].to ? (sn_word){small_words[i].to, strlen(small_words[i].to)} : (sn_word){0};
    for (size_t i = 0; i < sizeof contractions / sizeof *contractions; i++)
        if (sn_word_is(word, contractions[i].from)) return (sn_word){contractions[i].to, strlen(contractions[i].to)};
    return word;
}

char *sn_vqa_digits_articles(const char *text) {
    char *lower = sn_text_lower(text), *out = NULL;
    sn_words words = {0};
    sn_buf joined = {0};
    if (lower && sn_words_split(&words, lower)) {
        for (size_t i = 0; i < words.count; i++) {
            sn_word word = replacement(words.word[i]);
            if (!word.text) continue;
            if (joined.length) sn_buf_puts(&joined, " ");
            sn_buf_add(&joined, word.text, word.length);
        }
        out = joined.failed ? NULL : sn_strdup(joined.data ? joined.data : "");
    }
    sn_buf_free(&joined);
    sn_words_free(&words);
    sn_free(lower);
    return out;
}

static char *normalise(const char *prediction) {
    char *stripped = sn_vqa_strip(prediction), *plain = stripped ? sn_vqa_punctuation(stripped) : NULL, *out = plain ? sn_vqa_digits_articles(plain) : NULL;
    sn_free(stripped);
    sn_free(plain);
    return out;
}

sn_status sn_vqa_accuracy(const char *prediction, const char *const *answers, int64_t count, double *out, sn_error *error) {
    char *own = normalise(prediction);
    bool ok = own != NULL, equal = true;
    int64_t same = 0;
    for (int64_t i = 1; i < count; i++) equal = equal && strcmp(answers[i], answers[0]) == 0;
    bool *hit = sn_alloc((size_t)count + 1, sizeof *hit);
    ok = ok && hit;
    for (int64_t i = 0; i < count && ok; i++) {
        char *theirs = equal ? sn_strdup(answers[i]) : sn_vqa_punctuation(answers[i]);
        ok = theirs != NULL;
        hit[i] = ok && strcmp(theirs, own) == 0;
        same += hit[i];
        sn_free(theirs);
    }
    double sum = 0;
    for (int64_t i = 0; i < count && ok; i++) {
        int64_t others = same - hit[i];
        sum += others >= 3 ? 1 : (double)others / 3;
    }
    *out = count ? sum / (double)count : 0;
    sn_free(own);
    sn_free(hit);
    return ok ? SN_OK : sn_fail_memory(error);
}

/* ---- ScienceQA ---- */

static bool is_letter(char c) { return c >= 'A' && c <= 'E'; }

/* The letter behind the first "The answer is " that has one, with a full stop behind it where that is asked for. */
static char stated(const char *text, bool stop) {
    static const char phrase[] = "The answer is ";
    for (const char *at = text; (at = strstr(at, phrase)); at++) {
        const char *letter = at + sizeof phrase - 1;
        if (is_letter(letter[0]) && (!stop || letter[1] == '.')) return letter[0];
    }
    return 0;
}

int sn_scienceqa_choice(const char *text, int64_t choices) {
    sn_buf one_line = {0};
    for (const char *c = text; *c; c++) sn_buf_add(&one_line, *c == '\n' ? ". " : c, *c == '\n' ? 2 : 1);
    const char *t = one_line.data ? one_line.data : "";
    size_t begin = 0, end = strlen(t);
    while (is_space(t[begin])) begin++;
    while (end > begin && is_space(t[end - 1])) end--;
    char letter = end - begin == 1 && is_letter(t[begin]) ? t[begin] : is_letter(t[0]) && t[1] == '.' && t[2] == ' ' ? t[0] : stated(t, true);
    if (!letter) letter = stated(t, false);
    sn_buf_free(&one_line);
    return letter && letter - 'A' < choices ? letter - 'A' : -1;
}

/* ---- POPE ---- */

bool sn_pope_yes(const char *text) {
    char word[4];
    size_t n = 0;
    for (;; text++) {
        bool end = !*text || *text == '.';
        if (*text == ',') continue;
        if (!end && *text != ' ') {
            if (n < sizeof word) word[n] = *text;
            n++;
            continue;
        }
        if ((n == 2 && (memcmp(word, "No", 2) == 0 || memcmp(word, "no", 2) == 0)) || (n == 3 && memcmp(word, "not", 3) == 0)) return false;
        if (end) return true;
        n = 0;
    }
}

static double share(int64_t part, int64_t whole) { return whole ? (double)part / (double)whole : 0; }

sn_binary_scores sn_binary_score(const bool *predicted, const bool *label, int64_t count) {
    int64_t right = 0, both = 0, yes = 0, wanted = 0;
    for (int64_t i = 0; i < count; i++) right += predicted[i] == label[i], both += predicted[i] && label[i], yes += predicted[i], wanted += label[i];
    sn_binary_scores s = {.accuracy = share(right, count), .precision = share(both, yes), .recall = share(both, wanted), .yes_ratio = share(yes, count)};
    s.f1 = s.precision + s.recall > 0 ? 2 * s.precision * s.recall / (s.precision + s.recall) : 0;
    return s;
}

/* ---- exact matches ---- */

static char *bare(const char *text) {
    size_t length = strlen(text);
    while (length && is_space(text[length - 1])) length--;
    while (length && is_space(*text)) text++, length--;
    char *cut = sn_strndup(text, length), *lower = cut ? sn_text_lower(cut) : NULL;
    sn_free(cut);
    return lower;
}

sn_status sn_exact_match(const char *text, const char *answer, bool *equal, sn_error *error) {
    char *a = bare(text), *b = bare(answer);
    sn_status status = a && b ? SN_OK : sn_fail_memory(error);
    *equal = !status && strcmp(a, b) == 0;
    sn_free(a);
    sn_free(b);
    return status;
}
