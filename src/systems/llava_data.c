/* LLaVA's training text and its masks, as LLaVA/llava/train/train.py makes them. */
#include "systems/llava.h"

#include "base/json.h"

#include <ctype.h>
#include <string.h>

enum { IGNORED = -100 };

/* Ids of a text with "<image>" marks: -1, -2, … for the pictures, one id each. */
static sn_status encode_marked(const sn_model *m, const char *text, size_t length, bool one_text, sn_ids *out, sn_error *error) {
    sn_prompt_text marked = {.one_text = one_text};
    sn_prompt prompt = {0};
    const char *end = text + length;
    while (text < end) {
        const char *mark = memmem(text, (size_t)(end - text), "<image>", 7);
        char *stretch = sn_strndup(text, (size_t)((mark ? mark : end) - text));
        if (!stretch) marked.text.failed = true;
        else sn_prompt_text_add(&marked, stretch, false);
        sn_free(stretch);
        if (mark) sn_prompt_text_media(&marked, "");
        text = mark ? mark + 7 : end;
    }
    sn_status status = sn_prompt_encode(&marked, m->tokenizer, 1, &prompt, error);
    sn_prompt_text_free(&marked);
    *out = prompt.ids;
    return status;
}

static size_t count_ids(const sn_model *m, const char *text, size_t length, sn_status *status, sn_error *error) {
    sn_ids ids = {0};
    if (!*status) *status = encode_marked(m, text, length, false, &ids, error);
    size_t count = ids.count;
    sn_ids_free(&ids);
    return count;
}

/* preprocess_multimodal: "<image>" is taken out of a turn and put in front, on a line of its own, between
 * <im_start> and <im_end> where the model has these; each of several, where the published code keeps one. */
static void put_turn_text(const sn_model *m, const char *value, sn_buf *out) {
    bool wrapped = ((const sn_llava *)m->own)->use_im_start_end;
    int marks = 0;
    sn_buf rest = {0};
    for (const char *at = value; *at;) {
        if (strncmp(at, "<image>", 7) == 0) at += 7, marks++;
        else sn_buf_add(&rest, at++, 1);
    }
    size_t begin = 0, end = rest.length;
    while (marks && begin < end && isspace((unsigned char)rest.data[begin])) begin++;
    while (marks && end > begin && isspace((unsigned char)rest.data[end - 1])) end--;
    for (int i = 0; i < marks; i++) sn_buf_printf(out, "%s%s", wrapped ? "<im_start><image><im_end>" : "<image>", end > begin || i + 1 < marks ? "\n" : "");
    if (end > begin) sn_buf_add(out, rest.data + begin, end - begin);
    sn_buf_free(&rest);
}

/* preprocess_v1 and preprocess_llama_2: answers and their </s> are learnt. `sep` stands between question and answer.
 * Lengths of separately encoded pieces are added up as the published code does; *uneven: they do not come out. */
static sn_status mask_rounds(const sn_model *m, const char *text, size_t length, const char *sep, bool adjust, const sn_ids *ids, int32_t *labels, bool *uneven, sn_error *error) {
    sn_status status = SN_OK;
    size_t current = 1, total = 0, sep_length = strlen(sep);
    for (size_t i = 0; i < ids->count; i++) total += ids->data[i] != 0;
    labels[0] = IGNORED;
    const char *at = text, *end = text + length;
    for (int round = 0; at < end && !status; round++) {
        const char *stop = memmem(at, (size_t)(end - at), "</s>", 4);
        size_t size = (size_t)((stop ? stop : end) - at);
        if (size == 0) break;
        const char *answer = memmem(at, size, sep, sep_length);
        if (!answer || memmem(answer + 1, size - (size_t)(answer + 1 - at), sep, sep_length)) break;
        size_t round_ids = count_ids(m, at, size, &status, error), question = count_ids(m, at, (size_t)(answer - at) + sep_length, &status, error);
        size_t masked = question >= 2 ? question - 2 : 0;
        if (round && adjust) round_ids -= round_ids > 0, masked -= masked > 0;
        for (size_t i = current; i < current + masked && i < ids->count; i++) labels[i] = IGNORED;
        current += round_ids;
        at = stop ? stop + 4 : end;
    }
    for (size_t i = current; i < ids->count; i++) labels[i] = IGNORED;
    *uneven = current != total;
    return status;
}

/* v0 (preprocess of the first release): turns "### Role: text", of a human turn all but its first two ids masked; the
 * lengths count a bos in every turn, so the masks drift by one each turn, as published. */
static sn_status v0_text(const sn_model *m, const char *const *human, const char *const *answer, size_t turns, sn_buf *text, size_t *lengths, sn_error *error) {
    sn_status status = SN_OK;
    sn_buf_printf(text, "%s\n\n", sn_template_find("llava_v0", false)->system);
    lengths[0] = count_ids(m, text->data, text->length, &status, error);
    for (size_t i = 0; i < 2 * turns; i++) {
        size_t from = text->length;
        sn_buf_puts(text, i % 2 ? "### Assistant: " : "### Human: ");
        put_turn_text(m, i % 2 ? answer[i / 2] : human[i / 2], text);
        sn_buf_puts(text, "\n");
        lengths[i + 1] = count_ids(m, text->data + from, text->length - from, &status, error);
    }
    sn_buf_puts(text, "### ");
    return status;
}

static void mask_v0(const size_t *lengths, size_t turns, const sn_ids *ids, int32_t *labels) {
    size_t current = lengths[0];
    for (size_t i = 0; i < current && i < ids->count; i++) labels[i] = IGNORED;
    for (size_t t = 0; t < 2 * turns; t++) {
        for (size_t i = current + 2; t % 2 == 0 && i < current + lengths[t + 1] && i < ids->count; i++) labels[i] = IGNORED;
        current += lengths[t + 1];
    }
}

static sn_status read_turns(const json_t *sample, const char *id, const char **human, const char **answer, size_t most, size_t *count, sn_error *error) {
    const json_t *turns = json_object_get(sample, "conversations");
    size_t n = json_array_size(turns), i = 0;
    *count = 0;
    const char *first = sn_json_string(json_array_get(turns, 0), "from");
    if (first && strcmp(first, "human") != 0) i = 1; /* a first turn that is not a person's is dropped */
    for (; i + 1 < n && *count < most; i += 2) {
        const json_t *q = json_array_get(turns, i), *a = json_array_get(turns, i + 1);
        const char *from_q = sn_json_string(q, "from"), *from_a = sn_json_string(a, "from");
        human[*count] = sn_json_string(q, "value"), answer[*count] = sn_json_string(a, "value");
        if (!from_q || !from_a || strcmp(from_q, "human") != 0 || strcmp(from_a, "gpt") != 0 || !human[*count] || !answer[*count])
            return sn_fail(error, SN_ERROR_INPUT, "sample %s: conversations: expected turns of human and gpt, each with a value", id);
        ++*count;
    }
    return *count ? SN_OK : sn_fail(error, SN_ERROR_INPUT, "sample %s: conversations: expected at least one question and answer", id);
}

static sn_status read_images(const json_t *sample, const char *id, sn_sample *out, sn_error *error) {
    const json_t *image = sn_json_at(sample, "image");
    const char *one = json_string_value(image);
    if (one && one[0]) out->media[out->num_media++] = one;
    for (size_t i = 0; json_is_array(image) && i < json_array_size(image); i++) {
        const char *path = json_string_value(json_array_get(image, i));
        if (!path || out->num_media == SN_MAX_MEDIA) return sn_fail(error, SN_ERROR_INPUT, "sample %s: image: expected at most %d paths", id, SN_MAX_MEDIA);
        out->media[out->num_media++] = path;
    }
    return SN_OK;
}

enum { MAX_TURNS = 256 };

/* The text of a conversation's first messages by its template, with "<image>" marks. */
static void template_text(const sn_model *m, const sn_template *t, const char *const *human, const char *const *answer, size_t count, sn_buf *out) {
    sn_content content[2 * MAX_TURNS];
    sn_message messages[2 * MAX_TURNS];
    sn_buf values[2 * MAX_TURNS] = {{0}};
    sn_prompt_text rendered = {0};
    for (size_t i = 0; i < count; i++) {
        put_turn_text(m, i % 2 ? answer[i / 2] : human[i / 2], &values[i]);
        content[i] = (sn_content){.text = values[i].data ? values[i].data : ""};
        messages[i] = (sn_message){.role = i % 2 ? SN_ROLE_ASSISTANT : SN_ROLE_USER, .content = &content[i], .count = 1};
    }
    sn_template_render(t, &(sn_request){.messages = messages, .num_messages = (int)count}, "", "", &rendered);
    sn_buf_add(out, rendered.text.data ? rendered.text.data : "", rendered.text.length);
    for (size_t i = 0; i < count; i++) sn_buf_free(&values[i]);
    sn_prompt_text_free(&rendered);
}

/* Answers are learnt as they stand in the one encoding of the whole: between what it shares with the text in front of the answer
 * and with the text up to its end. Hugging Face's template writes no </s> between turns, yet an answer ends with it: with
 * `ends`, what is learnt behind each answer is </s>, whatever the text goes on with; ids end with one. An answer that is
 * empty teaches nothing. */
static sn_status mask_turns(const sn_model *m, const sn_template *t, bool ends, const char *id, const char *const *human, const char *const *answer, size_t turns, const sn_ids *ids, int32_t *labels,
                            sn_error *error) {
    sn_status status = SN_OK;
    size_t begin = 0;
    for (size_t i = 0; i < ids->count; i++) labels[i] = IGNORED;
    for (size_t k = 1; k <= 2 * turns && !status; k++) {
        sn_buf text = {0};
        sn_ids prefix = {0};
        template_text(m, t, human, answer, k, &text);
        status = text.failed ? sn_fail_memory(error) : encode_marked(m, text.data, text.length, ends && ((const sn_llava *)m->own)->one_text, &prefix, error);
        size_t end = 0;
        while (end < prefix.count && end < ids->count - ends && prefix.data[end] == ids->data[end]) end++;
        if (!status && ends && end < prefix.count) status = sn_fail(error, SN_ERROR_INPUT, "sample %s: the tokenizer joins turns: an answer's ids cannot be told apart", id);
        bool learns = k % 2 == 0 && answer[k / 2 - 1][0] && !status;
        for (size_t i = begin; learns && i < end; i++) labels[i] = ids->data[i] < 0 ? IGNORED : ids->data[i];
        if (learns && ends) labels[end] = sn_tokenizer_about(m->tokenizer)->eos;
        begin = end;
        sn_ids_free(&prefix);
        sn_buf_free(&text);
    }
    return status;
}

/* Whether there is an answer with something in it. */
static bool says_something(const char *const *answer, size_t turns) {
    for (size_t i = 0; i < turns; i++)
        if (answer[i][0]) return true;
    return false;
}

static const struct mode {
    const char *name, *template, *sep;
} modes[] = {{"plain", NULL, NULL}, {"v0", NULL, NULL}, {"v1", "vicuna_v1", " ASSISTANT: "}, {"vicuna_v1", "vicuna_v1", " ASSISTANT: "}, {"llava_llama_2", "llava_llama_2", "[/INST] "}, {"hf", "hf", NULL}};

/* By the published rule. An empty answer is written by it as a turn that is still open, and what is uneven is masked whole; both
 * are learnt here as far as there is something to learn. */
static sn_status mask_published(const sn_model *m, const struct mode *mode, const char *id, const char *const *human, const char *const *answer, size_t turns, const sn_buf *text, const sn_ids *ids, int32_t *labels,
                                bool *uneven, sn_error *error) {
    sn_status status = mask_rounds(m, text->data, text->length, mode->sep, !sn_tokenizer_about(m->tokenizer)->legacy && mode->sep[0] == ' ', ids, labels, uneven, error);
    for (size_t i = 0; i < turns; i++) *uneven |= !answer[i][0];
    return status || !*uneven ? status : mask_turns(m, sn_template_find(mode->template, false), false, id, human, answer, turns, ids, labels, error);
}

sn_status sn_llava_sample(const sn_model *m, const char *conversation, const json_t *sample, sn_sample *out, sn_error *error) {
    const char *human[MAX_TURNS], *answer[MAX_TURNS], *id = sn_json_string(sample, "id");
    size_t turns, lengths[2 * MAX_TURNS + 1];
    const struct mode *mode = NULL;
    *out = (sn_sample){0};
    if (!id) id = "(without id)";
    for (size_t i = 0; i < sizeof modes / sizeof *modes; i++)
        if (strcmp(modes[i].name, conversation) == 0) mode = &modes[i];
    if (!mode) return sn_fail(error, SN_ERROR_USAGE, "template: found %s, expected plain, v0, v1, llava_llama_2 or hf", conversation);
    sn_status status = read_turns(sample, id, human, answer, MAX_TURNS, &turns, error);
    if (!status) status = read_images(sample, id, out, error);
    if (status) return status;
    sn_buf text = {0};
    bool plain = strcmp(mode->name, "plain") == 0, hf = strcmp(mode->name, "hf") == 0;
    if (plain) sn_buf_printf(&text, "<image>%s\n", answer[0]); /* one caption; the question is thrown away */
    else if (mode->template) template_text(m, sn_template_find(mode->template, false), human, answer, 2 * turns, &text);
    else status = v0_text(m, human, answer, turns, &text, lengths, error);
    sn_ids ids = {0};
    if (text.failed) status = sn_fail_memory(error);
    if (!status) status = encode_marked(m, text.data, text.length, hf && ((const sn_llava *)m->own)->one_text, &ids, error);
    if (!status && hf && !sn_ids_add(&ids, sn_tokenizer_about(m->tokenizer)->eos)) status = sn_fail_memory(error);
    int32_t *labels = sn_alloc(ids.count + 1, sizeof *labels);
    if (!labels) status = sn_fail_memory(error);
    int marks = 0;
    for (size_t i = 0; i < ids.count; i++) marks += ids.data[i] < 0;
    if (!status && marks != out->num_media)
        status = sn_fail(error, SN_ERROR_INPUT, "sample %s: found %d <image> marks in the conversation and %d pictures", id, marks, out->num_media);
    for (size_t i = 0; i < ids.count && !status; i++) labels[i] = ids.data[i] < 0 || (plain && i < 2) ? IGNORED : ids.data[i];
    if (!status && mode->sep) status = mask_published(m, mode, id, human, answer, turns, &text, &ids, labels, &out->uneven, error);
    if (!status && hf) status = mask_turns(m, sn_template_find("hf", false), true, id, human, answer, turns, &ids, labels, error);
    if ((mode->sep || hf) && !says_something(answer, turns)) out->mute = "its answers are empty";
    if (!status && !plain && !mode->template) mask_v0(lengths, turns, &ids, labels);
    int32_t row = 0;
    for (size_t i = 0; i < ids.count && !status; i++) {
        int64_t copies = ids.data[i] < 0 ? m->media_positions : 1;
        for (int64_t k = 0; k < copies && !status; k++)
            if (!sn_ids_add(&out->ids, ids.data[i] < 0 ? -1 - row++ : ids.data[i]) || !sn_ids_add(&out->labels, labels[i])) status = sn_fail_memory(error);
    }
    sn_free(labels);
    sn_ids_free(&ids);
    sn_buf_free(&text);
    if (status) sn_ids_free(&out->ids), sn_ids_free(&out->labels);
    return status;
}
